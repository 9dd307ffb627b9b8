// Packet tables of masqueraded fragments, out and back: after joining the pieces, the datagram is one that was rewritten whole.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { drop_reason } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { cut, join } from './testing/fragments.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const router = '02:00:00:00:00:99';
const families = [
  { family: 'IPv4', key: 'ipv4', workload: a.ipv4, node: node.ipv4, remote: '203.0.113.9', echo: 8, reply: 0, unreachable: 3 },
  { family: 'IPv6', key: 'ipv6', workload: a.ipv6, node: node.ipv6, remote: '2001:db8:9::9', echo: 128, reply: 129, unreachable: 1 },
] as const;
type Family = (typeof families)[number];
// Odd in length and without symmetry, so that a sum over the wrong bytes is wrong.
const data = Array.from({ length: 61 }, (_, index) => String.fromCharCode(33 + (index * 7) % 90)).join('');
const kinds = [
  { kind: 'UDP', ask: (_: Family, base: Frame, port: number) => base.udp(port, 443, data), answer: (_: Family, base: Frame, port: number) => base.udp(443, port, data) },
  { kind: 'TCP', ask: (_: Family, base: Frame, port: number) => base.tcp(port, 443, 'A', data), answer: (_: Family, base: Frame, port: number) => base.tcp(443, port, 'A', data) },
  { kind: 'SCTP', ask: (_: Family, base: Frame, port: number) => base.sctp(port, 443), answer: (_: Family, base: Frame, port: number) => base.sctp(443, port) },
  { kind: 'echo', ask: (f: Family, base: Frame, port: number) => base.icmp(f.echo, { id: port, about: Buffer.from(data) }), answer: (f: Family, base: Frame, port: number) => base.icmp(f.reply, { id: port, about: Buffer.from(data) }) },
] as const;
type Kind = (typeof kinds)[number];
const table = families.flatMap((f) => kinds.map((k) => [`${f.family} ${k.kind}`, { f, k, cuts: k.kind === 'SCTP' ? [16] : [24, 48] }] as const));

let bench: Bench;
let outside: Outside;
let port = 30_000;
let id = 500;
beforeAll(() => {
  outside = new Outside('fragments');
  bench = new Bench();
  bench.netdev(outside.device, node);
  bench.prefix('0.0.0.0/0', 2);
  bench.prefix('::/0', 2);
  bench.endpoint({ ifindex: here, ...a });
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  id += 1;
});

const out = (pieces: readonly Uint8Array[]): Outcome[] => outside.within(() => pieces.map((piece) => bench.run('from_workload', piece)));
const back = (pieces: readonly Uint8Array[]): Outcome[] => pieces.map((piece) => bench.run('from_netdev', piece));
const verdicts = (outcomes: readonly Outcome[]): string[] => outcomes.map(({ verdict }) => verdict);
const joined = (outcomes: readonly Outcome[]): Uint8Array => join(outcomes.map(({ packet }) => packet));
const asked = (f: Family, k: Kind): Uint8Array => k.ask(f, frame().mac(a.mac).ip(f.workload, f.remote), port).bytes();
const answered = (f: Family, k: Kind, seen: number): Uint8Array => k.answer(f, frame().mac(router).ip(f.remote, f.node), seen).bytes();
const payload = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(-data.length)).toString();

/** The node's port that a whole packet of the connection got. */
const seenPort = (f: Family, k: Kind): number => fieldsOf(out([asked(f, k)])[0]!.packet).sport;

describe.each(table)('masqueraded pieces: %s', (_, { f, k, cuts }) => {
  test('out and back, checksums over the whole datagram right', () => {
    const sent = out(cut(asked(f, k), cuts, id));
    expect(new Set(verdicts(sent))).toEqual(new Set(['redirect']));
    const there = joined(sent);
    const seen = fieldsOf(there).sport;
    expect([fieldsOf(there).source, fieldsOf(there).destination, fieldsOf(there).ttl, checksumsHold(there)]).toEqual([f.node, f.remote, 63, true]);
    expect(seen === port).toBe(k.kind === 'SCTP');

    const came = back(cut(answered(f, k, seen), cuts, id));
    expect(new Set(verdicts(came))).toEqual(new Set(['redirect']));
    expect(came.flatMap(({ records }) => records)).toEqual([]);
    const home = joined(came);
    const to = { source: f.remote, destination: f.workload, sport: k.kind === 'echo' ? port : 443, dport: port, ttl: 63, dmac: '020000000001', smac: '0200000000fe' };
    expect([fieldsOf(home), checksumsHold(home)]).toEqual([to, true]);
    if (k.kind !== 'SCTP') expect([payload(there), payload(home)]).toEqual([data, data]);
  });

  test('pieces and whole packets of one connection have one port', () => {
    const seen = seenPort(f, k);
    expect(fieldsOf(joined(out(cut(asked(f, k), cuts, id)))).sport).toBe(seen);
  });

  test('the last piece of an answer before the second', () => {
    const [first, ...rest] = cut(answered(f, k, seenPort(f, k)), cuts, id);
    const came = back([first!, ...rest.reverse()]);
    expect(new Set(verdicts(came))).toEqual(new Set(['redirect']));
    expect(checksumsHold(joined(came))).toBe(true);
  });

  test('a later piece before the first of an answer stays with the host, untouched', () => {
    const [, second] = cut(answered(f, k, seenPort(f, k)), cuts, id);
    const [came] = back([second!]);
    expect([came!.verdict, came!.packet, came!.records]).toEqual(['next', second, []]);
  });

  test('a later piece before the first, outwards', () => {
    const [, second] = cut(asked(f, k), cuts, id);
    const [sent] = out([second!]);
    expect([sent!.verdict, sent!.records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_FRAGMENT_WITHOUT_FIRST]);
  });

  test('a datagram for the host passes byte for byte, also under a name that one of the workload had', () => {
    back(cut(answered(f, k, seenPort(f, k)), cuts, id));
    const pieces = cut(answered(f, k, 22), cuts, id);
    expect(back(pieces).map(({ verdict, packet, records }) => [verdict, packet, records])).toEqual(pieces.map((piece) => ['next', piece, []]));
    expect(bench.datapath.fragments.entries().some(([key, value]) => key.direction === 0 && value.id === (f.key === 'ipv4' ? id & 0xffff : id))).toBe(false);
  });
});

test('IPv4: a UDP checksum of zero stays zero', () => {
  const [f] = families;
  const bytes = asked(f, kinds[0]);
  bytes.fill(0, 40, 42);
  const sent = out(cut(bytes, [24], id));
  const there = joined(sent);
  expect([verdicts(sent), fieldsOf(there).source, Buffer.from(there).readUInt16BE(40)]).toEqual([['redirect', 'redirect'], f.node, 0]);
});

test.each(families)('$family: an error about a first piece reaches the workload, one about a later piece is the host\'s', (f) => {
  const [first, second] = out(cut(asked(f, kinds[0]), [24], id)).map(({ packet }) => Buffer.from(packet).subarray(14));
  const error = (about: Uint8Array): Uint8Array => frame().mac(router).ip(f.remote, f.node).icmp(f.unreachable, { about }).bytes();
  const [come, gone] = back([error(first!), error(second!)]);
  expect([come!.verdict, fieldsOf(come!.packet).destination, checksumsHold(come!.packet)]).toEqual(['redirect', f.workload, true]);
  expect([gone!.verdict, gone!.packet]).toEqual(['next', error(second!)]);
});
