// Packet tables of connection tracking, in both families: replies, related errors, and what a policy change does to them.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { action, drop_reason, flow_event } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const families = [{ family: 'IPv4', x: a.ipv4, y: b.ipv4, echo: 8, reply: 0, unreachable: 3 }, { family: 'IPv6', x: a.ipv6, y: b.ipv6, echo: 128, reply: 129, unreachable: 1 }];
const other = 7;
/** A merged policy that allows nothing. */
const closed = 1;

let bench: Bench;
let port = 30_000;
beforeAll(() => {
  bench = new Bench();
  bench.policy(closed, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [{ lower: 0, steps: [] }] });
});
afterAll(() => { bench.close(); });

/** Whose veth `lo` stands for, and which of both accept connections. */
function world(sender: typeof a, policies: { a?: number; b?: number } = {}): void {
  bench.endpoint({ ifindex: sender === a ? here : other, ...a, ingress: policies.a ?? 0, identity: 1001 });
  bench.endpoint({ ifindex: sender === b ? here : other, ...b, ingress: policies.b ?? 0, identity: 1002 });
}
const generation = (number: number): void => { bench.datapath.control.set(0, { generation: number }); };
beforeEach(() => { generation(1); port += 1; });

describe.each(families)('$family', ({ x, y, echo, reply, unreachable }) => {
  const send = (packet: Uint8Array) => bench.run('from_workload', packet);
  const tcp = (from: string, to: string, sport: number, dport: number, flags: string) =>
    frame().mac(from === x ? a.mac : b.mac).ip(from, to).tcp(sport, dport, flags).bytes();

  test('a reply passes although the other end accepts nothing, and is told as one', () => {
    world(a, { a: closed });
    expect(send(tcp(x, y, port, 80, 'S')).verdict).toBe('redirect');
    world(b, { a: closed });
    const answer = send(tcp(y, x, 80, port, 'SA'));
    expect(answer.verdict).toBe('redirect');
    expect(answer.records).toEqual([]);
    const end = send(tcp(y, x, 80, port, 'FA'));
    expect(end.records.map((r) => [r.event, r.is_reply, Number(r.packets)])).toEqual([[flow_event.FLOW_CLOSE, 1, 3]]);
  });

  test('a connection of its own in that direction does not pass', () => {
    world(b, { a: closed });
    const { verdict, records } = send(tcp(y, x, port, 80, 'S'));
    expect([verdict, records[0]?.reason, records[0]?.ingress.action]).toEqual(['drop', drop_reason.DROP_POLICY_DENIED, action.ACTION_DEFAULT_DENY]);
  });

  test('a new generation that denies it stops both directions, one that allows it again lets both pass', () => {
    world(a);
    send(tcp(x, y, port, 80, 'S'));
    world(b);
    send(tcp(y, x, 80, port, 'SA'));
    world(a, { b: closed });
    expect(send(tcp(x, y, port, 80, 'A')).verdict).toBe('redirect');
    generation(2);
    const stopped = send(tcp(x, y, port, 80, 'A'));
    expect([stopped.verdict, stopped.records[0]?.event, stopped.records[0]?.reason]).toEqual(['drop', flow_event.FLOW_DROP, drop_reason.DROP_POLICY_DENIED]);
    world(b, { b: closed });
    const reverse = send(tcp(y, x, 80, port, 'A'));
    expect([reverse.verdict, reverse.records[0]?.reason, reverse.records[0]?.is_reply]).toEqual(['drop', drop_reason.DROP_POLICY_DENIED, 1]);
    world(b);
    generation(3);
    const again = send(tcp(y, x, 80, port, 'A'));
    expect([again.verdict, again.records[0]?.event]).toEqual(['redirect', flow_event.FLOW_CHANGE]);
  });

  test('a tuple that was refused is judged anew on its next SYN', () => {
    world(a);
    send(tcp(x, y, port, 80, 'S'));
    world(a, { b: closed });
    generation(2);
    expect(send(tcp(x, y, port, 80, 'A')).verdict).toBe('drop');
    world(a);
    expect(send(tcp(x, y, port, 80, 'S')).records.map((r) => r.event)).toEqual([flow_event.FLOW_NEW]);
  });

  test('echo replies pass, echo requests of the other end do not', () => {
    const ping = (from: string, to: string, type: number, id: number) => frame().mac(from === x ? a.mac : b.mac).ip(from, to).icmp(type, { id }).bytes();
    world(a, { a: closed });
    expect(send(ping(x, y, echo, port)).verdict).toBe('redirect');
    world(b, { a: closed });
    expect(send(ping(y, x, reply, port)).verdict).toBe('redirect');
    expect(send(ping(y, x, reply, port + 1000)).verdict).toBe('drop');
    expect(send(ping(y, x, echo, port + 2000)).verdict).toBe('drop');
  });

  test('an error about a connection passes with it, an error about nothing is judged', () => {
    world(a, { a: closed });
    send(frame().mac(a.mac).ip(x, y).udp(port, 53, 'hello').bytes());
    world(b, { a: closed });
    const error = (about: Uint8Array) => frame().mac(b.mac).ip(y, x).icmp(unreachable, { code: 3, about }).bytes();
    expect(send(error(frame().ip(x, y).udp(port, 53, 'hello').packet())).verdict).toBe('redirect');
    expect(send(error(frame().ip(x, y).udp(port, 54, 'hello').packet())).verdict).toBe('drop');
  });
});
