// npm run fuzz -- NAME [--minutes N] [--seed S]: random cases for as long as one likes. Prints the seed first; a failure is made
// as small as it gets, printed, and ends it with exit code 1.
import { parseArgs } from 'node:util';
import { packets } from './packets.ts';
import { policy } from './policy.ts';

/** Each begins once and then takes seeds. */
const fuzzers: Readonly<Record<string, () => Promise<(seed: number) => string | undefined>>> = { policy: async () => Promise.resolve(policy), packets };

const { values, positionals } = parseArgs({ allowPositionals: true, options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string' } } });
const [name = ''] = positionals;
const begin = fuzzers[name];
const minutes = Number(values.minutes);
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (begin === undefined || positionals.length > 1 || !(minutes > 0) || !Number.isInteger(first)) {
  process.stderr.write(`usage: npm run fuzz -- NAME [--minutes N] [--seed S]; NAME is one of: ${Object.keys(fuzzers).join(', ')}\n`);
  process.exit(2);
}
process.stdout.write(`${name}: seed ${first}, ${minutes} minutes\n`);
const run = await begin();
const reportMs = 10_000;
const end = performance.now() + minutes * 60_000;
let reported = performance.now();
let seed = first;
for (; performance.now() < end; seed += 1) {
  const failure = run(seed);
  if (failure !== undefined) {
    process.stdout.write(`${failure}\nagain with: npm run fuzz -- ${name} --seed ${seed}\n`);
    process.exit(1);
  }
  if (performance.now() - reported < reportMs) continue;
  reported = performance.now();
  process.stdout.write(`${seed - first + 1} cases\n`);
}
process.stdout.write(`${seed - first} cases, no difference\n`);
process.exit(0);
