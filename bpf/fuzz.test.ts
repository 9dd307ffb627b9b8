// Random frames against a second writing of what the program should do. `npm run fuzz -- packets` goes on for longer.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Fuzz } from './testing/fuzz.ts';

let fuzz: Fuzz;
beforeAll(async () => { fuzz = new Fuzz(); await fuzz.start(); });
afterAll(() => { fuzz.close(); });

const framesPerSeed = 2_000;
test.each(Array.from({ length: 20 }, (_, index) => index + 1))(`seed %d: ${framesPerSeed} frames are judged as the model says`, (seed) => {
  expect(fuzz.run(seed, framesPerSeed)).toBeUndefined();
});
