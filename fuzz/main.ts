// npm run fuzz -- NAME [--minutes N | --count N] [--seed S]: random cases for as long, or as many, as one likes. Prints the seed first; a
// failure is made as small as it gets, printed, and ends it with exit code 1.
import { parseArgs } from 'node:util';
import { answersPerSeed, dns } from './dns.ts';
import { dnsTcp, streamsPerSeed } from './dns-tcp.ts';
import { framesPerSeed, packets } from './packets.ts';
import { policy } from './policy.ts';

/** Each begins once and then takes seeds, of `size` cases each. */
interface Fuzzer { readonly begin: () => Promise<(seed: number) => string | undefined>; readonly size: number }
const fuzzers: Readonly<Record<string, Fuzzer>> = {
  policy: { begin: async () => Promise.resolve(policy), size: 1 }, packets: { begin: packets, size: framesPerSeed }, dns: { begin: dns, size: answersPerSeed },
  'dns-tcp': { begin: dnsTcp, size: streamsPerSeed },
};

const { values, positionals } = parseArgs({ allowPositionals: true, options: { minutes: { type: 'string' }, count: { type: 'string' }, seed: { type: 'string' } } });
const [name = ''] = positionals;
const fuzzer = fuzzers[name];
const most = Number(values.count ?? Infinity);
const minutes = Number(values.minutes ?? (values.count === undefined ? 1 : Infinity));
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (fuzzer === undefined || positionals.length > 1 || !(minutes > 0) || !(most > 0) || !Number.isInteger(first)) {
  process.stderr.write(`usage: npm run fuzz -- NAME [--minutes N | --count N] [--seed S]; NAME is one of: ${Object.keys(fuzzers).join(', ')}\n`);
  process.exit(2);
}
process.stdout.write(`${name}: seed ${first}, ${values.count === undefined ? `${minutes} minutes` : `${most} cases`}\n`);
const run = await fuzzer.begin();
const reportMs = 10_000;
const begun = performance.now();
const end = begun + minutes * 60_000;
let reported = begun;
let seed = first;
const cases = (): number => (seed - first) * fuzzer.size;
const rate = (): string => `${Math.round(cases() / ((performance.now() - begun) / 1_000))} a second`;
for (; performance.now() < end && cases() < most; seed += 1) {
  const failure = run(seed);
  if (failure !== undefined) {
    process.stdout.write(`${failure}\nagain with: npm run fuzz -- ${name} --seed ${seed}\n`);
    process.exit(1);
  }
  if (performance.now() - reported < reportMs) continue;
  reported = performance.now();
  process.stdout.write(`${cases() + fuzzer.size} cases, ${rate()}\n`);
}
process.stdout.write(`${cases()} cases, ${rate()}, no difference\n`);
process.exit(0);
