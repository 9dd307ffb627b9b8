// Packet tables of the shares of Envoy: who may send it how much, beside whom, and what it is counted as. Both families; `lo` stands for a's veth.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { proxyUsed, setShare, type Share } from '../agent/datapath/proxy-share.ts';
import { mapUpdate } from '../agent/kernel/bpf.ts';
import { sweepOnce } from '../agent/datapath/sweeper.ts';
import { ct_state, direction, drop_reason, flow_event, proxy_cost } from './types.gen.ts';
import { Bench, here, ticksAgo, type Outcome } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { frame } from './testing/packet.ts';
import { marks, proxied, TestProxy } from './testing/proxy.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const families = [{ family: 'IPv4', key: 'ipv4' }, { family: 'IPv6', key: 'ipv6' }] as const;
type Family = (typeof families)[number];
type Who = 'a' | 'b';

let bench: Bench;
let outside: Outside;
let proxy: TestProxy;
let port = 40_000;
beforeAll(async () => {
  outside = new Outside('share');
  bench = new Bench();
  bench.netdev(outside.device, node);
  proxy = new TestProxy(bench, 5_000);
  await proxy.listen();
  bench.endpoint({ ifindex: here, ...a, egress: proxied.egress });
  bench.endpoint({ ifindex: outside.peer, ...b, egress: proxied.egress });
});
afterAll(async () => {
  await proxy.hangUp();
  bench.close();
  outside.close();
});

/** What costs 0.01 ms of Envoy is paid for after a second. */
const tight: Share = { percent: 0.001, connections: 100 };
beforeEach(() => {
  port += 200;
  proxy.forget();
  new Uint8Array(bench.datapath.proxyUses.buffer).fill(0);
  forgetTurns();
  setShare(bench.datapath.proxyShares, tight);
});

const idOf = (who: Who): number => (who === 'a' ? here : outside.peer);
const used = (who: Who) => proxyUsed(bench.datapath.proxyUses, idOf(who));

/** `from_proxy`: an answer of Envoy's to who opened it. */
function send(f: Family, who: Who, own: number, flags: string, data = '', program: 'from_workload' | 'from_proxy' = 'from_workload'): Outcome {
  const [from, to] = who === 'a' ? [a, b] : [b, a];
  const answer = program === 'from_proxy';
  const [source, target, ports] = answer ? [to, from, [80, own]] as const : [from, to, [own, 80]] as const;
  const bytes = frame().mac(from.mac).ip(source[f.key], target[f.key]).tcp(ports[0], ports[1], flags, data).bytes();
  return outside.within(() => bench.runOn(program, bytes, answer ? here : idOf(who), answer ? marks.downstream : 0));
}
const verdict = ({ verdict: found, records }: Outcome): string => (found === 'drop' ? Object.entries(drop_reason).find(([, number]) => number === records[0]?.reason)?.[0] ?? 'drop' : found);
const data = 'x'.repeat(100);
/** Until it is refused; at most so many. */
function flood(f: Family, who: Who, own: number, most: number): number {
  for (let sent = 0; sent < most; sent += 1) if (verdict(send(f, who, own, 'A', data)) !== 'redirect') return sent;
  return most;
}
const limited = 'DROP_RATE_LIMITED';
/** 2 ms of Envoy's time at once (agent/datapath/proxy-share.ts), and one packet more. */
const burst = Math.floor(2_000_000 / (proxy_cost.PROXY_COST_PACKET + 100 * proxy_cost.PROXY_COST_HEADER_BYTE)) + 1;

