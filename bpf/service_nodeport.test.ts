// Packet tables of services for clients outside the cluster: NodePorts and the like on the node's devices, in both families. `lo` of a
// namespace of the test's own stands for whatever device a frame is seen on.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mappedBytes, textOf } from '../agent/ipcache/address.ts';
import { direction, drop_reason, frontend_scope, ipcache_flag, limit, observation_point } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { cut, join } from './testing/fragments.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol } from './testing/packet.ts';
import { kinds, Services, type Kind, type TestService } from './testing/services.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const other = { ipv4: '198.51.100.3', ipv6: '2001:db8:51::3' };
const router = '02:00:00:00:00:99';
const families = [
  { family: 'IPv4', key: 'ipv4', client: '203.0.113.9', remote: '10.0.1.1', lb: '192.0.2.50', bits: 32, unreachable: 3, tooBig: 3, range: '203.0.113.0/24', elsewhere: '192.0.2.0/24' },
  { family: 'IPv6', key: 'ipv6', client: '2001:db8:9::9', remote: 'fd00:0:0:1::1', lb: '2001:db8:50::50', bits: 128, unreachable: 1, tooBig: 2, range: '2001:db8:9::/48', elsewhere: '2001:db8:77::/48' },
] as const;
type Family = (typeof families)[number];
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, k })));
const nodePort = 30_080;
const closed = 1;

