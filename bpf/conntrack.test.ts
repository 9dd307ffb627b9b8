// Packet tables of the connection states, in both families: what each packet makes of a connection, when it is over, who may open how many,
// and that the sweeper takes what is over and nothing else.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mappedBytes } from '../agent/ipcache/address.ts';
import { sweepOnce } from '../agent/datapath/sweeper.ts';
import { setQuota, usageOf } from '../agent/datapath/usage.ts';
import { action, counter, ct_state, drop_reason, flow_event, limit, type CtEntry, type CtKey } from './types.gen.ts';
import { Bench, here, ticksAgo, type Outcome } from './testing/bench.ts';
import { frame, protocol, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const c = { ipv4: '10.0.0.3', ipv6: 'fd00::3', mac: '02:00:00:00:00:03' };
const families = [{ family: 'ipv4', echo: 8, reply: 0, unreachable: 3 }, { family: 'ipv6', echo: 128, reply: 129, unreachable: 1 }] as const;
type Family = (typeof families)[number];
const other = 7;
const third = 8;
/** A merged policy that allows nothing. */
const closed = 1;
const stateName = (value: number): string => Object.keys(ct_state).find((key) => ct_state[key as keyof typeof ct_state] === value)!.slice(3);

let bench: Bench;
let port = 10_000;
beforeAll(() => {
  bench = new Bench();
  bench.policy(closed, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [{ lower: 0, steps: [] }] });
});
afterAll(() => { bench.close(); });
beforeEach(() => { port += 1; });

/** `lo` stands for the sender's veth; both accept nothing unless `open`: only what belongs to a connection of theirs passes. */
function send(sender: typeof a, open: typeof a | undefined, f: Family, build: (base: Frame) => Frame, to = sender === a ? b : a): Outcome {
  const ends = [[a, other], [b, other + 100], [c, third]] as const;
  for (const [end, ifindex] of ends) bench.endpoint({ ifindex: end === sender ? here : ifindex, ...end, ingress: end === open ? 0 : closed });
  // Ends move between interfaces here, which in life takes a new generation.
  bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 });
  return bench.run('from_workload', build(frame().mac(sender.mac).ip(sender[f.family], to[f.family])).bytes());
}
const tcp = (sender: typeof a, f: Family, flags: string, open: typeof a | undefined = b, data = ''): Outcome =>
  send(sender, open, f, (base) => (sender === a ? base.tcp(port, 80, flags, data) : base.tcp(80, port, flags, data)));

const rows = (): [CtKey, CtEntry][] => bench.datapath.conntrack.entries();
function row(number: number): [CtKey, CtEntry] | undefined {
  return rows().find(([key]) => key.protocol === number && [0, 2].some((at) => Buffer.from(key.port as Uint8Array).readUInt16BE(at) === port));
}
const state = (number: number = protocol.tcp): string => { const found = row(number); return found === undefined ? 'none' : stateName(found[1].state); };
/** Makes the connection's last packet (and record) that much older. */
function age(seconds: number, number: number = protocol.tcp): void {
  const [key, entry] = row(number)!;
  bench.datapath.conntrack.set(key, { ...entry, seen: ticksAgo(seconds), recorded: ticksAgo(seconds) });
}

