// Random frames against a second writing of what the program should do, and those that once found a fault. `npm run fuzz -- packets` goes on for longer.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Fuzz, framesOf } from './testing/fuzz.ts';

let fuzz: Fuzz;
beforeAll(async () => { fuzz = new Fuzz(); await fuzz.start(); });
afterAll(() => { fuzz.close(); });

interface Kept { readonly name: string; readonly frames: readonly string[] }
const corpus = readFileSync(new URL('testdata/corpus.jsonl', import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Kept);
test.each(corpus)('$name', ({ frames }) => {
  expect(fuzz.run(frames.map((hex) => Uint8Array.from(Buffer.from(hex, 'hex'))))).toBeUndefined();
});

const framesPerSeed = 2_000;
test.each(Array.from({ length: 40 }, (_, index) => index + 1))(`seed %d: ${framesPerSeed} frames are judged as the model says`, (seed) => {
  expect(fuzz.run(framesOf(seed, framesPerSeed))).toBeUndefined();
});