describe.each(families)('$family', (f) => {
  test('alone: all of Envoy', () => {
    send(f, 'a', port, 'S');
    expect([flood(f, 'a', port, 4 * burst), used('a').dropped]).toEqual([4 * burst, 0]);
  });

  test('beside another: a burst, then what its share pays for; the other goes on', () => {
    send(f, 'b', port, 'S');
    send(f, 'a', port + 1, 'S');
    const passed = flood(f, 'a', port + 1, 4 * burst);
    // The SYN was paid for out of the same burst.
    expect(passed).toBeGreaterThan(burst - 15);
    expect(passed).toBeLessThan(burst);
    const dropped = send(f, 'a', port + 1, 'A', data);
    expect([verdict(dropped), dropped.records[0]]).toMatchObject([limited, { event: flow_event.FLOW_DROP, direction: direction.DIRECTION_EGRESS, egress: { policy: proxied.egress } }]);
    expect(verdict(send(f, 'b', port, 'A', data))).toBe('redirect');
    expect([used('a').dropped, used('b').dropped]).toEqual([2, 0]);
  });

  test.each([
    { name: 'an acknowledgement', flags: 'A', data: '', passes: 'redirect' },
    { name: 'a FIN', flags: 'FA', data: '', passes: 'redirect' },
    { name: 'an RST', flags: 'R', data: '', passes: 'redirect' },
    { name: 'data', flags: 'A', data: 'x', passes: limited },
    { name: 'data with a FIN', flags: 'FA', data: 'x', passes: limited },
  ])('beyond its share: $name', ({ flags, data: bytes, passes }) => {
    send(f, 'b', port, 'S');
    send(f, 'a', port + 1, 'S');
    flood(f, 'a', port + 1, 4 * burst);
    expect(verdict(send(f, 'a', port + 1, flags, bytes))).toBe(passes);
  });

  test('new connections are paid for too', () => {
    send(f, 'b', port, 'S');
    const most = Math.floor(2_000_000 / proxy_cost.PROXY_COST_OPEN) + 1;
    let opened = 0;
    while (opened < 4 * most && verdict(send(f, 'a', port + 1 + opened, 'S')) === 'redirect') opened += 1;
    expect(opened).toBeGreaterThan(most - 2);
    expect(opened).toBeLessThan(most + 3);
    expect([used('a').dropped, used('a').connections]).toEqual([1, opened]);
    // Nothing of what was refused is kept.
    expect(bench.datapath.conntrack.entries()).toHaveLength(opened + 1);
  });

  test('answers pass, and are owed', () => {
    send(f, 'b', port, 'S');
    send(f, 'a', port + 1, 'S');
    const answers = Math.ceil(2_000_000 / proxy_cost.PROXY_COST_ANSWER) + 10;
    for (let sent = 0; sent < answers; sent += 1) expect(verdict(send(f, 'a', port + 1, 'A', 'x', 'from_proxy'))).toBe('redirect');
    expect(verdict(send(f, 'a', port + 1, 'A', 'x'))).toBe(limited);
    expect(used('a').spentMs).toBeCloseTo((proxy_cost.PROXY_COST_OPEN + answers * (proxy_cost.PROXY_COST_ANSWER + proxy_cost.PROXY_COST_BYTE)) / 1e6, 5);
  });

  test('a body is cheaper than headers are, until the next answer', () => {
    const large = 'x'.repeat(1_400);
    const costs = (): number => {
      const before = used('a').spentMs;
      send(f, 'a', port, 'A', large);
      return Math.round((used('a').spentMs - before) * 1e6);
    };
    send(f, 'a', port, 'S');
    const spent = Array.from({ length: 50 }, costs);
    const [header, body] = [proxy_cost.PROXY_COST_HEADER_BYTE, proxy_cost.PROXY_COST_BYTE].map((of) => proxy_cost.PROXY_COST_PACKET + of * large.length);
    expect([spent[0], spent[43], spent[44], spent[49]]).toEqual([header, header, body, body]);
    send(f, 'a', port, 'A', 'x', 'from_proxy');
    expect(costs()).toBe(header);
  });

  test('who is thrown out by Envoy has paid for long', () => {
    send(f, 'b', port, 'S');
    send(f, 'a', port + 1, 'S');
    expect([verdict(send(f, 'a', port + 1, 'R', '', 'from_proxy')), verdict(send(f, 'a', port + 2, 'S'))]).toEqual(['redirect', limited]);
    expect(used('a').spentMs).toBe((proxy_cost.PROXY_COST_OPEN + proxy_cost.PROXY_COST_RESET) / 1e6);
  });

  test('100 percent: nobody is held back', () => {
    setShare(bench.datapath.proxyShares, { percent: 100, connections: 100 });
    send(f, 'b', port, 'S');
    send(f, 'a', port + 1, 'S');
    expect(flood(f, 'a', port + 1, 4 * burst)).toBe(4 * burst);
  });

  test('so many open connections and no more, also alone; one that ends makes room', () => {
    setShare(bench.datapath.proxyShares, { percent: 100, connections: 2 });
    expect([0, 1, 2].map((one) => verdict(send(f, 'a', port + one, 'S')))).toEqual(['redirect', 'redirect', limited]);
    expect(used('a')).toMatchObject({ connections: 2, refused: 1, dropped: 0 });
    send(f, 'a', port, 'FA');
    expect(used('a').connections).toBe(2);
    send(f, 'a', port, 'FA', '', 'from_proxy');
    expect([used('a').connections, verdict(send(f, 'a', port + 2, 'S')), used('a').connections]).toEqual([1, 'redirect', 2]);
    send(f, 'a', port + 1, 'R');
    expect(used('a').connections).toBe(1);
    // The same ports again.
    expect([verdict(send(f, 'a', port + 1, 'S')), used('a').connections]).toEqual(['redirect', 2]);
  });

  test('the sweeper gives back, and puts right what was lost', async () => {
    for (const one of [0, 1, 2]) send(f, 'a', port + one, 'S');
    const [[key, row], [other, ending]] = bench.datapath.conntrack.entries() as [[never, Row], [never, Row]];
    bench.datapath.conntrack.set(key, { ...row, seen: ticksAgo(9_000) });
    bench.datapath.conntrack.set(other, { ...ending, state: ct_state.CT_CLOSING });
    const sweep = async (): Promise<number> => {
      await sweepOnce(bench.datapath, new Set([here, outside.peer]));
      return used('a').connections;
    };
    expect(used('a').connections).toBe(3);
    // The one that is over goes; the one that closed unseen is found by the next look.
    expect([await sweep(), await sweep()]).toEqual([2, 1]);
    bench.datapath.proxyUses.setInt32(here * 32 + 28, 77, true);
    expect(await sweep()).toBe(1);
  });

  test('what does not go through Envoy costs nothing', () => {
    const bytes = frame().mac(a.mac).ip(a[f.key], b[f.key]).tcp(port, 81, 'S').bytes();
    outside.within(() => bench.runOn('from_workload', bytes, here));
    expect(used('a')).toEqual({ connections: 0, spentMs: 0, dropped: 0, refused: 0 });
  });
});

type Row = ReturnType<Bench['datapath']['conntrack']['entries']>[number][1];

/** As on a node that has just started. */
function forgetTurns(): void {
  const map = bench.datapath.object.maps.get('proxy_turns')!;
  mapUpdate(map.fd, new Uint8Array(4), new Uint8Array(map.valueSize), map.name);
}