/** `>S`: the opener sends SYN; `<SA`: the other answers; `+5`: 5 s pass. After each the state, or the reason for the drop. */
const life: readonly { name: string; steps: readonly (readonly [step: string, becomes: string])[] }[] = [
  { name: 'a whole connection', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>A', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['<A', 'HALF_CLOSED'], ['<FA', 'CLOSING'], ['>A', 'CLOSING']] },
  { name: 'closed by the other end', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['<FA', 'HALF_CLOSED'], ['>A', 'HALF_CLOSED'], ['>FA', 'CLOSING']] },
  { name: 'both close at once', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['<FA', 'CLOSING'], ['<A', 'CLOSING'], ['>A', 'CLOSING']] },
  { name: 'a SYN again is no new connection', steps: [['>S', 'NEW'], ['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>S', 'ESTABLISHED']] },
  { name: 'silent for two hours', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['+7200', 'ESTABLISHED'], ['<A', 'ESTABLISHED']] },
  { name: 'silent for longer: what comes back is a connection of its own', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['+8100', 'ESTABLISHED'], ['<A', 'DROP_POLICY_DENIED']] },
  { name: 'never answered', steps: [['>S', 'NEW'], ['+61', 'NEW'], ['<SA', 'DROP_POLICY_DENIED']] },
  { name: 'half closed, the other end goes on after a minute', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['+60', 'HALF_CLOSED'], ['<A', 'HALF_CLOSED']] },
  { name: 'half closed and silent', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['+121', 'HALF_CLOSED'], ['<A', 'DROP_POLICY_DENIED']] },
  { name: 'closed and silent', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['<FA', 'CLOSING'], ['+11', 'CLOSING'], ['<A', 'DROP_POLICY_DENIED']] },
  { name: 'refused', steps: [['>S', 'NEW'], ['<RA', 'CLOSING']] },
  { name: 'reset by the opener', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>R', 'CLOSING'], ['+11', 'CLOSING'], ['<A', 'DROP_POLICY_DENIED']] },
  { name: 'what was under way when it was reset does not revive it', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>R', 'CLOSING'], ['<A', 'CLOSING']] },
  { name: 'a reset that nobody believed', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['<R', 'CLOSING'], ['+2', 'CLOSING'], ['<A', 'ESTABLISHED'], ['+3600', 'ESTABLISHED'], ['<A', 'ESTABLISHED']] },
  { name: 'the port again, after a close', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['<FA', 'CLOSING'], ['>S', 'NEW'], ['<SA', 'ESTABLISHED']] },
  { name: 'the port again, after a reset', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>R', 'CLOSING'], ['>S', 'NEW']] },
  { name: 'simultaneous open', steps: [['>S', 'NEW'], ['<S', 'NEW'], ['>SA', 'NEW'], ['<SA', 'ESTABLISHED'], ['>A', 'ESTABLISHED']] },
  { name: 'a SYN of the other end into a connection: nobody judged that one', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['<S', 'DROP_POLICY_DENIED'], ['>A', 'ESTABLISHED']] },
  { name: 'a SYN of the other end after the close', steps: [['>S', 'NEW'], ['<SA', 'ESTABLISHED'], ['>FA', 'HALF_CLOSED'], ['<FA', 'CLOSING'], ['<S', 'DROP_POLICY_DENIED']] },
  { name: 'in the middle, from the end that may open it', steps: [['>A', 'NEW'], ['<A', 'ESTABLISHED']] },
  { name: 'in the middle, from the end that may not', steps: [['<A', 'DROP_POLICY_DENIED']] },
  { name: 'a reset of nothing', steps: [['<R', 'DROP_POLICY_DENIED'], ['>R', 'CLOSING']] },
];

describe.each(families)('TCP over $family', (f) => {
  test.each(life)('$name', ({ steps }) => {
    const found = steps.map(([step]) => {
      if (step.startsWith('+')) age(Number(step.slice(1)));
      else {
        const { verdict, records } = tcp(step.startsWith('>') ? a : b, f, step.slice(1));
        if (verdict !== 'redirect') return [step, Object.keys(drop_reason).find((key) => drop_reason[key as keyof typeof drop_reason] === records.at(-1)?.reason)];
      }
      return [step, state()];
    });
    expect(found).toEqual(steps);
  });

  test('the close is told once, with the packets until then', () => {
    const told = [['>', 'S'], ['<', 'SA'], ['>', 'FA'], ['<', 'FA'], ['>', 'A']].flatMap(([from, flags]) => tcp(from === '>' ? a : b, f, flags!).records.map((r) => [r.event, Number(r.packets)]));
    expect(told).toEqual([[flow_event.FLOW_NEW, 1], [flow_event.FLOW_CLOSE, 3]]);
  });
});

