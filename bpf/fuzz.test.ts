// Random frames against a second writing of what the programs should do, and those that once found a fault. `npm run fuzz -- packets` goes on for longer.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Fuzz, framesOf, sentOf } from './testing/fuzz.ts';

let fuzz: Fuzz;
beforeAll(async () => { fuzz = new Fuzz(); await fuzz.start(); });
afterAll(() => { fuzz.close(); });

interface Kept { readonly name: string; readonly frames: readonly string[] }
const corpus = readFileSync(new URL('testdata/corpus.jsonl', import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Kept);
test.each(corpus)('$name', ({ frames }) => {
  expect(fuzz.run(frames.map(sentOf))).toBeUndefined();
});

const framesPerSeed = 2_000;
const seedsPerTest = 10;
/** About a minute; an emulated machine has a tenth of that to do. */
const tests = process.env['WEIR_SLOWNESS'] === undefined ? 25 : 2;
test.each(Array.from({ length: tests }, (_, index) => [1 + index * seedsPerTest, (index + 1) * seedsPerTest]))(`seeds %d to %d: ${framesPerSeed} frames of each are judged as the model says`, (first, last) => {
  for (let seed = first!; seed <= last!; seed += 1) expect([seed, fuzz.run(framesOf(seed, framesPerSeed))]).toEqual([seed, undefined]);
});
