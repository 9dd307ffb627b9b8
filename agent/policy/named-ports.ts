// Named ports as numbers: on ingress the endpoint's own, on egress the one number on which all endpoints agree
// (CiliumNetworkPolicy) or each receiver's own (NetworkPolicy).
import type { EndpointInput } from './image.ts';
import { SCTP, TCP, UDP } from './icmp.ts';

const NUMBERS = { TCP, UDP, SCTP } as const;

export class NamedPortTable {
  readonly #numbers: ReadonlyMap<string, number>;
  /** Equal tables have equal keys. */
  readonly key: string;

  constructor(numbers: ReadonlyMap<string, number>) {
    this.#numbers = numbers;
    this.key = [...numbers].map(([name, port]) => `${name}=${port}`).sort().join();
  }

  /** `name` in lower case. */
  get(name: string, protocol: number): number | undefined { return this.#numbers.get(`${name}/${protocol}`); }
}

export function namedPortsOf(endpoint: Pick<EndpointInput, 'namedPorts'>): NamedPortTable {
  return new NamedPortTable(new Map(endpoint.namedPorts.map(({ name, port, protocol }) =>
    [`${name.toLowerCase()}/${NUMBERS[protocol]}`, port])));
}

export function commonNamedPorts(endpoints: Iterable<Pick<EndpointInput, 'namedPorts'>>): NamedPortTable {
  const found = new Map<string, Set<number>>();
  for (const { namedPorts } of endpoints) {
    for (const { name, port, protocol } of namedPorts) {
      const key = `${name.toLowerCase()}/${NUMBERS[protocol]}`;
      found.set(key, (found.get(key) ?? new Set<number>()).add(port));
    }
  }
  return new NamedPortTable(new Map([...found]
    .filter(([, ports]) => ports.size === 1)
    .map(([key, ports]) => [key, [...ports][0]!])));
}

/** `name/protocol` -> number -> the identities of the endpoints that have it. */
export type PeerPorts = ReadonlyMap<string, ReadonlyMap<number, ReadonlySet<number>>>;

export function peerPortsOf(endpoints: Iterable<Pick<EndpointInput, 'namedPorts' | 'identity'>>): PeerPorts {
  const found = new Map<string, Map<number, Set<number>>>();
  for (const { identity, namedPorts } of endpoints) {
    for (const { name, port, protocol } of namedPorts) {
      const key = `${name.toLowerCase()}/${NUMBERS[protocol]}`;
      const numbers = found.get(key) ?? new Map<number, Set<number>>();
      found.set(key, numbers.set(port, (numbers.get(port) ?? new Set<number>()).add(identity)));
    }
  }
  return found;
}
