// Queries that wait: how long, how many, and that a workload that floods the table takes nobody else's place.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { mapLookup, mapUpdate, testRun } from '../agent/kernel/bpf.ts';
import { Bench, here } from './testing/bench.ts';
import { egress, ends, families, imageOf, prefixes, type Family } from './testing/dns-world.ts';
import { address, answer, query } from './testing/dns.ts';
import { frame } from './testing/packet.ts';
import { dns_counter, dns_limit } from './types.gen.ts';

/** Queries of a flood, and what waits after it at least. A round is over before what the others wait for is. */
const { rounds, each, most } = process.env['WEIR_SLOWNESS'] === undefined ? { rounds: 6, each: 6_000, most: 28_000 } : { rounds: 6, each: 2_000, most: 19_000 };

let bench: Bench;
beforeAll(async () => {
  bench = new Bench();
  await new PolicyReconciler(bench.datapath).apply(imageOf(egress), prefixes, ends);
});
afterAll(() => { bench.close(); });

/** struct dns_waiting and its slots. */
const [rowBytes, slotBytes, firstSlot, slots] = [136, 32, 8, 4];
const at = { tag: 0, time: 8, endpoint: 16 } as const;
function* rows(): Generator<DataView> {
  const map = bench.datapath.object.maps.get('dns_waitings')!;
  expect(map.valueSize).toBe(rowBytes);
  for (let index = 0; index < dns_limit.DNS_WAIT_ROWS; index += 1) {
    const [key, row] = [new Uint8Array(new Uint32Array([index]).buffer), new Uint8Array(rowBytes)];
    mapLookup(map.fd, key, row, map.name);
    const view = new DataView(row.buffer);
    yield view;
    mapUpdate(map.fd, key, row, map.name);
  }
}
function eachSlot(work: (view: DataView, from: number) => void): void {
  for (const view of rows()) for (let slot = 0; slot < slots; slot += 1) work(view, firstSlot + slot * slotBytes);
}
beforeEach(() => { eachSlot((view, from) => { view.setBigUint64(from + at.tag, 0n, true); }); });

const waiting = (): number => {
  let count = 0;
  eachSlot((view, from) => { if (view.getBigUint64(from + at.tag, true) !== 0n) count += 1; });
  return count;
};
const ask = (f: Family, port: number, id: number): void => { testRun(bench.datapath.object.programs.get('from_workload')!, frame().ip(f.own, f.dns).udp(port, 53, query({ id, name: 'www.example.test' })).bytes(), here); };
const isTaken = (f: Family, port: number, id: number): boolean =>
  bench.run('to_workload', frame().ip(f.dns, f.own).udp(53, port, answer({ id, name: 'www.example.test', answers: [address(f.target)] })).bytes()).verdict === 'pass';

describe.each(families)('$family', (f) => {
  test('a query waits for its answer, and no longer', () => {
    ask(f, 20_000, 1);
    expect(waiting()).toBe(1);
    expect([isTaken(f, 20_000, 1), waiting()]).toEqual([true, 0]);
  });

  test('an answer that comes after 20 s was not asked for', () => {
    ask(f, 20_000, 1);
    const late = BigInt(dns_limit.DNS_WAIT_SECONDS + 1) * 1_000_000_000n;
    eachSlot((view, from) => { if (view.getBigUint64(from + at.tag, true) !== 0n) view.setBigUint64(from + at.time, view.getBigUint64(from + at.time, true) - late, true); });
    const before = bench.datapath.dns.counter(dns_counter.DNS_COUNT_UNASKED);
    expect([isTaken(f, 20_000, 1), bench.datapath.dns.counter(dns_counter.DNS_COUNT_UNASKED) - before]).toEqual([false, 1n]);
  });

  test('a query twice, with the same id and port, may be answered twice', () => {
    ask(f, 20_000, 1);
    ask(f, 20_000, 1);
    expect([isTaken(f, 20_000, 1), isTaken(f, 20_000, 1), isTaken(f, 20_000, 1)]).toEqual([true, true, false]);
  });

  test('a flood of queries that nobody answers takes no place of other workloads, only its own oldest', () => {
    const isOther = (view: DataView, from: number): boolean => view.getUint32(from + at.endpoint, true) === 2 && view.getBigUint64(from + at.tag, true) === 1n;
    // Another workload waits for one answer in each row.
    eachSlot((view, from) => {
      if (from !== firstSlot) return;
      view.setBigUint64(from + at.tag, 1n, true);
      view.setUint32(from + at.endpoint, 2, true);
    });
    for (let round = 0; round < rounds; round += 1) {
      // However long it takes here, theirs are the oldest, and not over.
      const now = process.hrtime.bigint();
      eachSlot((view, from) => { view.setBigUint64(from + at.time, isOther(view, from) ? now - 5_000_000_000n : now, true); });
      for (let index = 0; index < each; index += 1) ask(f, 20_000 + round, index);
    }
    let others = 0;
    eachSlot((view, from) => { if (isOther(view, from)) others += 1; });
    expect(others).toBe(dns_limit.DNS_WAIT_ROWS);
    expect(waiting()).toBeGreaterThan(most);
    expect(isTaken(f, 20_000 + rounds - 1, each - 1)).toBe(true);
  }, 120_000);
});
