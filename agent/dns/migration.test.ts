// What was learned goes over into maps of another agent, with the numbers of its selectors: from maps that are pinned, as an upgrade finds them.
// The layout here is the same; kernel-tests/dns-upgrade.e2e.test.ts has another.
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Bench } from '../../bpf/testing/bench.ts';
import { address, answer, query } from '../../bpf/testing/dns.ts';
import { egress, ends, families, imageOf, prefixes } from '../../bpf/testing/dns-world.ts';
import { frame } from '../../bpf/testing/packet.ts';
import { removePins } from '../datapath/hooks.ts';
import { PolicyReconciler } from '../policy/reconciler.ts';
import { copyAddresses } from './migration.ts';
import { dnsUsageOf } from './sweeper.ts';

const pinDir = `/sys/fs/bpf/weir/test-dns-migration-${process.pid}`;
const [f] = families;
let dir: string;
let port = 30_000;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'weir-dns-'));
  mkdirSync(pinDir, { recursive: true, mode: 0o700 });
});
afterEach(() => {
  removePins(pinDir);
  rmdirSync(pinDir);
  rmSync(dir, { recursive: true });
});

function lookUp(bench: Bench, name: string, ...addresses: string[]): void {
  port += 1;
  bench.run('from_workload', frame().ip(f.own, f.dns).udp(port, 53, query({ name })).bytes());
  bench.run('to_workload', frame().ip(f.dns, f.own).udp(53, port, answer({ name, answers: addresses.map((one) => address(one)) })).bytes());
}
const connects = (bench: Bench, to: string, dport: number): boolean => {
  port += 1;
  return bench.run('from_workload', frame().ip(f.own, to).tcp(port, dport, 'S').bytes()).records[0]!.egress.action === 1;
};

/** An agent that learns two addresses by a pattern and a name, and dies. */
async function before(): Promise<void> {
  const bench = new Bench({ pinDir });
  try {
    bench.datapath.dns.usages.setUint32(16 + 4, 100, true);
    await new PolicyReconciler(bench.datapath, join(dir, 'numbers.json')).apply(imageOf(egress), prefixes, ends);
    lookUp(bench, 'www.example.test', '203.0.113.9');
    lookUp(bench, 'exact.test', '203.0.113.10');
  } finally {
    bench.close();
  }
}

async function after(present: typeof ends): Promise<{ readonly copied: readonly number[]; readonly counted: number; readonly reached: readonly boolean[] }> {
  const bench = new Bench();
  try {
    bench.datapath.dns.usages.setUint32(16 + 4, 100, true);
    const copied = [copyAddresses(pinDir, bench.datapath, present), copyAddresses(pinDir, bench.datapath, present)];
    const policy = new PolicyReconciler(bench.datapath, join(dir, 'numbers.json'));
    policy.dns.inherit();
    await policy.apply(imageOf(egress), prefixes, ends);
    const reached = [connects(bench, '203.0.113.9', 443), connects(bench, '203.0.113.10', 80), connects(bench, '203.0.113.9', 80)];
    // A name that had its number before is known to the kernel again.
    lookUp(bench, 'exact.test', '203.0.113.11');
    return { copied, counted: dnsUsageOf(bench.datapath, 1).addresses, reached: [...reached, connects(bench, '203.0.113.11', 80)] };
  } finally {
    bench.close();
  }
}

test('addresses and their numbers go over, once', async () => {
  await before();
  expect(await after(ends)).toEqual({ copied: [2, 0], counted: 3, reached: [true, true, false, true] });
});

test('of endpoints that are gone nothing goes over', async () => {
  await before();
  expect(await after(ends.slice(1))).toEqual({ copied: [0, 0], counted: 1, reached: [false, false, false, true] });
});

test('without the numbers nothing of it is believed', async () => {
  await before();
  rmSync(join(dir, 'dns.json'));
  expect(await after(ends)).toEqual({ copied: [2, 0], counted: 1, reached: [false, false, false, true] });
});
