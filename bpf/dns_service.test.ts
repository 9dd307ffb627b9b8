// DNS rules where the name server is asked at a Service's address: translated first, judged by its backend, answered from the frontend
// again. Both families, by the stack of the host and from a workload of this node.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { textOf } from '../agent/ipcache/address.ts';
import { openRing, type Ring } from '../agent/kernel/ring.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench, here } from './testing/bench.ts';
import { egress, ends, families, imageOf, prefixes, type Family } from './testing/dns-world.ts';
import { address, answer, dnsOf, query, type Message } from './testing/dns.ts';
import { checksumsHold, fieldsOf, frame, protocol } from './testing/packet.ts';
import { Services } from './testing/services.ts';
import { ct_flag, dns_counter, dns_limit, drop_reason, frontend_scope } from './types.gen.ts';

const vips = { IPv4: '172.20.0.1', IPv6: 'fd99::1' } as const;
const asked = 5300;
const www = { name: 'www.example.test' };

let bench: Bench;
let services: Services;
let told: Ring;
beforeAll(async () => {
  bench = new Bench();
  services = new Services(bench);
  told = openRing(bench.datapath.dns.records.fd, dns_limit.DNS_RING_BYTES);
  await new PolicyReconciler(bench.datapath).apply(imageOf(egress), prefixes, ends);
  for (const f of families) services.put({ address: vips[f.family], port: asked, protocol: protocol.udp, scope: frontend_scope.SCOPE_CLUSTER, backends: [{ address: f.dns, port: 53 }] });
});
afterAll(() => {
  told.close();
  bench.close();
});
beforeEach(() => {
  for (const [key] of bench.datapath.dns.addresses.entries()) bench.datapath.dns.addresses.delete(key);
  for (let id = 0; id < 8; id += 1) bench.datapath.dns.usages.setUint32(id * 16 + 4, 100, true);
  records();
});

let port = 40_000;
const ask = (f: Family, of: Message, to: string = vips[f.family], dport = asked) => {
  port += 1;
  return bench.run('from_workload', frame().ip(f.own, to).udp(port, dport, query(of)).bytes());
};
const again = (f: Family, of: Message) => bench.run('from_workload', frame().ip(f.own, vips[f.family]).udp(port, asked, query(of)).bytes());
const byHost = (f: Family, of: Message) => bench.run('to_workload', frame().ip(f.dns, f.own).udp(53, port, answer(of)).bytes());
/** `here` is where frames come in, so the server takes the client's place. */
function byWorkload(f: Family, of: Message) {
  const { endpoints } = bench.datapath;
  const row = endpoints.get(here)!;
  endpoints.set(here, { ...endpoints.get(ends[1]!.ifindex)!, id: row.id });
  try {
    return bench.run('from_workload', frame().mac(ends[1]!.mac).ip(f.dns, f.own).udp(53, port, answer(of)).bytes());
  } finally {
    endpoints.set(here, row);
  }
}
const seen = ({ packet }: { packet: Uint8Array }) => { const { source, sport, destination, dport } = fieldsOf(packet); return [source, sport, destination, dport, checksumsHold(packet)]; };
const learned = (): string[] => bench.datapath.dns.addresses.entries().map(([key]) => `${key.endpoint} ${textOf(key.addr.word)}`).sort();
function records(): [string, number, string, number, number][] {
  const found: [string, number, string, number, number][] = [];
  told.drain((view, offset) => {
    const one = bench.datapath.dns.record.decode(new DataView(Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset + offset, bench.datapath.dns.record.size)).buffer), 0);
    found.push([textOf(one.saddr.word), one.sport, textOf(one.daddr.word), one.dport, one.source_identity]);
  }, 1_000);
  return found;
}

const ways = [{ way: 'the stack of the host', by: byHost, verdict: 'pass' }, { way: 'a workload of this node', by: byWorkload, verdict: 'redirect' }] as const;

describe.each(families)('$family', (f) => {
  test('an allowed name goes to the backend; its connection is one of DNS and of a service', () => {
    const outcome = ask(f, www);
    expect([outcome.verdict, seen(outcome)]).toEqual(['redirect', [f.own, port, f.dns, 53, true]]);
    const [, entry] = bench.datapath.conntrack.entries().find(([key]) => Buffer.from(key.port).includes(Buffer.from([port >> 8, port & 255])))!;
    expect(entry.flags & (ct_flag.CT_DNS | ct_flag.CT_SERVICE)).toBe(ct_flag.CT_DNS | ct_flag.CT_SERVICE);
  });

  test('a refused name is answered by the frontend, the first time and in a connection that is known', () => {
    for (const outcome of [ask(f, { name: 'www.example.org' }), again(f, { name: 'www.example.org' })]) {
      expect([outcome.verdict, seen(outcome)]).toEqual(['redirect', [vips[f.family], asked, f.own, port, true]]);
      expect(dnsOf(outcome.packet)).toMatchObject({ flags: 0x8185, rest: query({ name: 'www.example.org' }).subarray(4) });
    }
    expect(records()).toEqual([1, 2].map(() => [f.own, port, f.dns, 53, ends[0]!.identity]));
  });

  test('the policy of the backend counts: a server that no rule names is not asked', () => {
    services.put({ address: vips[f.family], port: asked + 1, protocol: protocol.udp, scope: frontend_scope.SCOPE_CLUSTER, backends: [{ address: f.target, port: 53 }] });
    const outcome = ask(f, www, vips[f.family], asked + 1);
    expect([outcome.verdict, outcome.records.at(-1)!.reason]).toEqual(['drop', drop_reason.DROP_POLICY_DENIED]);
  });

  describe.each(ways)('an answer by $way', ({ by, verdict }) => {
    test('is read, and handed on from the frontend; the record tells of the backend', () => {
      ask(f, www);
      const outcome = by(f, { ...www, answers: [address(f.target)] });
      expect([outcome.verdict, seen(outcome), learned()]).toEqual([verdict, [vips[f.family], asked, f.own, port, true], [`1 ${f.target}`]]);
      expect(records()).toEqual([[f.dns, 53, f.own, port, ends[1]!.identity]]);
    });

    test('a second query of the same socket is answered too', () => {
      ask(f, www);
      by(f, { ...www, answers: [address(f.target)] });
      again(f, { id: 9, name: 'exact.test' });
      expect(by(f, { id: 9, name: 'exact.test', answers: [address('203.0.113.77')] }).verdict).toBe(verdict);
      expect(learned()).toContain('1 203.0.113.77');
    });

    test('to what was not asked is dropped', () => {
      ask(f, www);
      const before = bench.datapath.dns.counter(dns_counter.DNS_COUNT_UNASKED);
      expect([by(f, { name: 'exact.test', answers: [address(f.target)] }).verdict, learned()]).toEqual(['drop', []]);
      expect(bench.datapath.dns.counter(dns_counter.DNS_COUNT_UNASKED) - before).toBe(1n);
    });
  });

  test('asked by its own address beside, as sockets do: answered from there', () => {
    ask(f, www, f.dns, 53);
    const outcome = byHost(f, { ...www, answers: [address(f.target)] });
    expect([outcome.verdict, seen(outcome), learned()]).toEqual(['pass', [f.dns, 53, f.own, port, true], [`1 ${f.target}`]]);
  });
});
