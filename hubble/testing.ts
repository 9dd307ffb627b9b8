// Records, flows, look-ups and servers that tests start from.
import type { ServiceLookup } from './services.ts';
import { AgentEvents } from './agent-events.ts';
import type { Lookups } from './flow.ts';
import type { Observer } from './observer.ts';
import { Peers } from './peer.ts';
import type { Served } from './serve.ts';
import { field, headerBytes, judgementField, recordBytes, slotBytes } from './record.ts';
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
  direction: 1, is_reply: 0, observation_point: 101, live: 0, ...changes,
});

/** "shop/web" has 10.0.0.2; everything that denies is "shop/deny", what allows "shop/allow". */
export const lookups: Lookups = {
  endpoint: (address) => (address === '10.0.0.2'
    ? { id: 5, identity: 1002, namespace: 'shop', podName: 'web', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }], clusterName: 'default' }
    : undefined),
  identityLabels: (id) => (id === 1 ? ['reserved:host='] : [`k8s:id=${id}`]),
  policies: ({ action }, direction) => [{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: `${action === 1 || action === 5 ? 'allow' : 'deny'}-${direction}` }],
  policyLog: ({ action }) => (action === 1 || action === 5 ? [] : ['audit me']),
  changedNs: () => 0,
  forgotten: () => 0,
  toUnixNs: (ns) => ns + 1_700_000_000_000_000_000n,
  nodeName: 'node1',
};

/** Ports below 1,024 are of "shop/web" at 10.0.0.2, and of "shop/any" elsewhere but in UDP. */
export const services: ServiceLookup = {
  ports: new Uint8Array(65_536 / 8).fill(0xff, 0, 1_024 / 8),
  revision: 0,
  at: (address, _port, protocol) => (address === '10.0.0.2' ? { name: 'web', namespace: 'shop' } : protocol === 17 ? undefined : { name: 'any', namespace: 'shop' }),
};

/** Flow number `n`, one second after the one before. */
export const flowOf = (n: number, changes: Partial<Flow> = {}): Flow => ({
  time: { seconds: 1_700_000_000 + n, nanos: 0 }, uuid: `u-${n}`, verdict: 1, node_name: 'node1', IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 1 },
  source: { identity: 1001, namespace: 'shop', pod_name: 'client' }, destination: { identity: 1002, namespace: 'shop', pod_name: 'web' }, ...changes,
});

/** What an agent would serve, with nothing but flows in it. */
export const servedOf = (observer: Observer): Served => ({ observer, events: new AgentEvents(observer.nodeName, observer.now), peers: new Peers() });
/** As the kernel writes them into its ring: each behind its header. */
export function slotsOf(...records: readonly FlowRecord[]): Uint8Array {
  const slots = new Uint8Array(records.length * slotBytes);
  records.forEach((record, index) => {
    new DataView(slots.buffer, index * slotBytes).setUint32(0, recordBytes, true);
    encodeRecord(record, new DataView(slots.buffer, index * slotBytes + headerBytes, recordBytes));
  });
  return slots;
}

function encodeRecord(record: FlowRecord, view: DataView): void {
  const judgement = (at: number, { bits, policy, interval, word, action }: Judgement): void => {
    view.setBigUint64(at + judgementField.bits, bits, true);
    view.setUint32(at + judgementField.policy, policy, true);
    view.setUint32(at + judgementField.interval, interval, true);
    view.setUint16(at + judgementField.word, word, true);
    view.setUint8(at + judgementField.action, action);
  };
  const copy = (at: number, bytes: Uint8Array): void => { new Uint8Array(view.buffer, view.byteOffset).set(bytes, at); };
  for (const [at, value] of [[field.time, record.time_ns], [field.packets, record.packets], [field.bytes, record.bytes]] as const) view.setBigUint64(at, value, true);
  for (const [at, bytes] of [[field.saddr, record.saddr.word], [field.daddr, record.daddr.word], [field.smac, record.smac], [field.dmac, record.dmac]] as const) copy(at, bytes);
  judgement(field.egress, record.egress);
  judgement(field.ingress, record.ingress);
  view.setUint16(field.sport, record.sport, false);
  view.setUint16(field.dport, record.dport, false);
  const u32 = [[field.sourceIdentity, record.source_identity], [field.destinationIdentity, record.destination_identity], [field.generation, record.generation], [field.ifindex, record.ifindex]] as const;
  for (const [at, value] of u32) view.setUint32(at, value, true);
  copy(field.protocol, Uint8Array.of(record.protocol, record.tcp_flags, record.event, record.reason, record.direction, record.is_reply, record.observation_point, record.live));
}
