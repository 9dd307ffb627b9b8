// Packet tables of services whose backends are processes of the node itself, for clients outside: from_netdev leads there, to_netdev answers from
// the service. Both families; `lo` of a namespace of the test's own stands for whatever device a frame is seen on.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { textOf } from '../agent/ipcache/address.ts';
import { direction, drop_reason, frontend_flag, frontend_scope, ipcache_flag, observation_point } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { cut, join } from './testing/fragments.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame } from './testing/packet.ts';
import { kinds, Services, type Kind, type TestService } from './testing/services.ts';

const other = { ipv4: '198.51.100.3', ipv6: '2001:db8:51::3' };
const router = '02:00:00:00:00:99';
const own = '02:00:00:00:00:98';
const families = [
  { family: 'IPv4', key: 'ipv4', client: '203.0.113.9', lb: '192.0.2.50', bits: 32, unreachable: 3, world: 9, elsewhere: '192.0.2.0/24' },
  { family: 'IPv6', key: 'ipv6', client: '2001:db8:9::9', lb: '2001:db8:50::50', bits: 128, unreachable: 1, world: 10, elsewhere: '2001:db8:77::/48' },
] as const;
type Family = (typeof families)[number];
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, k })));
const nodePort = 30_080;

let bench: Bench;
let services: Services;
let outside: Outside;
let port = 20_000;
beforeAll(() => {
  outside = new Outside('service-node');
  bench = new Bench();
  services = new Services(bench);
  bench.netdev(outside.device, node);
  bench.netdev(here, node);
  bench.prefix('0.0.0.0/0', 9);
  bench.prefix('::/0', 10);
  for (const f of families) {
    bench.prefix(`${other[f.key]}/${f.bits}`, 6, { flags: ipcache_flag.IPCACHE_REMOTE, node: other.ipv4 });
    bench.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  }
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => { port += 1; });

const come = (bytes: Uint8Array): Outcome => outside.within(() => bench.run('from_netdev', bytes));
const leave = (bytes: Uint8Array): Outcome => outside.within(() => bench.run('to_netdev', bytes));
const ask = (f: Family, k: Kind, to: string = node[f.key], dport = nodePort): Uint8Array => k.open(frame().mac(router).ip(f.client, to), port, dport).bytes();
const answerOf = (f: Family, k: Kind): Uint8Array => k.talk(frame().mac(own).ip(node[f.key], f.client), k.port, port).bytes();
const at = (f: Family, k: Kind, more: Partial<TestService> = {}): TestService =>
  ({ address: node[f.key], port: nodePort, protocol: k.number, scope: frontend_scope.SCOPE_EXTERNAL, backends: [{ address: node[f.key], port: k.port }], ...more });
const seen = ({ packet }: Outcome) => { const { source, sport, destination, dport } = fieldsOf(packet); return [source, sport, destination, dport]; };
function quoteOf(f: Family, bytes: Uint8Array): unknown[] {
  const quote = Buffer.from(bytes.subarray(14 + (f.key === 'ipv4' ? 20 : 40) + 8));
  const [first, length, l4] = f.key === 'ipv4' ? [12, 4, 20] : [8, 16, 40];
  return [textOf(quote.subarray(first, first + length)), quote.readUInt16BE(l4), textOf(quote.subarray(first + length, first + 2 * length)), quote.readUInt16BE(l4 + 2)];
}

test.each(table)('$name: as long as no service has led here, nothing that leaves is looked at', ({ f, k }) => {
  const bytes = answerOf(f, k);
  expect(leave(bytes)).toMatchObject({ verdict: 'next', packet: bytes, records: [] });
});

describe('a client outside asks a service', () => {
  test.each(table)('$name: a process of the node gets it, under the client\'s own address; the flow is one from the world', ({ f, k }) => {
    services.put(at(f, k));
    const asked = come(ask(f, k));
    expect([asked.verdict, seen(asked), checksumsHold(asked.packet)]).toEqual(['next', [f.client, port, node[f.key], k.port], true]);
    expect(asked.records.map((record) => [record.source_identity, record.destination_identity, record.direction, record.observation_point]))
      .toEqual([[f.world, 1, direction.DIRECTION_INGRESS, observation_point.TO_HOST]]);
  });

  test.each(table)('$name: its answer leaves from the NodePort', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    const answer = leave(answerOf(f, k));
    expect([answer.verdict, seen(answer), checksumsHold(answer.packet), answer.records.at(-1)?.reason ?? 0]).toEqual(['next', [node[f.key], nodePort, f.client, port], true, 0]);
  });

  test.each(table)('$name: the same at an address that no interface has', ({ f, k }) => {
    services.put(at(f, k, { address: f.lb, port: 443 }));
    const asked = come(ask(f, k, f.lb, 443));
    expect([asked.verdict, seen(asked), seen(leave(answerOf(f, k)))]).toEqual(['next', [f.client, port, node[f.key], k.port], [f.lb, 443, f.client, port]]);
  });

  test.each(table)('$name: the connection goes on', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    leave(answerOf(f, k));
    const more = come(k.talk(frame().mac(router).ip(f.client, node[f.key]), port, nodePort).bytes());
    expect([more.verdict, seen(more), more.records]).toEqual(['next', [f.client, port, node[f.key], k.port], []]);
  });

  test.each(families)('$family: pieces follow their first, both ways', (f) => {
    const data = 'a datagram that is long enough for three pieces of twenty-four bytes';
    // Of an address that is not the node's own: later pieces change by it alone.
    services.put(at(f, kinds[1], { address: f.lb }));
    const there = cut(frame().mac(router).ip(f.client, f.lb).udp(port, nodePort, data).bytes(), [24, 48], port).map(come);
    const back = cut(frame().mac(own).ip(node[f.key], f.client).udp(kinds[1].port, port, data).bytes(), [24, 48], port).map(leave);
    expect([...there, ...back].map(({ verdict }) => verdict)).toEqual(Array.from({ length: 6 }, () => 'next'));
    const [asked, answered] = [there, back].map((pieces) => join(pieces.map(({ packet }) => packet)));
    expect([fieldsOf(asked!).destination, fieldsOf(asked!).dport, checksumsHold(asked!)]).toEqual([node[f.key], kinds[1].port, true]);
    expect([fieldsOf(answered!).source, fieldsOf(answered!).sport, checksumsHold(answered!)]).toEqual([f.lb, nodePort, true]);
  });

  test.each(table)('$name: that nobody listens is told from the NodePort', ({ f, k }) => {
    services.put(at(f, k));
    const about = come(ask(f, k)).packet.subarray(14);
    const error = leave(frame().mac(own).ip(node[f.key], f.client).icmp(f.unreachable, { code: f.key === 'ipv4' ? 3 : 4, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).source, quoteOf(f, error.packet), checksumsHold(error.packet)])
      .toEqual(['next', node[f.key], [f.client, port, node[f.key], nodePort], true]);
  });

  test.each(table)('$name: an error about the answer goes to the process', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    const about = leave(answerOf(f, k)).packet.subarray(14);
    const error = come(frame().mac(router).ip(f.client, node[f.key]).icmp(f.unreachable, { code: 3, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).destination, quoteOf(f, error.packet), checksumsHold(error.packet)])
      .toEqual(['next', node[f.key], [node[f.key], k.port, f.client, port], true]);
  });
});

