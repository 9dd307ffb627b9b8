// A cluster with two workloads under policy, as a pair of places for traffic. The peers are started in the workloads' network
// namespaces from outside, as in the plain pair, so that only the network differs.
import { Cluster, pod, policy } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { lastPort, port, type Pair } from './peer.ts';

type Rule = Readonly<Record<string, unknown>>;

const ports = (first: number, last = first): object[] => (['TCP', 'UDP'] as const).map((protocol) => ({ port: String(first), protocol, ...(last === first ? {} : { endPort: last }) }));
const endpoints = (app: string): object[] => [{ matchLabels: { app } }];

/** Rules that match nobody who is here, over a hundred ports. */
const strangers = (count: number): Rule[] => Array.from({ length: count }, (_, index) => ({
  fromCIDR: [`172.${16 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}/32`], toPorts: [{ ports: [{ port: String(1000 + (index % 100)), protocol: 'TCP' }] }],
}));

function manifests(rules: number): Record<string, object> {
  const out: Rule = { toEndpoints: endpoints('server'), toPorts: [{ ports: ports(port, lastPort) }] };
  const into: Rule = { fromEndpoints: endpoints('client'), toPorts: [{ ports: ports(port, lastPort) }] };
  return {
    'client.yaml': pod('client', idle), 'server.yaml': pod('server', idle),
    'egress.yaml': policy('egress', { endpointSelector: { matchLabels: { app: 'client' } }, egress: [out] }),
    'ingress.yaml': policy('ingress', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [...strangers(rules - 2), into] }),
  };
}

export interface WeirPair extends Pair { readonly cluster: Cluster; readonly close: () => Promise<void> }

/** `rules`: all of both policies. */
export async function weirPair(name: string, rules: number, args: readonly string[] = []): Promise<WeirPair> {
  const cluster = await Cluster.start(name, manifests(rules), args);
  const rows = cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads');
  const netns = (workload: string): string => `/proc/${rows.find((row) => row.name === workload)!.shimPid}/ns/net`;
  return { label: 'weir', client: netns('client'), server: netns('server'), to: cluster.address('default/server'), cluster, close: async () => cluster.close() };
}
