// What is learned from an answer, a DNS library takes from it too: answers that once were, or might be, read in two ways, and random ones.
// `npm run fuzz -- dns --count N` goes on for longer.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { answersOf, corpus, dnsFuzz, type DnsFuzz } from './testing/dns-fuzz.ts';

let fuzz: DnsFuzz;
beforeAll(async () => { fuzz = await dnsFuzz(); });
afterAll(() => { fuzz.close(); });

test.each(corpus)('$name', ({ message, learns }) => {
  for (let family = 0; family < 2; family += 1) {
    const before = fuzz.seen.learned;
    expect(fuzz.run(Buffer.from(message, 'hex'))).toBeUndefined();
    expect(fuzz.seen.learned - before).toBe(learns);
  }
});

const answersPerSeed = 2_000;
const seeds = process.env['WEIR_SLOWNESS'] === undefined ? 100 : 5;
test(`${seeds} seeds of ${answersPerSeed} answers`, () => {
  const before = { ...fuzz.seen };
  for (let seed = 1; seed <= seeds; seed += 1) {
    for (const message of answersOf(seed, answersPerSeed)) {
      const fault = fuzz.run(message);
      if (fault !== undefined) throw new Error(`seed ${seed}: ${message.toString('hex')}: ${fault}`);
    }
  }
  expect(Math.min(fuzz.seen.passed - before.passed, fuzz.seen.learned - before.learned)).toBeGreaterThan(seeds * answersPerSeed / 20);
}, 600_000);