describe('left alone', () => {
  test.each(table)('$name: what the node sends to others', ({ f, k }) => {
    services.put(at(f, k));
    come(ask(f, k));
    for (const bytes of [k.talk(frame().mac(own).ip(node[f.key], f.client), k.port, port + 1).bytes(), k.talk(frame().mac(own).ip(node[f.key], f.lb), k.port, port).bytes()]) {
      expect(leave(bytes)).toMatchObject({ verdict: 'next', packet: bytes, records: [] });
    }
  });
});

describe('refused', () => {
  const rows: readonly { name: string; more: (f: Family) => Partial<TestService>; reason: keyof typeof drop_reason }[] = [
    { name: 'a client that is in no source range', more: (f) => ({ sourceRanges: [f.elsewhere] }), reason: 'DROP_NOT_IN_SRC_RANGE' },
    { name: 'another family', more: (f) => ({ backends: [{ address: node[f.key === 'ipv4' ? 'ipv6' : 'ipv4'], port: 80 }] }), reason: 'DROP_NO_SERVICE' },
  ];
  test.each(table.flatMap((row) => rows.map((one) => ({ ...row, ...one, title: `${row.name}: ${one.name}` }))))('$title', ({ f, k, more, reason }) => {
    services.put(at(f, k, more(f)));
    const { verdict, records } = come(ask(f, k));
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason[reason]]);
  });
});

test.each(table)('$name: a process of another node is masqueraded for, DSR or not', ({ f, k }) => {
  services.put(at(f, k, { backends: [{ address: other[f.key], port: k.port }], flags: frontend_flag.FRONTEND_DSR }));
  const asked = come(ask(f, k));
  expect([asked.verdict, fieldsOf(asked.packet).source, fieldsOf(asked.packet).destination]).toEqual(['redirect', node[f.key], other[f.key]]);
});
