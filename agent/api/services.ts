// Services as the command line asks for them: what they are, where they are reached, who answers and how often, and what the kernel has.
import { counter, frontend_flag, frontend_scope, type Frontend } from '../../bpf/types.gen.ts';
import type { Agent } from '../agent.ts';
import { ConfigError } from '../errors.ts';
import { textOf } from '../ipcache/address.ts';
import { frontendKey } from '../service/derive.ts';
import { keyOfBackend, keyOfFrontend, stateOfBackend } from '../service/maps.ts';
import type { FrontendRow, ServicePort, ServiceProtocol, ServiceRow } from '../service/tables.ts';

export interface ListedService {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  readonly ports: readonly string[];
  /** Those that get new connections, of all ports. */
  readonly backends: string;
  readonly state: string;
  /** Opened to its backends, by socket and by packet. */
  readonly connections: number;
  readonly selector: string;
}

export const portText = ({ port, nodePort, protocol }: Pick<ServicePort, 'port' | 'nodePort' | 'protocol'>): string => `${port}${nodePort === undefined ? '' : `:${nodePort}`}/${protocol}`;

/** Keys of the backends of a service that get new connections, and of all. */
function backendsOf({ tables }: Agent, service: ServiceRow): { readonly active: ReadonlySet<string>; readonly all: ReadonlySet<string> } {
  const active = new Set(tables.frontends.by('service', service.key).flatMap(({ backends }) => backends));
  const all = new Set(active);
  for (const slice of tables['endpoint-slices'].by('service', service.key)) {
    for (const { port, protocol } of slice.ports) for (const { addresses } of slice.endpoints) for (const address of addresses) all.add(address.includes(':') ? `[${address}]:${port}/${protocol}` : `${address}:${port}/${protocol}`);
  }
  return { active, all };
}

function stateOf(agent: Agent, service: ServiceRow, active: number): string {
  const refusal = agent.services.reconciler.refusal(service.key);
  if (refusal !== undefined) return `refused: ${refusal}`;
  if (service.type === 'ExternalName') return `name of ${service.externalName}`;
  return service.headless ? 'headless' : active === 0 ? 'no backends' : 'active';
}

const connectionsTo = ({ services: { maps, reconciler } }: Agent, backends: Iterable<string>): number => [...backends].reduce((sum, key) => {
  const number = reconciler.backendNumber(key);
  return sum + (number === undefined ? 0 : maps.backends.get(number)?.connections ?? 0);
}, 0);

export const listServices = (agent: Agent): ListedService[] => agent.tables.services.rows().sort((a, b) => (a.key < b.key ? -1 : 1)).map((service) => {
  const { active, all } = backendsOf(agent, service);
  return {
    namespace: service.namespace, name: service.name, type: service.type, clusterIps: service.headless ? ['None'] : service.clusterIps,
    externalIps: [...service.loadBalancerIps, ...service.externalIps], ports: service.ports.map(portText), backends: `${service.headless ? all.size : active.size} of ${all.size}`,
    state: stateOf(agent, service, active.size), connections: connectionsTo(agent, all), selector: Object.entries(service.selector ?? {}).map(([key, value]) => `${key}=${value}`).join(','),
  };
});

export interface BackendDetails { readonly backend: string; readonly pod: string; readonly node: string; readonly state: string; readonly connections: number }
export interface FrontendDetails { readonly frontend: string; readonly kind: string; readonly scope: string; readonly port: string; readonly backends: number; readonly how: string }

export interface ServiceDetails {
  readonly service: ServiceRow;
  readonly state: string;
  readonly frontends: readonly FrontendDetails[];
  readonly backends: readonly BackendDetails[];
}

/** Shown of one frontend. */
const mostWeights = 10;

const howOf = ({ maglev, weights, dsr, local, affinitySeconds, sourceRanges }: FrontendRow): string => [
  ...(maglev ? ['Maglev'] : []), ...(weights === undefined ? [] : [`weights ${weights.slice(0, mostWeights).join(':')}${weights.length > mostWeights ? ' ...' : ''}`]), ...(dsr ? ['DSR'] : []), ...(local ? ['this node only'] : []), ...(affinitySeconds > 0 ? [`affinity ${affinitySeconds} s`] : []), ...(sourceRanges.length > 0 ? [`from ${sourceRanges.join(', ')}`] : []),
].join(', ');

export function serviceDetails(agent: Agent, name: unknown): ServiceDetails {
  const wanted = String(name);
  const found = agent.tables.services.rows().filter((row) => row.key === wanted || row.name === wanted);
  if (found.length === 0) throw new ConfigError(`no Service ${wanted}`, 'see ./weir service list');
  if (found.length > 1) throw new ConfigError(`several Services are called ${wanted}`, `name one of ${found.map(({ key }) => key).join(', ')}`);
  const service = found[0]!;
  const { active, all } = backendsOf(agent, service);
  return {
    service, state: stateOf(agent, service, active.size),
    frontends: agent.tables.frontends.by('service', service.key).map((row) => ({
      frontend: row.key.split(' ')[0]!, kind: row.kind, scope: row.scope, port: row.portName, backends: row.backends.length, how: howOf(row),
    })),
    backends: [...all].sort().map((key) => {
      const row = agent.tables.backends.get(key);
      return { backend: key, pod: row?.pod ?? '', node: row?.node ?? '', state: row === undefined ? 'named only' : active.has(key) ? 'active' : 'no new connections', connections: connectionsTo(agent, [key]) };
    }),
  };
}

