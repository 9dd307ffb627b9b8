// Two workloads on two nodes under policy with flow export on, by plain routes and in VXLAN, against the same ways made by hand.
import { pod, policy } from '../kernel-tests/cluster.ts';
import { NodesCluster } from '../kernel-tests/nodes.ts';
import { idle } from '../kernel-tests/programs.ts';
import { compare, latency, rate, throughput, type Measure } from './local.ts';
import { lastPort, port, type Pair } from './peer.ts';
import { PlainNodes } from './plain-nodes.ts';
import { atLeast, atMost, type Figure } from './table.ts';

const measures: readonly Measure[] = [
  { name: 'TCP_RR P50, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: latency, target: (found) => atMost(1.05, found, 'x') },
  { name: 'TCP_CRR', test: 'TCP_CRR', cores: 'any', unit: '/s', of: rate, target: () => ({}) },
  { name: 'TCP_STREAM', test: 'TCP_STREAM', cores: 'any', unit: 'Gbit/s', of: throughput, target: (found) => atLeast(0.95, found, 'x') },
];

const at = { 'default/client': 'node1', 'default/server': 'node2' } as const;
const ports = [{ ports: ['TCP', 'UDP'].map((protocol) => ({ port: String(port), endPort: lastPort, protocol })) }];
const peers = (app: string): object[] => [{ matchLabels: { app } }];
const manifests = {
  'pods.yaml': Object.entries(at).map(([key, nodeName]) => pod(key.split('/')[1]!, idle, { app: key.split('/')[1]! }, 'default', { nodeName })),
  'policies.yaml': [
    policy('egress', { endpointSelector: { matchLabels: { app: 'client' } }, egress: [{ toEndpoints: peers('server'), toPorts: ports }] }),
    policy('ingress', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: peers('client'), toPorts: ports }] }),
  ],
};

export async function nodes(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const tunnel of ['disabled', 'vxlan'] as const) {
    const plain = new PlainNodes('bench-way', tunnel);
    const cluster = await NodesCluster.startNodes(`bench-${tunnel}`, manifests, at, ['--tunnel', tunnel]);
    try {
      const netns = (key: keyof typeof at): string => `/proc/${cluster.json<{ key: string; shimPid: number }[]>('--node', at[key], 'db', 'show', 'workloads').find((row) => row.key === key)!.shimPid}/ns/net`;
      const weir: Pair = { label: 'weir', client: netns('default/client'), server: netns('default/server'), to: cluster.address('default/server') };
      figures.push(...(await compare(weir, plain, measures, 11)).map((figure) => ({ ...figure, name: `${figure.name}, ${tunnel === 'vxlan' ? 'VXLAN' : 'plain routes'}` })));
    } finally {
      await cluster.close();
      plain.close();
    }
  }
  return figures;
}