let bench: Bench;
let services: Services;
let outside: Outside;
let port = 20_000;
beforeAll(() => {
  outside = new Outside('nodeport');
  bench = new Bench();
  services = new Services(bench);
  bench.netdev(outside.device, node);
  bench.netdev(here, node);
  bench.policy(closed, { defaultAction: 3, intervals: [{ lower: 0, steps: [] }] });
  bench.prefix('0.0.0.0/0', 9);
  bench.prefix('::/0', 10);
  for (const f of families) {
    bench.prefix(`${f.remote}/${f.bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, node: other.ipv4 });
    bench.prefix(`${other[f.key]}/${f.bits}`, 6, { flags: ipcache_flag.IPCACHE_REMOTE, node: other.ipv4 });
    bench.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  }
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  bench.endpoint({ ifindex: here, ...a, identity: 600 });
  bench.datapath.overlays.set(0, { ifindex: 0, port: 0 });
});

const come = (bytes: Uint8Array): Outcome => outside.within(() => bench.run('from_netdev', bytes));
const leave = (bytes: Uint8Array): Outcome => outside.within(() => bench.run('from_workload', bytes));
const ask = (f: Family, k: Kind, to: string = node[f.key], dport = nodePort): Uint8Array => k.open(frame().mac(router).ip(f.client, to), port, dport).bytes();
const at = (f: Family, k: Kind, more: Partial<TestService> = {}): TestService =>
  ({ address: node[f.key], port: nodePort, protocol: k.number, scope: frontend_scope.SCOPE_EXTERNAL, backends: [{ address: a[f.key], port: k.port }], ...more });
const atRemote = (f: Family, k: Kind): TestService => at(f, k, { backends: [{ address: f.remote, port: k.port }] });
const seen = (outcome: Outcome) => { const { source, sport, destination, dport } = fieldsOf(outcome.packet); return [source, sport, destination, dport]; };
const fate = ({ verdict, records }: Outcome): [string, number | undefined] => [verdict, records.at(-1)?.reason];
const inRange = (value: number): boolean => value >= limit.NAT_PORT_FIRST && value < limit.NAT_PORT_FIRST + limit.NAT_PORT_COUNT;
function quoteOf(f: Family, bytes: Uint8Array): unknown[] {
  const quote = Buffer.from(bytes.subarray(14 + (f.key === 'ipv4' ? 20 : 40) + 8));
  const [first, length, l4] = f.key === 'ipv4' ? [12, 4, 20] : [8, 16, 40];
  return [textOf(quote.subarray(first, first + length)), quote.readUInt16BE(l4), textOf(quote.subarray(first + length, first + 2 * length)), quote.readUInt16BE(l4 + 2)];
}

describe('a client outside asks a NodePort, the backend is here', () => {
  test.each(table)('$name: it gets the client\'s own address; the flow is one from the world', ({ f, k }) => {
    services.put(at(f, k));
    const asked = come(ask(f, k));
    expect([asked.verdict, seen(asked), checksumsHold(asked.packet), fieldsOf(asked.packet).ttl]).toEqual(['redirect', [f.client, port, a[f.key], k.port], true, 63]);
    expect(asked.records.map((record) => [record.source_identity, record.destination_identity, record.direction, record.observation_point]))
      .toEqual([[f.key === 'ipv4' ? 9 : 10, 600, direction.DIRECTION_INGRESS, observation_point.TO_ENDPOINT]]);
  });

  test.each(table)('$name: its answer leaves from the NodePort, and is not masqueraded', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    const answer = leave(k.talk(frame().mac(a.mac).ip(a[f.key], f.client), k.port, port).bytes());
    expect([answer.verdict, seen(answer), checksumsHold(answer.packet), fieldsOf(answer.packet).ttl]).toEqual(['redirect', [node[f.key], nodePort, f.client, port], true, 63]);
  });

  test.each(table)('$name: the same at an address that no interface has', ({ f, k }) => {
    services.put(at(f, k, { address: f.lb, port: 443 }));
    const asked = come(ask(f, k, f.lb, 443));
    expect([asked.verdict, seen(asked)]).toEqual(['redirect', [f.client, port, a[f.key], k.port]]);
  });

  test.each(families)('$family: pieces follow their first', (f) => {
    const data = 'a datagram that is long enough for three pieces of twenty-four bytes';
    services.put(at(f, kinds[1]));
    const there = cut(frame().mac(router).ip(f.client, node[f.key]).udp(port, nodePort, data).bytes(), [24, 48], port).map(come);
    expect(there.map(({ verdict }) => verdict)).toEqual(['redirect', 'redirect', 'redirect']);
    const whole = join(there.map(({ packet }) => packet));
    expect([fieldsOf(whole).destination, fieldsOf(whole).dport, checksumsHold(whole)]).toEqual([a[f.key], 8080, true]);
  });

  test.each(table)('$name: an error about the answer goes to the backend', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    const about = leave(k.talk(frame().mac(a.mac).ip(a[f.key], f.client), k.port, port).bytes()).packet.subarray(14);
    const error = come(frame().mac(router).ip(f.client, node[f.key]).icmp(f.unreachable, { code: 3, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).destination, quoteOf(f, error.packet), checksumsHold(error.packet)]).toEqual(['redirect', a[f.key], [a[f.key], k.port, f.client, port], true]);
  });
});

describe('a backend that goes', () => {
  test.each(families)('$family TCP: its client is told by a reset, out of the same device', (f) => {
    const [number] = services.put(at(f, kinds[0]));
    come(ask(f, kinds[0]));
    services.lose(number!);
    const reset = come(frame().mac(router).ip(f.client, node[f.key]).tcp(port, nodePort, 'PA', 'hello').bytes());
    expect([...fate(reset), seen(reset), checksumsHold(reset.packet), fieldsOf(reset.packet).dmac]).toEqual(['redirect', drop_reason.DROP_NO_SERVICE, [node[f.key], nodePort, f.client, port], true, '020000000099']);
  });
});

describe('refused', () => {
  const rows: readonly { name: string; service: (f: Family, k: Kind) => TestService; reason: keyof typeof drop_reason; ingress?: number }[] = [
    { name: 'no backends', service: (f, k) => at(f, k, { backends: [] }), reason: 'DROP_NO_SERVICE' },
    { name: 'a client that is in no source range', service: (f, k) => at(f, k, { sourceRanges: [f.elsewhere] }), reason: 'DROP_NOT_IN_SRC_RANGE' },
    { name: 'a policy that lets in nobody', service: (f, k) => at(f, k), reason: 'DROP_POLICY_DENIED', ingress: closed },
  ];
  test.each(table.flatMap((row) => rows.map((one) => ({ ...row, ...one, title: `${row.name}: ${one.name}` }))))('$title', ({ f, k, service, reason, ingress = 0 }) => {
    services.put(service(f, k));
    bench.endpoint({ ifindex: here, ...a, identity: 600, ingress });
    expect(fate(come(ask(f, k)))).toEqual(['drop', drop_reason[reason]]);
  });

  test.each(table)('$name: not a client in a source range', ({ f, k }) => {
    services.put(at(f, k, { sourceRanges: [f.elsewhere, f.range] }));
    expect(come(ask(f, k)).verdict).toBe('redirect');
  });

  test.each(table)('$name: a service for the cluster alone is the host\'s affair', ({ f, k }) => {
    services.remove(at(f, k));
    services.put(at(f, k, { scope: frontend_scope.SCOPE_CLUSTER }));
    const bytes = ask(f, k);
    const { verdict, packet, records } = come(bytes);
    expect([verdict, packet, records]).toEqual(['next', bytes, []]);
  });
});

describe('the backend is on another node', () => {
  test.each(table)('$name: it goes there under this node\'s address', ({ f, k }) => {
    services.put(atRemote(f, k));
    const asked = come(ask(f, k));
    const { source, sport, destination, dport, ttl } = fieldsOf(asked.packet);
    expect([asked.verdict, source, destination, dport, ttl, checksumsHold(asked.packet)]).toEqual(['redirect', node[f.key], f.remote, k.port, 63, true]);
    expect(k.kind === 'SCTP' ? sport === port : inRange(sport)).toBe(true);
    expect(asked.records.map((record) => [record.destination_identity, record.observation_point])).toEqual([[700, observation_point.TO_NETWORK]]);
  });

  test.each(table)('$name: the answer goes to the client from the NodePort', ({ f, k }) => {
    services.put(atRemote(f, k));
    const { sport } = fieldsOf(come(ask(f, k)).packet);
    const answer = come(k.talk(frame().mac(router).ip(f.remote, node[f.key]), k.port, sport).bytes());
    expect([answer.verdict, seen(answer), fieldsOf(answer.packet).ttl, checksumsHold(answer.packet)]).toEqual(['redirect', [node[f.key], nodePort, f.client, port], 63, true]);
  });

  test.each(table)('$name: a connection keeps its port', ({ f, k }) => {
    services.put(atRemote(f, k));
    const ports = [ask(f, k), k.talk(frame().mac(router).ip(f.client, node[f.key]), port, nodePort).bytes()].map((bytes) => fieldsOf(come(bytes).packet).sport);
    expect(ports[1]).toBe(ports[0]);
  });

  test.each(table)('$name: by a tunnel', ({ f, k }) => {
    bench.datapath.overlays.set(0, { ifindex: 5_000, port: 8472 });
    services.put(atRemote(f, k));
    const asked = come(ask(f, k));
    expect([asked.verdict, fieldsOf(asked.packet).source, asked.records.map((record) => record.observation_point)]).toEqual(['redirect', node[f.key], [observation_point.TO_OVERLAY]]);
  });

  test.each(table)('$name: an error about it goes to the client from the node, and quotes the NodePort', ({ f, k }) => {
    services.put(atRemote(f, k));
    const about = come(ask(f, k)).packet.subarray(14);
    const error = come(frame().mac(router).ip(f.remote, node[f.key]).icmp(f.unreachable, { code: 3, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).source, fieldsOf(error.packet).destination, quoteOf(f, error.packet), checksumsHold(error.packet)])
      .toEqual(['redirect', node[f.key], f.client, [f.client, port, node[f.key], nodePort], true]);
  });

  test.each(table)('$name: an error about the answer goes to the backend from the node, and quotes what it sent', ({ f, k }) => {
    services.put(atRemote(f, k));
    const { sport } = fieldsOf(come(ask(f, k)).packet);
    const about = come(k.talk(frame().mac(router).ip(f.remote, node[f.key]), k.port, sport).bytes()).packet.subarray(14);
    for (const from of [f.client, f.lb]) {
      const error = come(frame().mac(router).ip(from, node[f.key]).icmp(f.tooBig, { code: f.key === 'ipv4' ? 4 : 0, about }).bytes());
      expect([error.verdict, fieldsOf(error.packet).source, fieldsOf(error.packet).destination, quoteOf(f, error.packet), checksumsHold(error.packet)])
        .toEqual(['redirect', node[f.key], f.remote, [f.remote, k.port, node[f.key], sport], true]);
    }
  });

  test.each(table)('$name: an error about an answer that nobody gave goes nowhere', ({ f, k }) => {
    services.put(atRemote(f, k));
    const about = k.talk(frame().mac(router).ip(node[f.key], f.client), nodePort, port).bytes().subarray(14);
    const bytes = frame().mac(router).ip(f.client, node[f.key]).icmp(f.tooBig, { about }).bytes();
    const { verdict, packet } = come(bytes);
    expect([verdict, packet]).toEqual(['next', bytes]);
  });

  test.each(families)('$family: with every port towards it in use, new connections are refused, others are safe', (f) => {
    services.put(atRemote(f, kinds[1]));
    const living = fieldsOf(come(ask(f, kinds[1])).packet).sport;
    const word = (address: string) => ({ word: mappedBytes(address) });
    for (let slot = 0; slot < limit.NAT_PORT_COUNT; slot += 1) {
      const local_port = limit.NAT_PORT_FIRST + slot;
      if (local_port === living) continue;
      const own = 1 + slot;
      bench.datapath.nat.set({ remote: word(f.remote), local: word(node[f.key]), remote_port: 8080, local_port, protocol: protocol.udp, direction: direction.DIRECTION_INGRESS, leg: 0 }, { addr: word(a[f.key]), port: own, leg: 0 });
      const key = [mappedBytes(a[f.key]), mappedBytes(f.remote)];
      bench.datapath.conntrack.set({ addr: key.map((one) => ({ word: one })), port: Uint8Array.from([own >> 8, own & 255, 8080 >> 8, 8080 & 255]), protocol: protocol.udp, leg: 0 }, living4(bench));
    }
    expect(fieldsOf(come(ask(f, kinds[1])).packet).sport).toBe(living);
    port += 1;
    const counted = (): number => bench.datapath.drops().filter(({ reason }) => reason === drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE).reduce((sum, { packets }) => sum + packets, 0);
    const before = counted();
    expect([...fate(come(ask(f, kinds[1]))), counted() - before]).toEqual(['drop', drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE, 1]);
  });
});

/** The row of a connection that lives. */
const living4 = (from: Bench) => from.datapath.conntrack.entries(1).map(([, entry]) => ({ ...entry, state: 1, packets: 10n }))[0]!;
