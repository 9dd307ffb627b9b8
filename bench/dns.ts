// What DNS rules cost: by query and by answer (bpf_prog_test_run, one packet at a time), and 500 patterns as an automaton.
import { testRun } from '../agent/kernel/bpf.ts';
import { pack } from '../agent/dns/packed.ts';
import { fqdnSelector } from '../agent/policy/fqdn.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench, here } from '../bpf/testing/bench.ts';
import { address, answer, query } from '../bpf/testing/dns.ts';
import { egress, ends, families, imageOf, prefixes } from '../bpf/testing/dns-world.ts';
import { frame } from '../bpf/testing/packet.ts';
import { median } from './statistics.ts';
import { atMost, type Figure } from './table.ts';

const rounds = 5_000;
const plainPort = 5_353;
/** 45 characters with the final dot. */
const name = `${'abcdefghij'.repeat(3)}x.example.test`;
const patterns = Array.from({ length: 500 }, (_, index) => `*.api${index}.example${index % 20}.com`);

async function packetFigures(): Promise<Figure[]> {
  const bench = new Bench();
  try {
    const more = `- toPorts: [{ports: [{port: "${plainPort}", protocol: UDP}]}]\n- toFQDNs: ${JSON.stringify(patterns.map((matchPattern) => ({ matchPattern })))}\n`;
    await new PolicyReconciler(bench.datapath).apply(imageOf(egress + more), prefixes, ends);
    bench.datapath.dns.usages.setUint32(16 + 4, 4 * rounds * families.length, true);
    const { programs } = bench.datapath.object;
    const [out, back] = [programs.get('from_workload')!, programs.get('to_workload')!];
    const kinds = ['query', 'answer', 'again', 'known', 'plainQuery', 'plainAnswer', 'refused'] as const;
    const times = Object.fromEntries(kinds.map((kind) => [kind, []])) as unknown as Readonly<Record<(typeof kinds)[number], number[]>>;
    for (const [family, f] of families.entries()) {
      // Built before: else every packet meets the caches as building left them.
      const all = Array.from({ length: rounds }, (_, round) => {
        const [port, id, first] = [10_000 + (round % 50), round, (family * rounds + round) * 4];
        const asked = query({ id, name });
        const told = answer({ id, name, answers: Array.from({ length: 4 }, (__, index) => address(`203.${(first + index) >> 16}.${((first + index) >> 8) & 255}.${(first + index) & 255}`)) });
        const sent = (to: number, message: Uint8Array): Uint8Array => frame().ip(f.own, f.dns).udp(port, to, message).bytes();
        const came = (from: number, message: Uint8Array): Uint8Array => frame().ip(f.dns, f.own).udp(from, port, message).bytes();
        return [sent(53, asked), came(53, told), sent(53, asked), came(53, told), sent(plainPort, asked), came(plainPort, told), sent(53, query({ id, name: `${name}x` }))];
      });
      for (const packets of all) {
        for (const [index, bytes] of packets.entries()) times[kinds[index]!].push(testRun(index % 2 === 0 ? out : back, bytes, here).durationNs);
      }
    }
    const [plainQuery, plainAnswer] = [median(times.plainQuery), median(times.plainAnswer)];
    const added = (title: string, value: number, base: number, most?: number): Figure =>
      ({ name: title, value: value - base, unit: 'ns', base, ...(most === undefined ? {} : atMost(most, value - base, ' ns')) });
    return [
      added('added to a query for 45 characters, 500 patterns', median(times.query), plainQuery, 1_000),
      added('  refused', median(times.refused), plainQuery),
      added('added to an answer of 4 new addresses', median(times.answer), plainAnswer, 2_000),
      added('  that are known', median(times.known), plainAnswer),
      { name: 'addresses learned', value: bench.datapath.dns.addresses.entries().length, unit: 'rows' },
    ];
  } finally {
    bench.close();
  }
}

export async function dns(): Promise<Figure[]> {
  const selectors = patterns.map((matchPattern, index) => ({ selector: fqdnSelector({ matchPattern }), number: index + 1 }));
  const compileMs = median(Array.from({ length: 5 }, () => {
    const begin = performance.now();
    pack(selectors);
    return performance.now() - begin;
  }));
  const { states, edges, accepts } = pack(selectors);
  const kib = (states.length * 8 + edges.length * 4 + accepts.length * 8) / 1024;
  return [
    ...await packetFigures(),
    { name: '500 patterns compiled', value: compileMs, unit: 'ms', ...atMost(1_000, compileMs, ' ms') },
    { name: '  in the kernel (of 144 KiB set aside, twice)', value: kib, unit: 'KiB', ...atMost(300, kib, ' KiB') },
  ];
}
