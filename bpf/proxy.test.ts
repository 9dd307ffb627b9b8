// Packet tables of the way through Envoy: both legs of a connection at every hook, in both families. `lo` stands for a's veth, `far` for b's.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { sweepOnce } from '../agent/datapath/sweeper.ts';
import { action, counter, direction, drop_reason, flow_event, frontend_scope, ipcache_flag, observation_point, type FlowRecord } from './types.gen.ts';
import { Bench, here, ticksAgo, type Outcome } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol } from './testing/packet.ts';
import { marks, proxied, proxyMac, TestProxy } from './testing/proxy.ts';
import { Services } from './testing/services.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const world = { ipv4: '203.0.113.9', ipv6: '2001:db8:9::9' };
const other = { ipv4: '10.0.1.1', ipv6: 'fd00:0:0:1::1' };
const device = 5_000;
const nodePort = 30_080;
const families = [{ family: 'IPv4', key: 'ipv4', l4: 34, bits: 32 }, { family: 'IPv6', key: 'ipv6', l4: 54, bits: 128 }] as const;
type Family = (typeof families)[number];

let bench: Bench;
let outside: Outside;
let proxy: TestProxy;
let services: Services;
let port = 40_000;
beforeAll(async () => {
  outside = new Outside('proxy');
  bench = new Bench();
  bench.netdev(outside.device, node);
  proxy = new TestProxy(bench, device);
  services = new Services(bench);
  await proxy.listen();
  for (const key of ['ipv4', 'ipv6'] as const) {
    const bits = key === 'ipv4' ? 32 : 128;
    bench.prefix(key === 'ipv4' ? '0.0.0.0/0' : '::/0', 2, { classId: 1 });
    bench.prefix(`${other[key]}/${bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, classId: 2 });
    bench.prefix(`${node[key]}/${bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
    services.put({ address: node[key], port: nodePort, protocol: protocol.tcp, scope: frontend_scope.SCOPE_EXTERNAL, backends: [{ address: a[key], port: 80 }] });
  }
  const udp = protocol.udp << 16;
  bench.policy(denied, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [{ lower: 0, steps: [] }] });
  bench.policy(strange, { defaultAction: action.ACTION_ALLOW, intervals: [{ lower: 0, steps: [] }, { lower: udp + 80, steps: [{ mask: 1n, action: action.ACTION_PROXY }] }, { lower: udp + 81, steps: [] }] });
});
afterAll(async () => {
  await proxy.hangUp();
  bench.close();
  outside.close();
});

const [denied, strange] = [31, 32];
interface Policies { readonly egress?: number; readonly ingress?: number; readonly own?: number }
/** a's egress, b's ingress, a's own ingress. */
function judge({ egress = 0, ingress = 0, own = 0 }: Policies): void {
  bench.endpoint({ ifindex: here, ...a, egress, ingress: own });
  bench.endpoint({ ifindex: outside.peer, ...b, ingress });
  const control = bench.datapath.control.get(0)!;
  bench.datapath.control.set(0, { ...control, generation: control.generation + 1 });
}
beforeEach(() => {
  port += 10;
  proxy.forget();
  judge({});
});

/** Who sends what: from whom, to whom, the ports, how it comes in. `egress`, `both`: Envoy's own connections; `answer`: on one it accepted. */
const senders = {
  a: { from: a, to: b, opens: true, run: ['from_workload', here, 0] },
  b: { from: b, to: a, opens: false, run: ['from_workload', 'peer', 0] },
  forged: { from: a, to: b, opens: true, run: ['from_workload', here, marks.bothDone] },
  egress: { from: a, to: b, opens: true, run: ['from_proxy', here, marks.egressDone] },
  both: { from: a, to: b, opens: true, run: ['from_proxy', here, marks.bothDone] },
  answer: { from: b, to: a, opens: false, run: ['from_proxy', here, marks.downstream] },
  stack: { from: b, to: a, opens: false, run: ['to_workload', here, 0] },
  stranger: { from: a, to: b, opens: true, run: ['from_proxy', here, 0x777] },
  up: { from: a, to: b, opens: true, run: ['from_proxy', here, marks.toProxy] },
  // From another node, and to it.
  other: { from: other, to: a, opens: true, run: ['from_netdev', 'out', 0] },
  otherBoth: { from: other, to: a, opens: true, run: ['from_proxy', here, marks.bothDone] },
  aToOther: { from: a, to: other, opens: false, run: ['from_workload', here, 0] },
  answerOther: { from: a, to: other, opens: false, run: ['from_proxy', here, marks.downstream] },
  toWorld: { from: a, to: world, opens: true, run: ['from_workload', here, 0] },
  egressWorld: { from: a, to: world, opens: true, run: ['from_proxy', here, marks.egressDone] },
} as const;
type Sender = keyof typeof senders;

/** Who gets it, and whether it is a reset. */
function gets({ verdict, packet, mark }: Outcome, f: Family): string {
  if (verdict !== 'redirect') return verdict;
  expect(checksumsHold(packet)).toBe(true);
  const tcp = packet[f.key === 'ipv4' ? 23 : 20] === protocol.tcp;
  const reset = tcp && packet[f.l4 + 13]! & 4 ? 'reset ' : '';
  const { dmac, source } = fieldsOf(packet);
  const known: Readonly<Record<string, string>> = { [proxyMac.replace(/:/g, '')]: mark === marks.toProxy ? 'proxy' : 'unmarked', [a.mac.replace(/:/g, '')]: 'a', [b.mac.replace(/:/g, '')]: 'b' };
  // No mark of weir's leaves this way.
  if (known[dmac] !== 'proxy') expect(mark).toBe(0);
  return reset + (known[dmac] ?? (source === node[f.key] ? 'outside' : 'network'));
}

function send(f: Family, who: Sender, own: number, flags: string, to = 80): Outcome {
  const { from, to: target, opens, run: [program, at, mark] } = senders[who];
  const ports = opens ? [own, to] as const : [to, own] as const;
  const bytes = frame().mac('mac' in from ? from.mac : '02:00:00:00:00:99').ip(from[f.key], target[f.key]).tcp(...ports, flags, flags === 'A' ? 'hello' : '').bytes();
  return outside.within(() => bench.runOn(program, bytes, at === 'peer' ? outside.peer : at === 'out' ? outside.device : at, mark));
}

type Step = readonly [who: Sender | 'policies', port: number | Policies, flags?: string, gets?: string];
const unknown = 'DROP_UNKNOWN_CT_STATE';
const rows: readonly { readonly name: string; readonly policies: Policies; readonly steps: readonly Step[] }[] = [
  { name: 'egress: to the proxy and back, from the proxy on and back', policies: { egress: proxied.egress },
    steps: [['a', 0, 'S', 'proxy'], ['answer', 0, 'SA', 'a'], ['a', 0, 'A', 'proxy'], ['egress', 1, 'S', 'b'], ['b', 1, 'SA', 'proxy'], ['egress', 1, 'A', 'b'], ['b', 1, 'A', 'proxy'], ['answer', 0, 'A', 'a']] },
  { name: 'ingress', policies: { ingress: proxied.ingress }, steps: [['a', 0, 'S', 'proxy'], ['both', 1, 'S', 'b'], ['b', 1, 'SA', 'proxy'], ['answer', 0, 'SA', 'a']] },
  { name: 'both ends: one after the other', policies: { egress: proxied.egress, ingress: proxied.ingress },
    steps: [['a', 0, 'S', 'proxy'], ['egress', 1, 'S', 'proxy'], ['answer', 1, 'SA', 'proxy'], ['egress', 1, 'A', 'proxy'], ['both', 2, 'S', 'b'], ['b', 2, 'SA', 'proxy'], ['answer', 0, 'SA', 'a']] },
  { name: 'both ends, the second leg under the first\'s port: the proxy is told', policies: { egress: proxied.egress, ingress: proxied.ingress }, steps: [['a', 0, 'S', 'proxy'], ['egress', 0, 'S', 'reset proxy'], ['egress', 1, 'S', 'proxy']] },
  { name: 'neither', policies: {}, steps: [['a', 0, 'S', 'b'], ['b', 0, 'SA', 'a'], ['a', 0, 'A', 'b']] },
  { name: 'the same port on both legs', policies: { egress: proxied.egress },
    steps: [['a', 0, 'S', 'proxy'], ['egress', 0, 'S', 'b'], ['b', 0, 'SA', 'proxy'], ['answer', 0, 'SA', 'a'], ['egress', 0, 'A', 'b'], ['a', 0, 'A', 'proxy']] },
  { name: 'the destination itself does not answer on the first leg', policies: { egress: proxied.egress }, steps: [['a', 0, 'S', 'proxy'], ['b', 0, 'SA', unknown], ['answer', 0, 'SA', 'a'], ['b', 0, 'A', unknown]] },
  { name: 'the workload does not speak on the second', policies: { egress: proxied.egress }, steps: [['egress', 1, 'S', 'b'], ['a', 1, 'A', 'proxy'], ['b', 1, 'SA', 'proxy']] },
  { name: 'an answer on no connection', policies: {}, steps: [['answer', 0, 'A', unknown], ['answer', 0, 'SA', unknown]] },
  { name: 'an answer on one that is direct', policies: {}, steps: [['a', 0, 'S', 'b'], ['answer', 0, 'SA', unknown], ['b', 0, 'SA', 'a']] },
  { name: 'a mark in a workload is worth nothing', policies: { egress: proxied.egress }, steps: [['forged', 0, 'S', 'proxy']] },
  { name: 'no mark, or another\'s', policies: {}, steps: [['stranger', 0, 'S', 'drop']] },
  { name: 'what is for the proxy goes up', policies: { egress: proxied.egress }, steps: [['up', 0, 'S', 'pass']] },
  { name: 'from direct to the proxy, the opener speaks', policies: {},
    steps: [['a', 0, 'S', 'b'], ['b', 0, 'SA', 'a'], ['policies', { egress: proxied.egress }], ['a', 0, 'A', 'reset a'], ['b', 0, 'A', 'reset b'], ['a', 0, 'S', 'proxy']] },
  { name: 'from direct to the proxy, the other end speaks', policies: {},
    steps: [['a', 0, 'S', 'b'], ['b', 0, 'SA', 'a'], ['policies', { egress: proxied.egress }], ['b', 0, 'A', 'reset a'], ['b', 0, 'A', 'reset b']] },
  { name: 'from the proxy to direct', policies: { egress: proxied.egress },
    steps: [['a', 0, 'S', 'proxy'], ['answer', 0, 'SA', 'a'], ['policies', {}], ['a', 0, 'A', 'reset a'], ['answer', 0, 'A', 'reset proxy'], ['a', 0, 'S', 'b']] },
  { name: 'from one port of the proxy to another', policies: { egress: proxied.egress, ingress: proxied.ingress },
    steps: [['a', 0, 'S', 'proxy'], ['answer', 0, 'SA', 'a'], ['policies', { ingress: proxied.ingress }], ['answer', 0, 'A', 'reset a'], ['answer', 0, 'A', 'reset proxy']] },
  { name: 'an end that is denied from now on', policies: { egress: proxied.egress },
    steps: [['a', 0, 'S', 'proxy'], ['egress', 1, 'S', 'b'], ['policies', { egress: denied }], ['a', 0, 'A', 'DROP_POLICY_DENIED'], ['policies', { egress: proxied.egress, ingress: denied }], ['egress', 1, 'A', 'DROP_POLICY_DENIED']] },
  { name: 'the second leg skips what has been judged', policies: { egress: denied }, steps: [['egress', 1, 'S', 'b'], ['both', 2, 'S', 'b']] },
  { name: 'and no more than that', policies: { ingress: denied }, steps: [['egress', 1, 'S', 'DROP_POLICY_DENIED'], ['both', 2, 'S', 'b']] },
  { name: 'the node\'s stack resets for a socket that is gone', policies: { egress: proxied.egress }, steps: [['a', 0, 'S', 'proxy'], ['stack', 0, 'A', unknown], ['stack', 0, 'R', 'pass']] },
  { name: 'from another node, and back', policies: { own: proxied.ingress },
    steps: [['other', 0, 'S', 'proxy'], ['answerOther', 0, 'SA', 'network'], ['otherBoth', 1, 'S', 'a'], ['aToOther', 1, 'SA', 'proxy']] },
  { name: 'a connection that the proxy closed first is opened again', policies: { egress: proxied.egress },
    steps: [['a', 0, 'S', 'proxy'], ['answer', 0, 'SA', 'a'], ['answer', 0, 'FA', 'a'], ['a', 0, 'FA', 'proxy'], ['a', 0, 'S', 'proxy'], ['answer', 0, 'SA', 'a']] },
];

const told = (records: readonly FlowRecord[]): (string | undefined)[] => records.filter(({ reason }) => reason !== 0).map(({ reason }) => Object.entries(drop_reason).find(([, number]) => number === reason)?.[0]);

describe.each(families)('$family', (f) => {
  test.each(rows)('$name', ({ policies, steps }) => {
    judge(policies);
    for (const [index, [who, what, flags, expected]] of steps.entries()) {
      if (who === 'policies') {
        judge(what as Policies);
        continue;
      }
      const outcome = send(f, who, port + (what as number), flags!);
      const found = outcome.verdict === 'drop' ? told(outcome.records)[0] ?? 'drop' : gets(outcome, f);
      expect([index, who, flags, found]).toEqual([index, who, flags, expected]);
    }
  });

  test('records: redirected, and what of which leg', () => {
    judge({ egress: proxied.egress });
    const leg = (who: Sender, own: number, flags: string): unknown[] => send(f, who, port + own, flags).records.map((r) => [r.event, r.observation_point, r.direction, r.is_reply, r.egress.action, r.egress.bits]);
    expect(leg('a', 0, 'S')).toEqual([[flow_event.FLOW_NEW, observation_point.TO_PROXY, direction.DIRECTION_EGRESS, 0, action.ACTION_PROXY, 1n]]);
    expect(leg('egress', 1, 'S')).toEqual([[flow_event.FLOW_NEW, observation_point.TO_ENDPOINT, direction.DIRECTION_EGRESS, 0, action.ACTION_NONE, 0n]]);
  });

  test('nobody listens: the SYN is reset, told and counted', async () => {
    await proxy.hangUp();
    judge({ egress: proxied.egress });
    const before = bench.datapath.counter(counter.COUNTER_PROXY_RESETS);
    const outcome = send(f, 'a', port, 'S');
    expect([gets(outcome, f), told(outcome.records), bench.datapath.conntrack.entries().length]).toEqual(['reset a', ['DROP_SOCKET_LOOKUP_FAILED'], 0]);
    expect(outcome.records[0]).toMatchObject({ direction: direction.DIRECTION_EGRESS, egress: { policy: proxied.egress, bits: 1n, interval: 1, action: action.ACTION_PROXY } });
    // RST and ACK of the SYN (RFC 9293, 3.10.7.1), the frame ends behind a bare header.
    expect([outcome.packet[f.l4 + 13], Buffer.from(outcome.packet).readUInt32BE(f.l4 + 8), outcome.packet.length]).toEqual([0x14, 1, f.l4 + 20]);
    expect(bench.datapath.counter(counter.COUNTER_PROXY_RESETS) - before).toBe(1n);
    await proxy.listen();
    expect(gets(send(f, 'a', port, 'S'), f)).toBe('proxy');
  });

  test('rules without a port: dropped, with the judgement whose row is missing', () => {
    judge({ egress: proxied.egress });
    proxy.ports(false);
    const { verdict, records } = send(f, 'a', port, 'S');
    proxy.ports(true);
    expect([verdict, told(records)]).toEqual(['drop', ['DROP_SOCKET_ASSIGN_FAILED']]);
    expect(records[0]).toMatchObject({ direction: direction.DIRECTION_EGRESS, egress: { policy: proxied.egress, bits: 1n, interval: 1 } });
  });

  test('not TCP, or to the node itself: dropped', () => {
    judge({ egress: strange });
    expect(told(outside.within(() => bench.run('from_workload', frame().mac(a.mac).ip(a[f.key], b[f.key]).udp(port, 80, 'x').bytes())).records)).toEqual(['DROP_NOT_SUPPORTED_BY_PROXY']);
    judge({ egress: proxied.egress });
    expect(told(outside.within(() => bench.run('from_workload', frame().mac(a.mac).ip(a[f.key], node[f.key]).tcp(port, 80, 'S').bytes())).records)).toEqual(['DROP_NOT_SUPPORTED_BY_PROXY']);
  });

  test('to the outside: the second leg is masqueraded, the answer is the proxy\'s, and each leg has its own rows', async () => {
    judge({ egress: proxied.egress });
    expect(gets(send(f, 'toWorld', port, 'S'), f)).toBe('proxy');
    const sent = send(f, 'egressWorld', port, 'S');
    expect(gets(sent, f)).toBe('outside');
    const answer = frame().mac('02:00:00:00:00:99').ip(world[f.key], node[f.key]).tcp(80, fieldsOf(sent.packet).sport, 'SA').bytes();
    const answered = (): Outcome => outside.within(() => bench.runOn('from_netdev', answer, outside.device));
    expect([gets(answered(), f), fieldsOf(answered().packet).destination, fieldsOf(answered().packet).dport]).toEqual(['proxy', a[f.key], port]);
    // The end of the first leg takes nothing of the second's away.
    const [key, row] = bench.datapath.conntrack.entries().find(([{ leg }]) => leg === 0)!;
    bench.datapath.conntrack.set(key, { ...row, seen: ticksAgo(9_000) });
    expect(await sweepOnce(bench.datapath, new Set([here, outside.peer]))).toMatchObject({ seen: 2, swept: 1 });
    expect(gets(answered(), f)).toBe('proxy');
    const [leg, second] = bench.datapath.conntrack.entries()[0]!;
    bench.datapath.conntrack.set(leg, { ...second, seen: ticksAgo(9_000) });
    const rowsBefore = bench.datapath.nat.entries().length;
    await sweepOnce(bench.datapath, new Set([here, outside.peer]));
    expect([bench.datapath.conntrack.entries().length, rowsBefore - bench.datapath.nat.entries().length]).toEqual([0, 2]);
  });

  test('a client outside of a NodePort: to the proxy as to the backend, answered and reset by the frontend', async () => {
    judge({ own: proxied.ingress });
    const from = (flags: string): Outcome => outside.within(() => bench.runOn('from_netdev', frame().mac('02:00:00:00:00:99').ip(world[f.key], node[f.key]).tcp(port, nodePort, flags).bytes(), outside.device));
    const opened = from('S');
    expect([gets(opened, f), fieldsOf(opened.packet).destination, fieldsOf(opened.packet).dport]).toEqual(['proxy', a[f.key], 80]);
    const answer = frame().mac(proxyMac).ip(a[f.key], world[f.key]).tcp(80, port, 'SA').bytes();
    const answered = outside.within(() => bench.run('from_proxy', answer, marks.downstream));
    expect([gets(answered, f), fieldsOf(answered.packet).sport]).toEqual(['outside', nodePort]);
    judge({});
    const ended = from('A');
    expect([gets(ended, f), fieldsOf(ended.packet).sport, fieldsOf(ended.packet).destination]).toEqual(['reset outside', nodePort, world[f.key]]);
    port += 1;
    judge({ own: proxied.ingress });
    await proxy.hangUp();
    const refused = from('S');
    await proxy.listen();
    expect([gets(refused, f), fieldsOf(refused.packet).sport]).toEqual(['reset outside', nodePort]);
  });

  test('errors about the second leg are the proxy\'s, those about its answers too', () => {
    judge({ egress: proxied.egress });
    send(f, 'a', port, 'S');
    send(f, 'egress', port + 1, 'S');
    const unreachable = f.key === 'ipv4' ? 3 : 1;
    const about = frame().ip(a[f.key], b[f.key]).tcp(port + 1, 80, 'S').packet();
    const fromB = frame().mac(b.mac).ip(b[f.key], a[f.key]).icmp(unreachable, { code: 1, about }).bytes();
    expect(gets(outside.within(() => bench.runOn('from_workload', fromB, outside.peer)), f)).toBe('proxy');
    const answer = frame().ip(b[f.key], a[f.key]).tcp(80, port, 'SA').packet();
    const fromA = frame().mac(a.mac).ip(a[f.key], b[f.key]).icmp(unreachable, { code: 1, about: answer }).bytes();
    expect(gets(outside.within(() => bench.runOn('from_workload', fromA, here)), f)).toBe('proxy');
  });
});
