// Services of a record's two ends: who is reached by that address and port. Most ports are nobody's, which a bit says.
import { ipText } from './address.ts';
import { field } from './record.ts';
import type { Lookups } from './flow.ts';
import type { Service } from './types.ts';

export interface ServiceLookup {
  /** A bit for each port that any service or backend has. */
  readonly ports: Uint8Array;
  readonly at: (address: string, port: number, protocol: number) => Service | undefined;
}

export type Side = 'source' | 'destination';
const places = { source: { address: field.saddr, port: field.sport }, destination: { address: field.daddr, port: field.dport } } as const;

/** `at`: where the record begins in `bytes`. */
export function serviceOf(bytes: Uint8Array, at: number, side: Side, { services }: Pick<Lookups, 'services'>): Service | undefined {
  if (services === undefined) return undefined;
  const { address, port } = places[side];
  const number = (bytes[at + port]! << 8) | bytes[at + port + 1]!;
  if (!(services.ports[number >> 3]! & (1 << (number & 7)))) return undefined;
  return services.at(ipText(bytes.subarray(at + address, at + address + 16)).text, number, bytes[at + field.protocol]!);
}

export const hasPort = ({ ports }: ServiceLookup, port: number): boolean => (ports[port >> 3]! & (1 << (port & 7))) !== 0;
