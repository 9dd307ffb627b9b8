// Packet tables of services inside the cluster: what a workload sends to a ClusterIP and its sockets were not told, per packet, in both
// families. Clients outside: service_nodeport.test.ts.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mappedBytes, textOf } from '../agent/ipcache/address.ts';
import { sweepOnce } from '../agent/datapath/sweeper.ts';
import { ticksNow, ticksOf } from '../agent/datapath/ticks.ts';
import { counter, ct_service, drop_reason, flow_event, frontend_scope } from './types.gen.ts';
import { Bench, here, ticksAgo, type Outcome } from './testing/bench.ts';
import { cut, join } from './testing/fragments.ts';
import { checksumsHold, fieldsOf, frame, type Frame } from './testing/packet.ts';
import { kinds, Services, type Kind, type TestService } from './testing/services.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const c = { ipv4: '10.0.0.3', ipv6: 'fd00::3', mac: '02:00:00:00:00:03' };
const router = { ipv4: '203.0.113.1', ipv6: '2001:db8::1' };
const families = [
  { family: 'IPv4', key: 'ipv4', other: 'ipv6', vip: '172.20.0.1', unreachable: 3, tooBig: 3 },
  { family: 'IPv6', key: 'ipv6', other: 'ipv4', vip: 'fd99::1', unreachable: 1, tooBig: 2 },
] as const;
type Family = (typeof families)[number];
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, k })));

let bench: Bench;
let services: Services;
let port = 20_000;
const closed = 1;
beforeAll(() => {
  bench = new Bench();
  services = new Services(bench);
  bench.policy(closed, { defaultAction: 3, intervals: [{ lower: 0, steps: [] }] });
  bench.prefix('0.0.0.0/0', 2);
  bench.prefix('::/0', 2);
});
afterAll(() => { bench.close(); });
beforeEach(() => {
  port += 1;
  for (const one of [b, c, a]) bench.endpoint({ ifindex: here, ...one });
});

/** `lo` stands for the veth of whoever sends. */
function send(workload: typeof a, bytes: Uint8Array, policies: { ingress?: number; egress?: number } = {}): Outcome {
  bench.endpoint({ ifindex: here, ...workload, ...policies });
  return bench.run('from_workload', bytes);
}
const from = (workload: typeof a, f: Family, to: string): Frame => frame().mac(workload.mac).ip(workload[f.key], to);
const at = (f: Family, k: Kind, more: Partial<TestService> = {}): TestService =>
  ({ address: f.vip, port: 80, protocol: k.number, scope: frontend_scope.SCOPE_CLUSTER, backends: [{ address: b[f.key], port: k.port }], ...more });
const seen = (outcome: Outcome) => { const { source, sport, destination, dport } = fieldsOf(outcome.packet); return [source, sport, destination, dport]; };
const fate = ({ verdict, records }: Outcome): [string, number | undefined] => [verdict, records.at(-1)?.reason];
const translationsOf = (f: Family): number => services.translations.entries().filter(([key]) => key.client_port === port && Buffer.from(key.client.word).equals(Buffer.from(mappedBytes(a[f.key])))).length;

/** Addresses and ports that an ICMP error quotes. */
function quoteOf(f: Family, bytes: Uint8Array): unknown[] {
  const quote = Buffer.from(bytes.subarray(14 + (f.key === 'ipv4' ? 20 : 40) + 8));
  const [first, length, l4] = f.key === 'ipv4' ? [12, 4, 20] : [8, 16, 40];
  return [textOf(quote.subarray(first, first + length)), quote.readUInt16BE(l4), textOf(quote.subarray(first + length, first + 2 * length)), quote.readUInt16BE(l4 + 2)];
}

