// Random answers, most of them broken, through the programs and through a plain model of them: the same ones pass, the same addresses are
// learned. WEIR_DNS_FUZZ: how many.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench } from './testing/bench.ts';
import { answer, dnsType, query, toQuestion, wireName, type Answer } from './testing/dns.ts';
import { modelOf } from './testing/dns-model.ts';
import { egress, ends, families, imageOf, prefixes } from './testing/dns-world.ts';
import { frame } from './testing/packet.ts';

const most = Number(process.env['WEIR_DNS_FUZZ'] ?? 4_000);

let bench: Bench;
beforeAll(async () => {
  bench = new Bench();
  for (let id = 0; id < 8; id += 1) bench.datapath.dns.usages.setUint32(id * 16 + 4, 1_000_000, true);
  await new PolicyReconciler(bench.datapath).apply(imageOf(egress), prefixes, ends);
});
afterAll(() => { bench.close(); });

let state = 20_251_121;
const below = (limit: number): number => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
};
const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, () => below(256)));
const one = <Item>(items: readonly Item[]): Item => items[below(items.length)]!;

const owners = [toQuestion, wireName('www.example.test'), wireName('a.b'), Buffer.from([0]), Buffer.from([1, 97, 0xc0, 12]), Buffer.from([0xc0, 255]), Buffer.alloc(260, 1)];
function randomRecord(): Answer {
  const type = one([dnsType.a, dnsType.a, dnsType.aaaa, dnsType.aaaa, dnsType.cname, dnsType.txt, dnsType.https]);
  const size = below(8) === 0 ? below(40) : type === dnsType.a ? 4 : type === dnsType.aaaa ? 16 : below(40);
  const data = below(6) === 0 ? Buffer.alloc(size) : bytes(size);
  return { owner: below(10) === 0 ? one(owners) : owners[below(2)]!, type, class: below(20) === 0 ? below(4) : 1, ttl: below(2 ** 32), data };
}

function broken(message: Buffer): Buffer {
  let now = Buffer.from(message);
  for (let times = below(4); times > 0; times -= 1) {
    const at = below(now.length);
    switch (below(5)) {
      case 0: now[at] = below(256); break;
      case 1: now[below(Math.min(12, now.length))] = below(256); break;
      case 2: now = now.subarray(0, at); break;
      case 3: now = Buffer.concat([now.subarray(0, at), bytes(1 + below(4)), now.subarray(at)]); break;
      default: now = Buffer.concat([now.subarray(0, at), now.subarray(at + 1)]);
    }
    if (now.length === 0) break;
  }
  return now;
}

test(`${most} answers`, () => {
  const seen = { passed: 0, dropped: 0, learned: 0 };
  const { addresses } = bench.datapath.dns;
  for (let index = 0; index < most; index += 1) {
    const f = families[index & 1]!;
    const port = 20_000 + (index % 20_000);
    const of = { id: below(65_536), name: one(['www.example.test', 'WWW.example.TEST', 'x-1.example.test', 'exact.test']), type: one([dnsType.a, dnsType.aaaa]) };
    const asked = query(of);
    bench.run('from_workload', frame().ip(f.own, f.dns).udp(port, 53, asked).bytes());
    const message = broken(answer({ ...of, answers: Array.from({ length: below(4) === 0 ? below(30) : below(5) }, randomRecord) }));
    const { verdict } = bench.run('to_workload', frame().ip(f.dns, f.own).udp(53, port, message).bytes());
    const learned = addresses.entries().map(([key]) => key);
    const want = modelOf(asked, message);
    expect([index, message.toString('hex'), verdict, learned.map(({ addr }) => Buffer.from(addr.word).toString('hex')).sort()])
      .toEqual([index, message.toString('hex'), want.passes ? 'pass' : 'drop', [...new Set(want.learned)].sort()]);
    for (const key of learned) addresses.delete(key);
    seen[want.passes ? 'passed' : 'dropped'] += 1;
    seen.learned += learned.length;
  }
  console.log(`${most} answers: ${JSON.stringify(seen)}`);
  expect(Math.min(seen.passed, seen.dropped, seen.learned)).toBeGreaterThan(most / 20);
}, 3_600_000);
