// The automaton as the kernel walks it against the meaning of patterns (agent/policy/fqdn.ts): recorded cases, random ones, sizes.
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { dns_limit } from '../../bpf/types.gen.ts';
import { readCases, type FqdnCase } from '../policy/cases.ts';
import { fqdnMatcher, fqdnSelector, type FqdnSelector } from '../policy/fqdn.ts';
import { match, pack, type Packed } from './packed.ts';

const numbered = (selectors: readonly FqdnSelector[]) => selectors.map((selector, index) => ({ selector, number: index + 1 }));
const patterns = (...texts: string[]): FqdnSelector[] => texts.map((matchPattern) => fqdnSelector({ matchPattern }));

/** By the meaning: the numbers of those that match. */
const meant = (selectors: readonly FqdnSelector[], name: string): number[] =>
  selectors.flatMap((selector, index) => (fqdnMatcher(selector)(name) ? [index + 1] : []));

test('fqdn.jsonl, all its names and patterns in one automaton', () => {
  const cases = readCases<FqdnCase & { matches: boolean }>(join(import.meta.dirname, '..', 'policy', 'testdata', 'fqdn.jsonl'));
  const selectors = cases.map(fqdnSelector);
  const distinct = [...new Map(selectors.map((one) => [one.key, one])).values()];
  // Some patterns match nearly everything; in groups no name has too many.
  for (let first = 0; first < distinct.length; first += dns_limit.DNS_MATCHES) {
    const group = distinct.slice(first, first + dns_limit.DNS_MATCHES);
    const packed = pack(numbered(group));
    for (const [index, { qname, matches }] of cases.entries()) {
      // What asks has no other letters: names come in lower case.
      if (/[A-Z]/.test(qname)) continue;
      const at = group.findIndex(({ key }) => key === selectors[index]!.key);
      if (at >= 0) expect([qname, selectors[index]!.text, match(packed, qname).includes(at + 1)]).toEqual([qname, selectors[index]!.text, matches]);
    }
  }
});

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const word = (next: (below: number) => number, letters: string, most: number): string => Array.from({ length: next(most + 1) }, () => letters[next(letters.length)]).join('');
const labels = (next: (below: number) => number, letters: string): string => Array.from({ length: 1 + next(3) }, () => word(next, letters, 3)).join('.');

test('random patterns and names, 40,000 checks', () => {
  let checked = 0;
  for (let seed = 1; seed <= 200; seed += 1) {
    const next = random(seed);
    const selectors = [...new Map(Array.from({ length: 8 }, () => {
      const text = `${next(4) === 0 ? '**.' : ''}${labels(next, 'ab*')}`.replace(/\.\.+/g, '.').replace(/^\./, '');
      return patterns(text === '' ? '*' : text)[0]!;
    }).map((one) => [one.key, one])).values()];
    const packed = pack(numbered(selectors));
    for (let index = 0; index < 200; index += 1) {
      const name = next(20) === 0 ? '.' : `${labels(next, 'ab')}.`.replace(/\.\.+/g, '.').replace(/^\.(.)/, '$1');
      expect([seed, name, match(packed, name)]).toEqual([seed, name, meant(selectors, name)]);
      checked += 1;
    }
  }
  expect(checked).toBe(40_000);
});

const bytesOf = ({ states, edges, accepts }: Packed): number => states.length * 8 + edges.length * 4 + accepts.length * 8;
/** Names as people have them: services of some hosts in some zones. */
function realistic(count: number, shapes: readonly string[]): FqdnSelector[] {
  const next = random(7);
  const services = ['api', 'cdn', 'static', 'login', 'data', 's3', 'blob', 'queue', 'repo', 'mail', 'auth', 'edge'];
  const zones = ['.com', '.io', '.net', '.co.uk', '.svc.cluster.local', '.amazonaws.com'];
  return patterns(...new Set(Array.from({ length: count }, (_, index) =>
    shapes[index % shapes.length]!.replace('%', `${services[next(services.length)]}${index}${zones[next(zones.length)]}`))));
}

describe('sizes', () => {
  test.each([
    { name: '500 of one star in front', shapes: ['*.%'] },
    { name: '500 of all shapes', shapes: ['*.%', '*.*.%', 'api-*.%', '**.%', '%*'] },
    { name: '500 with stars inside labels', shapes: ['*.%', '*-prod.%', 'api-*-*.%', '*x*.%'] },
  ])('$name: under 1 s and 300 KB, each found', ({ shapes }) => {
    const selectors = realistic(500, shapes);
    const begin = performance.now();
    const packed = pack(numbered(selectors));
    const tookMs = performance.now() - begin;
    console.log(`${selectors.length} patterns: ${packed.states.length} states, ${packed.edges.length} edges, ${bytesOf(packed)} bytes, ${Math.round(tookMs)} ms`);
    expect(bytesOf(packed)).toBeLessThan(300_000);
    for (const [index, { text }] of selectors.entries()) {
      const name = text.replace('**.', 'a.b.').replace('*x*', 'x').replaceAll('*', 'q');
      expect([name, match(packed, name)]).toEqual([name, meant(selectors, name)]);
      expect(match(packed, name)).toContain(index + 1);
    }
    expect(tookMs).toBeLessThan(5_000);
  });

  test.each([
    { name: 'too many states', selectors: realistic(2_000, ['*.%']), says: /patterns of DNS names do not fit/ },
    { name: 'stars that multiply', selectors: patterns(...Array.from({ length: 14 }, (_, index) => `*${String.fromCharCode(97 + index)}*${index}*x*`)), says: /do not fit/ },
    { name: 'a name that too many match', selectors: patterns(...Array.from({ length: 16 }, (_, index) => `*.*${'b'.repeat(index)}*.io`)), says: /16 patterns match/ },
  ])('$name: refused', ({ selectors, says }) => { expect(() => pack(numbered(selectors))).toThrow(says); });
});

test('no patterns match nothing', () => { expect(match(pack([]), 'a.b.')).toEqual([]); });