describe('a workload asks a ClusterIP', () => {
  test.each(table)('$name: the backend gets it, checksums right; the flow names the backend', ({ f, k }) => {
    services.put(at(f, k));
    const asked = send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    expect([asked.verdict, seen(asked), checksumsHold(asked.packet), fieldsOf(asked.packet).ttl]).toEqual(['redirect', [a[f.key], port, b[f.key], k.port], true, 63]);
    expect(asked.records.map(({ event, dport }) => [event, dport])).toEqual([[flow_event.FLOW_NEW, k.port]]);
  });

  test.each(table)('$name: it is answered from there', ({ f, k }) => {
    services.put(at(f, k));
    send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    const answer = send(b, k.talk(from(b, f, a[f.key]), k.port, port).bytes());
    expect([answer.verdict, seen(answer), checksumsHold(answer.packet)]).toEqual(['redirect', [f.vip, 80, a[f.key], port], true]);
  });

  test.each(table)('$name: an answer by the stack of the host too', ({ f, k }) => {
    services.put(at(f, k));
    send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    const answer = bench.run('to_workload', k.talk(frame().ip(b[f.key], a[f.key]), k.port, port).bytes());
    expect([answer.verdict, seen(answer), checksumsHold(answer.packet)]).toEqual(['pass', [f.vip, 80, a[f.key], port], true]);
  });

  test.each(table)('$name: a connection keeps its backend among many', ({ f, k }) => {
    services.put(at(f, k, { backends: Array.from({ length: 8 }, (_, index) => ({ address: (index % 2 ? b : c)[f.key], port: k.port + index })) }));
    const first = seen(send(a, k.open(from(a, f, f.vip), port, 80).bytes()));
    const later = Array.from({ length: 16 }, () => seen(send(a, k.talk(from(a, f, f.vip), port, 80).bytes())));
    expect(later).toEqual(later.map(() => first));
  });

  test.each(table)('$name: all backends get some', ({ f, k }) => {
    services.put(at(f, k, { backends: [b, c].map((one) => ({ address: one[f.key], port: k.port })) }));
    const to = new Set(Array.from({ length: 64 }, (_, index) => fieldsOf(send(a, k.open(from(a, f, f.vip), 30_000 + index, 80).bytes()).packet).destination));
    expect(to).toEqual(new Set([b[f.key], c[f.key]]));
  });

  test.each(table)('$name: truncated at every byte, drops or is rewritten whole', ({ f, k }) => {
    services.put(at(f, k));
    const whole = k.open(from(a, f, f.vip), port, 80).bytes();
    for (let length = f.key === 'ipv6' ? 54 : 34; length <= whole.length; length += 1) {
      const outcome = send(a, whole.subarray(0, length));
      if (outcome.verdict !== 'drop') expect([length, seen(outcome)]).toEqual([length, [a[f.key], port, b[f.key], k.port]]);
    }
  });

  test.each(families)('$family: another port of the address, and another protocol, are not the service', (f) => {
    services.put(at(f, kinds[0]));
    for (const bytes of [from(a, f, f.vip).tcp(port, 81, 'S').bytes(), from(a, f, f.vip).sctp(port, 80).bytes()]) {
      services.remove({ ...at(f, kinds[2]) });
      expect(fieldsOf(send(a, bytes).packet).destination).toBe(f.vip);
    }
  });
});

interface Refused { readonly name: string; readonly service: (f: Family, k: Kind) => TestService; readonly reason: keyof typeof drop_reason; readonly policies?: { egress?: number } }
const refused: readonly Refused[] = [
  { name: 'no backends', service: (f, k) => at(f, k, { backends: [] }), reason: 'DROP_NO_SERVICE' },
  { name: 'a backend of the other family', service: (f, k) => at(f, k, { backends: [{ address: b[f.other], port: k.port }] }), reason: 'DROP_NO_SERVICE' },
  { name: 'a source range that the client is not in', service: (f, k) => at(f, k, { sourceRanges: ['192.0.2.0/24', '2001:db8:77::/48'] }), reason: 'DROP_NOT_IN_SRC_RANGE' },
  { name: 'a policy that denies the backend', service: (f, k) => at(f, k), reason: 'DROP_POLICY_DENIED', policies: { egress: closed } },
];