const udp = (to: number) => ({ number: () => protocol.udp, ask: (_: Family, base: Frame) => base.udp(port, to), answer: (_: Family, base: Frame) => base.udp(to, port) });
const idle: readonly { name: string; number: (f: Family) => number; ask: (f: Family, base: Frame) => Frame; answer: (f: Family, base: Frame) => Frame; asks?: number; packets: number; lives: number; over: number }[] = [
  { name: 'UDP, unanswered', ...udp(443), packets: 0, lives: 29, over: 31 },
  { name: 'UDP, a question and its answer', ...udp(443), packets: 1, lives: 29, over: 31 },
  { name: 'UDP, a conversation', ...udp(443), packets: 5, lives: 170, over: 181 },
  { name: 'DNS, unanswered', ...udp(53), packets: 0, lives: 29, over: 31 },
  { name: 'DNS, a query and its answer', ...udp(53), packets: 1, lives: 2, over: 4 },
  { name: 'DNS, an answer that comes five times', ...udp(53), packets: 5, lives: 2, over: 4 },
  { name: 'DNS, two queries and one answer', ...udp(53), asks: 2, packets: 1, lives: 29, over: 31 },
  { name: 'DNS, two queries and both answers', ...udp(53), asks: 2, packets: 2, lives: 2, over: 4 },
  { name: 'DNS, more queries at once than are counted', ...udp(53), asks: 3, packets: 3, lives: 170, over: 181 },
  { name: 'SCTP, unanswered', number: () => protocol.sctp, ask: (_, base) => base.sctp(port, 53), answer: (_, base) => base.sctp(53, port), packets: 0, lives: 29, over: 31 },
  { name: 'SCTP, answered', number: () => protocol.sctp, ask: (_, base) => base.sctp(port, 53), answer: (_, base) => base.sctp(53, port), packets: 1, lives: 205, over: 211 },
  { name: 'echo', number: (f) => (f.family === 'ipv4' ? protocol.icmp : protocol.icmp6), ask: (f, base) => base.icmp(f.echo, { id: port }), answer: (f, base) => base.icmp(f.reply, { id: port }), packets: 1, lives: 29, over: 31 },
];
describe.each(families)('idle over $family', (f) => {
  test.each(idle)('$name: answers pass for $lives s and no more after $over s', ({ number, ask, answer, asks = 1, packets, lives, over }) => {
    for (let sent = 0; sent < asks; sent += 1) send(a, b, f, (base) => ask(f, base));
    for (let sent = 0; sent < packets; sent += 1) expect(send(b, b, f, (base) => answer(f, base)).verdict).toBe('redirect');
    const before = row(number(f))!;
    age(lives, number(f));
    expect(send(b, b, f, (base) => answer(f, base)).verdict).toBe('redirect');
    bench.datapath.conntrack.set(...before);
    age(over, number(f));
    const late = send(b, b, f, (base) => answer(f, base));
    expect([late.verdict, late.records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_POLICY_DENIED]);
  });

  test('an error about a connection goes to its sender and to nobody else', () => {
    send(a, b, f, (base) => base.udp(port, 53));
    const about = frame().ip(a[f.family], b[f.family]).udp(port, 53).packet();
    const error = (to: typeof a): string => send(b, b, f, (base) => base.icmp(f.unreachable, { code: 3, about }), to).verdict;
    expect([error(a), error(c)]).toEqual(['redirect', 'drop']);
  });
});

describe.each(families)('quota over $family', (f) => {
  beforeEach(() => {
    for (const [key] of rows()) bench.datapath.conntrack.delete(key);
    for (let id = 0; id < limit.MAX_ENDPOINTS; id += 1) bench.datapath.usage.setUint32(id * 16, 0, true);
    setQuota(bench.datapath.usage, 10);
  });
  afterAll(() => { setQuota(bench.datapath.usage, limit.MAX_CONNECTIONS); });
  const connect = (sender: typeof a, to: typeof a, sport: number): Outcome => send(sender, to, f, (base) => base.tcp(sport, 80, 'S'), to);
  /** The endpoint on `lo` counts for whoever sends. */
  const used = () => usageOf(bench.datapath.usage, here);

  test('beyond it new connections are refused and counted, what is open goes on', () => {
    const before = { refused: used().refused, counted: bench.datapath.counter(counter.COUNTER_CT_REFUSED) };
    const verdicts = Array.from({ length: 12 }, (_, index) => connect(a, b, 1000 + index)).map(({ verdict, records }) => [verdict, records.at(-1)!.event, records.at(-1)!.reason]);
    expect(verdicts).toEqual([...Array.from({ length: 10 }, () => ['redirect', flow_event.FLOW_NEW, 0]), ...Array.from({ length: 2 }, () => ['drop', flow_event.FLOW_DROP, drop_reason.DROP_CT_MAP_INSERTION_FAILED])]);
    expect(used()).toEqual({ connections: 10, quota: 10, refused: before.refused + 2 });
    expect(bench.datapath.counter(counter.COUNTER_CT_REFUSED)).toBe(before.counted + 2n);
    expect(connect(a, b, 1000).verdict).toBe('redirect');
    expect(rows()).toHaveLength(10);
  });

  test('a tuple opened again costs nothing', () => {
    for (let round = 0; round < 30; round += 1) {
      port = 1000;
      expect(connect(a, b, port).verdict).toBe('redirect');
      expect(tcp(b, f, 'RA').verdict).toBe('redirect');
    }
    expect(used().connections).toBe(1);
  });

  test('a tuple of another\'s that is over and opened again is paid for by who opens it', () => {
    connect(a, b, 1000);
    const [key, entry] = rows()[0]!;
    bench.datapath.conntrack.set(key, { ...entry, owner: other, seen: ticksAgo(61) });
    bench.datapath.usage.setUint32(here * 16, 0, true);
    bench.datapath.usage.setUint32(other * 16, 1, true);
    expect(connect(a, b, 1000).verdict).toBe('redirect');
    expect([rows().length, used().connections, usageOf(bench.datapath.usage, other).connections]).toEqual([1, 1, 0]);
  });

  test('what comes from no endpoint counts against the one that it goes to', () => {
    bench.prefix(`198.51.100.7/32`, 1);
    bench.prefix(`2001:db8::7/128`, 1);
    bench.endpoint({ ifindex: here, ...a });
    const from = f.family === 'ipv4' ? '198.51.100.7' : '2001:db8::7';
    const verdicts = Array.from({ length: 11 }, (_, index) => bench.run('to_workload', frame().ip(from, a[f.family]).tcp(3000 + index, 80, 'S').bytes()).verdict);
    expect(verdicts).toEqual([...Array.from({ length: 10 }, () => 'pass'), 'drop']);
    expect(used().connections).toBe(10);
  });

  test('the sweeper gives it back, and takes only what is over', async () => {
    for (let index = 0; index < 10; index += 1) connect(a, b, 1000 + index);
    const idleFor = [0, 59, 61, 0, 0, 0, 61, 61, 0, 0];
    for (const [key, entry] of rows()) {
      const sport = Math.max(...[0, 2].map((at) => Buffer.from(key.port as Uint8Array).readUInt16BE(at)));
      bench.datapath.conntrack.set(key, { ...entry, seen: ticksAgo(idleFor[sport - 1000]!) });
    }
    expect(await sweepOnce(bench.datapath, new Set([here, other, other + 100, third]))).toMatchObject({ seen: 10, swept: 3 });
    expect([rows().length, used().connections]).toEqual([7, 7]);
    expect(connect(a, b, 2000).verdict).toBe('redirect');
  });

  test('the sweeper takes what belonged to an endpoint that is gone', async () => {
    connect(a, b, 1000);
    connect(a, c, 1001);
    bench.datapath.endpoints.delete(third);
    expect(await sweepOnce(bench.datapath, new Set([here, other + 100]))).toMatchObject({ seen: 2, swept: 1 });
    expect([rows().length, used().connections]).toEqual([1, 1]);
  });
});