const flagWords = ({ flags }: Frontend): string => [
  [frontend_flag.FRONTEND_SOURCE_RANGES, 'source-ranges'], [frontend_flag.FRONTEND_NODE_PORT, 'node-port'], [frontend_flag.FRONTEND_LOCAL, 'local'], [frontend_flag.FRONTEND_DSR, 'dsr'],
].filter(([bit]) => (flags & Number(bit)) !== 0).map(([, word]) => word).join(' ');

/** The kernel's own rows. */
export function listFrontends(agent: Agent) {
  const { maps } = agent.services;
  return maps.frontends.entries().map(([key, value]) => ({
    frontend: keyOfFrontend(key)?.split(' ')[0] ?? `${textOf(key.addr.word)} ${key.port}`, scope: key.scope === frontend_scope.SCOPE_EXTERNAL ? 'external' : 'cluster',
    service: agent.tables.frontends.get(keyOfFrontend(key) ?? '')?.service ?? String(value.service),
    backends: maps.slots.range(value.first, value.count).map((number) => {
      const backend = maps.backends.get(number);
      return backend === undefined ? `${number} is gone` : `${keyOfBackend(backend)}${stateOfBackend(backend) === 'active' ? '' : ' terminating'}`;
    }),
    maglev: value.maglev, affinity: value.affinity_seconds, flags: flagWords(value),
  }));
}

export interface ExplainedAddress { readonly lines: readonly string[]; readonly frontends: readonly FrontendRow[] }

const addressForm = /^\[?([0-9a-fA-F:.]+?)\]?:(\d+)(?:\/(TCP|UDP|SCTP))?$/i;

/** What becomes of a packet or a connect to this address. */
export function explainAddress(agent: Agent, address: unknown): ExplainedAddress {
  const match = addressForm.exec(String(address));
  if (match === null) throw new ConfigError(`${String(address)}: expected an address and a port`, 'for example 10.218.0.10:80, [fd77::10]:80/UDP');
  const [, ip = '', port, given] = match;
  const protocols = given === undefined ? ['TCP', 'UDP', 'SCTP'] : [given.toUpperCase()];
  const { tables } = agent;
  const rows = protocols.flatMap((protocol) => (['cluster', 'external'] as const).flatMap((scope) => tables.frontends.get(frontendKey(ip, Number(port), protocol as ServiceProtocol, scope)) ?? []));
  const owners = tables.services.by('address', ip);
  const backends = protocols.flatMap((protocol) => tables.backends.get(ip.includes(':') ? `[${ip}]:${port}/${protocol}` : `${ip}:${port}/${protocol}`) ?? []);
  const lines = [
    ...rows.flatMap((row) => frontendLines(agent, row)),
    ...(rows.length > 0 ? [] : owners.map((one) => `${ip} is an address of Service ${one.key}, which has no port ${port}${given === undefined ? '' : `/${given.toUpperCase()}`}; it has ${one.ports.map(portText).join(', ')}`)),
    ...backends.map((row) => `${row.key} is a backend (${row.pod ?? 'no pod'}, ${row.state}) of ${servicesWith(agent, row.key).join(', ') || 'no Service that sends to it now'}`),
  ];
  return { lines: lines.length > 0 ? lines : [`${ip} is no address of a Service: nothing is translated`], frontends: rows };
}

function frontendLines(agent: Agent, row: FrontendRow): string[] {
  const how = howOf(row);
  const refusal = agent.services.reconciler.refusal(row.service);
  return [
    `${row.key.split(' ')[0]} for clients ${row.scope === 'cluster' ? 'of the cluster' : 'from outside'}: ${row.kind} of Service ${row.service}${row.portName === '' ? '' : `, port ${row.portName}`}${how === '' ? '' : ` (${how})`}`,
    ...(refusal === undefined ? [] : [`  not programmed: ${refusal}`]),
    ...(row.backends.length === 0 ? ['  nobody answers: connect fails with "Connection refused"'] : row.backends.map((key) => `  -> ${key} ${agent.tables.backends.get(key)?.pod ?? ''}`.trimEnd())),
  ];
}

const servicesWith = ({ tables }: Agent, backend: string): string[] => [...new Set(tables.frontends.rows().filter(({ backends }) => backends.includes(backend)).map(({ service }) => service))];

export const serviceStatus = ({ tables, services, resets, datapath }: Agent) =>
  ({ all: tables.services.size, ...services.reconciler.usage, reset: resets.counts, resetByPacket: datapath.counter(counter.COUNTER_SERVICE_RESETS), unkept: datapath.counter(counter.COUNTER_SOCK_PEERS_FULL) });