describe('refused', () => {
  test.each(table.flatMap((row) => refused.map((one) => ({ ...row, ...one, title: `${row.name}: ${one.name}` }))))('$title', ({ f, k, service, reason, policies }) => {
    services.put(service(f, k));
    expect(fate(send(a, k.open(from(a, f, f.vip), port, 80).bytes(), policies))).toEqual(['drop', drop_reason[reason]]);
    expect(translationsOf(f)).toBe(0);
  });

  test.each(families)('$family: a frontend\'s port that the client uses with its backend by itself already', (f) => {
    services.put(at(f, kinds[1]));
    send(a, from(a, f, b[f.key]).udp(port, 8080).bytes());
    expect(fate(send(a, from(a, f, f.vip).udp(port, 80).bytes()))).toEqual(['drop', drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE]);
    const direct = send(b, from(b, f, a[f.key]).udp(8080, port).bytes());
    expect([direct.verdict, seen(direct)]).toEqual(['redirect', [b[f.key], 8080, a[f.key], port]]);
  });
});

describe('a backend that goes', () => {
  test.each(families)('$family UDP: another one takes over', (f) => {
    const [first] = services.put(at(f, kinds[1]));
    send(a, from(a, f, f.vip).udp(port, 80).bytes());
    services.put(at(f, kinds[1], { backends: [{ address: c[f.key], port: 8080 }] }));
    expect(fieldsOf(send(a, from(a, f, f.vip).udp(port, 80).bytes()).packet).destination).toBe(b[f.key]);
    services.lose(first!);
    expect(fieldsOf(send(a, from(a, f, f.vip).udp(port, 80).bytes()).packet).destination).toBe(c[f.key]);
  });

  test.each(families)('$family TCP: the connection is reset, a new one finds another', (f) => {
    const [first] = services.put(at(f, kinds[0]));
    send(a, from(a, f, f.vip).tcp(port, 80, 'S').bytes());
    services.put(at(f, kinds[0], { backends: [{ address: c[f.key], port: 8080 }] }));
    services.lose(first!);
    const resets = bench.datapath.counter(counter.COUNTER_SERVICE_RESETS);
    const late = from(a, f, f.vip).tcp(port, 80, 'PA', 'what is said has to go').bytes();
    new DataView(late.buffer).setUint32((f.key === 'ipv4' ? 34 : 54) + 8, 0xcafe);
    const reset = send(a, late);
    expect([reset.verdict, reset.records.at(-1)?.reason, seen(reset), checksumsHold(reset.packet)]).toEqual(['redirect', drop_reason.DROP_NO_SERVICE, [f.vip, 80, a[f.key], port], true]);
    const tcp = new DataView(reset.packet.slice(f.key === 'ipv4' ? 34 : 54).buffer);
    expect([tcp.byteLength, tcp.getUint32(4), tcp.getUint8(13), fieldsOf(reset.packet).dmac]).toEqual([20, 0xcafe, 4, '020000000001']);
    expect(bench.datapath.counter(counter.COUNTER_SERVICE_RESETS) - resets).toBe(1n);
    expect(fate(send(a, from(a, f, f.vip).tcp(port, 80, 'RA').bytes()))).toEqual(['drop', drop_reason.DROP_NO_SERVICE]);
    expect(fieldsOf(send(a, from(a, f, f.vip).tcp(port + 5000, 80, 'S').bytes()).packet).destination).toBe(c[f.key]);
  });
});

describe('a workload that is its own backend', () => {
  test.each(table)('$name: gets it from the frontend\'s address, and its answer too; no policy says anything', ({ f, k }) => {
    services.put(at(f, k, { backends: [{ address: a[f.key], port: k.port }] }));
    const asked = send(a, k.open(from(a, f, f.vip), port, 80).bytes(), { egress: closed, ingress: closed });
    expect([asked.verdict, seen(asked), checksumsHold(asked.packet)]).toEqual(['redirect', [f.vip, port, a[f.key], k.port], true]);
    const answer = send(a, k.talk(from(a, f, f.vip), k.port, port).bytes(), { egress: closed, ingress: closed });
    expect([answer.verdict, seen(answer), checksumsHold(answer.packet)]).toEqual(['redirect', [f.vip, 80, a[f.key], port], true]);
  });
});

