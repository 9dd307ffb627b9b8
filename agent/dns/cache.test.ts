// Names of addresses, as answers gave them: order, replacement, bounds.
import { describe, expect, test } from '@jest/globals';
import type { DnsRecord } from '../../bpf/types.gen.ts';
import { ip4 } from '../../hubble/testing.ts';
import { DnsCache } from './cache.ts';
import type { DnsMaps } from './maps.ts';

const text = (word: Uint8Array): string => Buffer.from(word).toString('latin1');
const [one, two] = [ip4(203, 0, 113, 1), ip4(203, 0, 113, 2)];
const answered = (endpoint = 5, type = 1): DnsRecord => ({ event: 1, endpoint, type, ttl: 60 }) as DnsRecord;
// Names of addresses ask no map, and nothing is kept.
const cacheOf = (): DnsCache => new DnsCache({} as DnsMaps, '/nonexistent', () => undefined);

describe('names of an address', () => {
  const cases: { name: string; answers: [name: string, addresses: Uint8Array[], endpoint?: number][]; ofOne: string[]; ofTwo: string[] }[] = [
    { name: 'none', answers: [], ofOne: [], ofTwo: [] },
    { name: 'the last answer first', answers: [['a.', [one]], ['b.', [one, two]]], ofOne: ['b.', 'a.'], ofTwo: ['b.'] },
    { name: 'an answer replaces the one before', answers: [['a.', [one, two]], ['a.', [two]]], ofOne: [], ofTwo: ['a.'] },
    { name: 'an address twice in an answer', answers: [['a.', [one, one]], ['a.', [two]]], ofOne: [], ofTwo: ['a.'] },
    { name: 'of another endpoint', answers: [['a.', [one], 6]], ofOne: [], ofTwo: [] },
    { name: 'without addresses', answers: [['a.', []]], ofOne: [], ofTwo: [] },
    { name: 'told again, it is the last', answers: [['a.', [one]], ['b.', [one]], ['a.', [one]]], ofOne: ['a.', 'b.'], ofTwo: [] },
  ];
  test.each(cases)('$name', ({ answers, ofOne, ofTwo }) => {
    const cache = cacheOf();
    for (const [name, addresses, endpoint] of answers) cache.add(answered(endpoint), name, addresses);
    expect([cache.namesOf(5, text(one)), cache.namesOf(5, text(two))]).toEqual([ofOne, ofTwo]);
  });

  test('two types of query with the same address, and both replaced', () => {
    const cache = cacheOf();
    for (const addresses of [[one], [two]]) for (const type of [1, 255]) cache.add(answered(5, type), 'a.', addresses);
    expect([cache.namesOf(5, text(one)), cache.namesOf(5, text(two))]).toEqual([[], ['a.']]);
  });

  test('the revision moves with the names, not with each answer', () => {
    const cache = cacheOf();
    const revisions = [['a.', [one]], ['a.', [one]], ['b.', [one]], ['a.', [one, two]]].map(([name, addresses]) => {
      cache.add(answered(), name as string, addresses as Uint8Array[]);
      return cache.revision;
    });
    expect(revisions).toEqual([1, 1, 2, 3]);
  });

  test('the oldest names go', () => {
    const cache = cacheOf();
    for (let index = 0; index < 20_010; index += 1) cache.add(answered(), `n${index}.`, [index < 10 ? one : two]);
    expect(cache.namesOf(5, text(one))).toEqual([]);
    expect(cache.namesOf(5, text(two)).length).toBe(20_000);
  });
});
