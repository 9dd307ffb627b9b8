// Which regular expressions are told to Envoy as texts; that they say the same, against the policy's own evaluator.
import { describe, expect, test } from '@jest/globals';
import { makeRandom } from '../policy/random-cases.ts';
import { regexProblem } from '../policy/regex.ts';
import { wholeMatch } from '../policy/re2-to-javascript.ts';
import { stringMatch } from './string-match.ts';

type Matcher = { exact?: string; prefix?: string; suffix?: string; contains?: string };
const regex = (text: string) => ({ safe_regex: { google_re2: {}, regex: text } });

test.each([
  ['GET', { exact: 'GET' }], ['/a/b-c_d', { exact: '/a/b-c_d' }], ['example\\.com', { exact: 'example.com' }], ['^/a$', { exact: '/a' }], ['/a\\$', { exact: '/a$' }], ['/a\\\\', { exact: '/a\\' }],
  ['/a\\.*', regex('/a\\.*')], ['/a\\\\.*', regex('/a\\\\.*')], ['/ok.*', { prefix: '/ok' }], ['^/ok.*$', { prefix: '/ok' }], ['.*\\.example\\.com', { suffix: '.example.com' }], ['.*/admin.*', { contains: '/admin' }],
  ['.*', regex('.*')], ['.*.*', regex('.*.*')], ['a.b', regex('a.b')], ['GET|PUT', regex('GET|PUT')], ['/a(/.*)?', regex('/a(/.*)?')], ['/a?', regex('/a?')], ['(?i)get', regex('(?i)get')], ['\\d', regex('\\d')], ['\\_', regex('\\_')],
  ['/a.*b.*', regex('/a.*b.*')], ['/a.*?', regex('/a.*?')], ['/a.*$|b', regex('/a.*$|b')], ['/straße', regex('/straße')], ['/a\n', regex('/a\n')], ['a{2}', regex('a{2}')], ['^', regex('^')], ['$', regex('$')], ['a^b', regex('a^b')],
])('%s', (text, matcher) => { expect(stringMatch(text)).toEqual(matcher); });

describe('the same answers as the regular expression', () => {
  const holds = ({ exact, prefix, suffix, contains }: Matcher, value: string): boolean =>
    (exact !== undefined ? value === exact : prefix !== undefined ? value.startsWith(prefix) : suffix !== undefined ? value.endsWith(suffix) : value.includes(contains!));
  test('random ones, of the letters that matter', () => {
    const random = makeRandom(5);
    const textOf = (letters: string, most: number): string => Array.from({ length: random.below(most + 1) }, () => letters[random.below(letters.length)]!).join('');
    const parts = ['.*', '.*', '\\', '^', '$', '\\.', '.', '*', 'a', 'b', '/', '\\\\'];
    let texts = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const text = Array.from({ length: 1 + random.below(5) }, () => parts[random.below(parts.length)]!).join('');
      const matcher = stringMatch(text);
      const matches = wholeMatch(text);
      if ('safe_regex' in matcher || regexProblem(text) !== undefined || matches === undefined) continue;
      texts += 1;
      for (let tried = 0; tried < 6; tried += 1) {
        const value = textOf('ab/.\\$^*', 5);
        if (holds(matcher, value) !== matches.test(value)) throw new Error(`${text} and ${JSON.stringify(matcher)} differ over ${value}`);
      }
    }
    expect(texts).toBeGreaterThan(1_000);
  });
});