describe('errors', () => {
  test.each(table)('$name: what a router says of the way to the backend quotes the frontend', ({ f, k }) => {
    services.put(at(f, k));
    const asked = send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    const about = asked.packet.subarray(14);
    const error = bench.run('to_workload', frame().ip(router[f.key], a[f.key]).icmp(f.tooBig, { code: f.key === 'ipv4' ? 4 : 0, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).source, quoteOf(f, error.packet), checksumsHold(error.packet)]).toEqual(['pass', router[f.key], [a[f.key], port, f.vip, 80], true]);
  });

  test.each(table)('$name: what the backend says comes from the frontend', ({ f, k }) => {
    services.put(at(f, k));
    const about = send(a, k.open(from(a, f, f.vip), port, 80).bytes()).packet.subarray(14);
    const error = send(b, from(b, f, a[f.key]).icmp(f.unreachable, { code: 3, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).source, quoteOf(f, error.packet), checksumsHold(error.packet)]).toEqual(['redirect', f.vip, [a[f.key], port, f.vip, 80], true]);
  });

  test.each(table)('$name: what the client says of an answer goes to the backend', ({ f, k }) => {
    services.put(at(f, k));
    send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    const about = send(b, k.talk(from(b, f, a[f.key]), k.port, port).bytes()).packet.subarray(14);
    const error = send(a, from(a, f, f.vip).icmp(f.unreachable, { code: 3, about }).bytes());
    expect([error.verdict, fieldsOf(error.packet).destination, quoteOf(f, error.packet), checksumsHold(error.packet)]).toEqual(['redirect', b[f.key], [b[f.key], k.port, a[f.key], port], true]);
  });
});

describe('pieces', () => {
  const data = Array.from({ length: 61 }, (_, index) => String.fromCharCode(33 + (index * 7) % 90)).join('');
  test.each(families)('$family UDP: follow their first, there and back', (f) => {
    services.put(at(f, kinds[1]));
    const there = cut(from(a, f, f.vip).udp(port, 80, data).bytes(), [24, 48], port).map((piece) => send(a, piece));
    expect(there.map(({ verdict }) => verdict)).toEqual(['redirect', 'redirect', 'redirect']);
    const whole = join(there.map(({ packet }) => packet));
    expect([fieldsOf(whole).destination, fieldsOf(whole).dport, checksumsHold(whole)]).toEqual([b[f.key], 8080, true]);
    const back = join(cut(from(b, f, a[f.key]).udp(8080, port, data).bytes(), [24, 48], port).map((piece) => send(b, piece).packet));
    expect([fieldsOf(back).source, fieldsOf(back).sport, checksumsHold(back)]).toEqual([f.vip, 80, true]);
  });
});

describe('SCTP', () => {
  test.each(families)('$family: a checksum that is still to come stays zero', (f) => {
    services.put(at(f, kinds[2]));
    const { verdict, packet } = send(a, from(a, f, f.vip).sctp(port, 80).bytes());
    expect([verdict, fieldsOf(packet).dport, Buffer.from(packet).readUInt32LE((f.key === 'ipv4' ? 34 : 54) + 8)]).toEqual(['redirect', 8080, 0]);
  });

  test.each(families.flatMap((f) => [0, 1, 2, 3, 100, 1_399].map((length) => ({ f, length, name: `${f.family}, ${length} bytes` }))))('$name: the checksum holds at every length', ({ f, length }) => {
    services.put(at(f, kinds[2]));
    const { packet } = send(a, from(a, f, f.vip).sctp(port, 80, 'z'.repeat(length)).bytes());
    expect([fieldsOf(packet).dport, checksumsHold(packet), Buffer.from(packet).readUInt32LE((f.key === 'ipv4' ? 34 : 54) + 8) === 0]).toEqual([8080, true, false]);
  });

  test.each(families)('$family: pieces whose port would change are refused', (f) => {
    services.put(at(f, kinds[2]));
    const [first] = cut(from(a, f, f.vip).sctp(port, 80, 'z'.repeat(64)).bytes(), [24], port).map((piece) => send(a, piece));
    expect(fate(first!)).toEqual(['drop', drop_reason.DROP_UNSUPPORTED_PROTOCOL_FOR_NAT]);
  });
});

