// What RE2 takes and what it does not; the same table has been put to Envoy 1.40 (agent/envoy/regex.test.ts does it again).
import { describe, expect, test } from '@jest/globals';
import { regexProblem } from './regex.ts';
import { refused, taken } from './testdata/regex.ts';

describe('regular expressions', () => {
  test.each(taken.map((text) => ({ text })))('taken: $text', ({ text }) => { expect(regexProblem(text)).toBeUndefined(); });
  test.each(refused)('refused: $text', ({ text, problem }) => { expect(regexProblem(text)).toBe(problem); });
  test('too long', () => { expect(regexProblem('a'.repeat(10_001))).toBe('it is longer than 10000 characters'); });
  test('too many instructions', () => { expect(regexProblem('(?:ab|cd){900}'.repeat(5))).toMatch(/^it takes \d+ instructions, at most 10100 are taken$/); });
});
