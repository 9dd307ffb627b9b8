// Records, flows, look-ups and servers that tests start from.
import { AgentEvents } from './agent-events.ts';
import type { Lookups } from './flow.ts';
import type { Observer } from './observer.ts';
import { Peers } from './peer.ts';
import type { Served } from './serve.ts';
import type { FlowRecord, Judgement } from '../bpf/types.gen.ts';
import type { Flow } from './types.ts';

export const noJudgement: Judgement = { bits: 0n, policy: 0, interval: 0, word: 0, action: 0 };

export function ip4(a: number, b: number, c: number, d: number): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d);
}

/** A first SYN from 10.0.0.1:40000 to 10.0.0.2:80 that was delivered. */
export const recordOf = (changes: Partial<FlowRecord> = {}): FlowRecord => ({
  time_ns: 1_000_000_001n, saddr: { word: ip4(10, 0, 0, 1) }, daddr: { word: ip4(10, 0, 0, 2) }, egress: noJudgement, ingress: noJudgement,
  packets: 1n, bytes: 60n, sport: 40_000, dport: 80, source_identity: 1001, destination_identity: 1002, generation: 1, ifindex: 7,
  smac: Uint8Array.of(2, 0, 0, 0, 0, 1), dmac: Uint8Array.of(2, 0, 0, 0, 0, 2), protocol: 6, tcp_flags: 2, event: 1, reason: 0,
  direction: 1, is_reply: 0, observation_point: 101, ...changes,
});

/** "shop/web" has 10.0.0.2; everything that denies is "shop/deny", what allows "shop/allow". */
export const lookups: Lookups = {
  endpoint: (address) => (address === '10.0.0.2'
    ? { id: 5, identity: 1002, namespace: 'shop', podName: 'web', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }], clusterName: 'default' }
    : undefined),
  identityLabels: (id) => (id === 1 ? ['reserved:host='] : [`k8s:id=${id}`]),
  policies: ({ action }, direction) => [{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: `${action === 1 ? 'allow' : 'deny'}-${direction}` }],
  policyLog: ({ action }) => (action === 1 ? [] : ['audit me']),
  toUnixNs: (ns) => ns + 1_700_000_000_000_000_000n,
  nodeName: 'node1',
};

/** Flow number `n`, one second after the one before. */
export const flowOf = (n: number, changes: Partial<Flow> = {}): Flow => ({
  time: { seconds: 1_700_000_000 + n, nanos: 0 }, uuid: `u-${n}`, verdict: 1, node_name: 'node1', IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 1 },
  source: { identity: 1001, namespace: 'shop', pod_name: 'client' }, destination: { identity: 1002, namespace: 'shop', pod_name: 'web' }, ...changes,
});

/** What an agent would serve, with nothing but flows in it. */
export const servedOf = (observer: Observer): Served => ({ observer, events: new AgentEvents(observer.nodeName, observer.now), peers: new Peers() });