describe('its rows', () => {
  test.each(table)('$name: one of each, gone with the connection', async ({ f, k }) => {
    services.put(at(f, k));
    send(a, k.open(from(a, f, f.vip), port, 80).bytes());
    const own = () => bench.datapath.conntrack.entries().filter(([key, entry]) => entry.service === ct_service.CT_TRANSLATED && Buffer.from(key.port).includes(Buffer.from([port >> 8, port & 255])));
    expect([own().length, translationsOf(f)]).toEqual([1, 1]);
    const [key, entry] = own()[0]!;
    bench.datapath.conntrack.set(key, { ...entry, seen: ticksAgo(9_000) });
    await sweepOnce(bench.datapath, new Set([here]));
    expect([own().length, translationsOf(f)]).toEqual([0, 0]);
  });

  test.each(families)('$family TCP: a port used again for another service leaves nothing of the first behind', (f) => {
    services.put(at(f, kinds[0]));
    services.put(at(f, kinds[0], { port: 90 }));
    send(a, from(a, f, f.vip).tcp(port, 80, 'S').bytes());
    send(a, from(a, f, f.vip).tcp(port, 80, 'R').bytes());
    expect(seen(send(a, from(a, f, f.vip).tcp(port, 90, 'S').bytes()))).toEqual([a[f.key], port, b[f.key], 8080]);
    expect(translationsOf(f)).toBe(1);
    expect(seen(send(b, from(b, f, a[f.key]).tcp(8080, port, 'SA').bytes()))).toEqual([f.vip, 90, a[f.key], port]);
  });
});

describe('which backend', () => {
  test.each(table)('$name: with affinity a client stays, whatever it opens', ({ f, k }) => {
    services.put(at(f, k, { affinitySeconds: 60, backends: [b, c].map((one) => ({ address: one[f.key], port: k.port })) }));
    const to = new Set(Array.from({ length: 32 }, (_, index) => fieldsOf(send(a, k.open(from(a, f, f.vip), 40_000 + index, 80).bytes()).packet).destination));
    expect(to.size).toBe(1);
  });

  test.each(table)('$name: affinity lasts as long as its service says', ({ f, k }) => {
    for (const [key] of services.affinities.entries()) services.affinities.delete(key);
    const numbers = services.put(at(f, k, { affinitySeconds: 60, backends: [b, c].map((one) => ({ address: one[f.key], port: k.port })) }));
    let sport = port;
    const to = (): string => fieldsOf(send(a, k.open(from(a, f, f.vip), sport += 5_000, 80).bytes()).packet).destination;
    const first = to();
    const [key, row] = services.affinities.entries()[0]!;
    const other = first === b[f.key] ? c[f.key] : b[f.key];
    // As if it had had the other one, 59 seconds and 61 seconds ago.
    services.affinities.set(key, { ...row, backend: numbers.find((number) => number !== row.backend)!, seen: ticksNow() - Math.floor(ticksOf(59)) });
    expect(to()).toBe(other);
    services.affinities.set(key, { ...row, backend: numbers.find((number) => number !== row.backend)!, seen: ticksNow() - Math.ceil(ticksOf(61)) });
    expect(to()).toBe(first);
  });

  test.each(table)('$name: by its Maglev table', ({ f, k }) => {
    services.put(at(f, k, { maglev: [1, 1, 1, 1, 1, 1, 1], backends: [b, c].map((one) => ({ address: one[f.key], port: k.port })) }));
    const to = new Set(Array.from({ length: 32 }, (_, index) => fieldsOf(send(a, k.open(from(a, f, f.vip), 50_000 + index, 80).bytes()).packet).destination));
    expect(to).toEqual(new Set([c[f.key]]));
  });
});
