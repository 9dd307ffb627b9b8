// Answers to one query, most of them broken, through the shipped programs: whatever is learned from one, a DNS library takes from it too.
import { readFileSync } from 'node:fs';
import { testRun } from '../../agent/kernel/bpf.ts';
import { PolicyReconciler } from '../../agent/policy/reconciler.ts';
import { makeRandom } from '../../agent/policy/random-cases.ts';
import { Bench, here } from './bench.ts';
import { isRefusedAddress } from './dns-addresses.ts';
import { acceptedBy } from './dns-library.ts';
import { query } from './dns.ts';
import { client, egress, ends, families, imageOf, prefixes } from './dns-world.ts';
import { frame } from './packet.ts';

export interface Kept { readonly name: string; /** In hexadecimal digits. */ readonly message: string; /** How many addresses are learned from it. */ readonly learns: number }
export const corpus = readFileSync(new URL('../testdata/dns.jsonl', import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Kept);

const asked = query({ name: 'www.example.test' });
const port = 20_000;
const owner = ends.find(({ ipv4 }) => ipv4 === client.ipv4)!.id;
const usageBytes = 16;

/** Headers before a message of any length; the programs read no sum. */
function headers(source: string, destination: string): (message: Buffer) => Buffer {
  const empty = Buffer.from(frame().ip(source, destination).udp(53, port, Buffer.alloc(0)).bytes());
  const [lengthAt, before] = empty[12] === 0x86 ? [18, 54] : [16, 14];
  return (message) => {
    const whole = Buffer.concat([empty, message]);
    whole.writeUInt16BE(whole.length - before, lengthAt);
    whole.writeUInt16BE(8 + message.length, empty.length - 4);
    return whole;
  };
}

export interface DnsFuzz {
  /** Undefined: nothing is learned that the library does not take. */
  readonly run: (message: Buffer) => string | undefined;
  readonly seen: { answers: number; passed: number; learned: number };
  readonly close: () => void;
}

export async function dnsFuzz(): Promise<DnsFuzz> {
  const bench = new Bench();
  const { programs } = bench.datapath.object;
  const { usages, addresses } = bench.datapath.dns;
  await new PolicyReconciler(bench.datapath).apply(imageOf(egress), prefixes, ends);
  usages.setUint32(owner * usageBytes + 4, 1_000, true);
  const ways = families.map((f) => ({ query: frame().ip(f.own, f.dns).udp(port, 53, asked).bytes(), answer: headers(f.dns, f.own) }));
  const seen = { answers: 0, passed: 0, learned: 0 };
  const run = (message: Buffer): string | undefined => {
    const way = ways[(seen.answers += 1) & 1]!;
    testRun(programs.get('from_workload')!, way.query, here);
    const { result } = testRun(programs.get('to_workload')!, way.answer(message), here);
    if (result === 0) seen.passed += 1;
    const learned = usages.getInt32(owner * usageBytes, true);
    if (learned === 0) return undefined;
    seen.learned += learned;
    usages.setInt32(owner * usageBytes, 0, true);
    const accepted = [...acceptedBy(asked, message) ?? []];
    // As many rows go as came: else there is one that the library does not know.
    const known = accepted.filter((word) => addresses.delete({ endpoint: owner, addr: { word: Buffer.from(word, 'hex') } }));
    if (known.length === learned && result === 0 && !known.some(isRefusedAddress)) return undefined;
    for (const [key] of addresses.entries()) addresses.delete(key);
    return `${learned} addresses learned, of these the library takes ${JSON.stringify(known)}; the answer ${result === 0 ? 'passed' : 'was dropped'}`;
  };
  return { run, seen, close: () => { bench.close(); } };
}

/** Where the first record of an answer about www.example.test stands. */
const recordsAt = 34;
const values = [0, 1, 3, 4, 5, 15, 16, 17, 22, 28, 63, 64, 65, 0xbf, 0xc0, 0xff];

/** The answers of a seed: of the corpus, changed in a few places. */
export function* answersOf(seed: number, count: number): Generator<Buffer> {
  const { below } = makeRandom(seed);
  const messages = corpus.map(({ message }) => Buffer.from(message, 'hex'));
  for (let index = 0; index < count; index += 1) {
    let now = Buffer.from(messages[below(messages.length)]!);
    for (let times = below(5); times > 0 && now.length > 0; times -= 1) {
      const at = below(8) === 0 || now.length <= recordsAt ? below(now.length) : recordsAt + below(now.length - recordsAt);
      switch (below(8)) {
        case 0: now[at] = below(256); break;
        case 1: now[at] = values[below(values.length)]!; break;
        case 2: now[at] = now[at]! ^ (1 << below(8)); break;
        case 3: now = now.subarray(0, at); break;
        case 4: now = Buffer.concat([now.subarray(0, at), now.subarray(at + 1 + below(4))]); break;
        case 5: now = Buffer.concat([now.subarray(0, at), Buffer.from([below(256), below(256)]), now.subarray(at)]); break;
        case 6: {
          const other = messages[below(messages.length)]!;
          const from = below(other.length);
          now = Buffer.concat([now.subarray(0, at), other.subarray(from, from + below(48)), now.subarray(at)]);
          break;
        }
        default: if (at + 1 < now.length) now.writeUInt16BE(0xc000 | below(Math.min(now.length + 2, 0x4000)), at);
      }
    }
    if (below(4) === 0 && now.length > 7) now.writeUInt16BE(below(26), 6);
    yield now;
  }
}