/** A new connection lasts 60 s: an emulated machine does not open a million in that time. */
const inTime = process.env['WEIR_SLOWNESS'] === undefined ? test : test.skip;
inTime('a million connections are opened and found again, and swept without a long pause', async () => {
  const most = 1 << 20;
  const large = new Bench({ connections: most });
  try {
    large.endpoint({ ifindex: here, ...a });
    large.endpoint({ ifindex: other, ...b });
    const bytes = frame().mac(a.mac).ipv4(a.ipv4, b.ipv4).tcp(1, 1, 'S').bytes();
    const view = new DataView(bytes.buffer);
    const run = (index: number): string => {
      view.setUint16(34, 1 + index % 65_535);
      view.setUint16(36, 1 + Math.floor(index / 65_535));
      return large.verdict('from_workload', bytes);
    };
    let passed = 0;
    for (let index = 0; index < 1_000_000; index += 1) if (run(index) === 'redirect') passed += 1;
    expect([passed, usageOf(large.datapath.usage, here).connections]).toEqual([1_000_000, 1_000_000]);
    view.setUint8(47, 0x10);
    const addr = [a, b].map(({ ipv4 }) => ({ word: mappedBytes(ipv4) })); // the lower first
    for (const index of [0, 65_534, 65_535, 500_000, 999_999]) expect([run(index), large.datapath.conntrack.get({ addr, port: bytes.slice(34, 38), protocol: protocol.tcp, leg: 0 })?.packets]).toEqual(['redirect', 2n]);
    const kept = await sweepOnce(large.datapath, new Set([here, other]));
    expect(kept).toMatchObject({ seen: 1_000_000, swept: 0 });
    const swept = await sweepOnce(large.datapath, new Set([here]));
    expect(swept.swept).toBe(0); // the kernel knows better
    large.datapath.endpoints.delete(other);
    const gone = await sweepOnce(large.datapath, new Set([here]));
    expect([gone.swept, usageOf(large.datapath.usage, here).connections]).toEqual([1_000_000, 0]);
    process.stdout.write(`one batch of the sweeper: ${kept.longestMs.toFixed(1)} ms with nothing to take, ${gone.longestMs.toFixed(1)} ms with all\n`);
  } finally {
    large.close();
  }
}, 300_000);
