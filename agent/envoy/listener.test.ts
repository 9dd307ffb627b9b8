// Rule sets -> listeners: what decides which chain, what stands in it, with and without marks.
import { describe, expect, test } from '@jest/globals';
import type { L7Rules, RuleSet } from '../policy/image.ts';
import { listenerOf, routeSets } from './listener.ts';
import { encode } from './messages.ts';
import { resourcesOf } from './resources.ts';
import { serverNameRegex } from './server-names.ts';
import { http1, names, pemOf, setOf } from './testing-sets.ts';

type Json = Record<string, any>;
const secret = (name: string) => ({ namespace: 'a', name, certificate: 'tls.crt', privateKey: 'tls.key' });
const terminated = (l7: L7Rules, name: string): L7Rules => ({ ...l7, terminatingTls: secret(name) });
const [pem, other] = [pemOf('ec'), pemOf('ec')];
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const object = { data: { 'tls.crt': base64(pem), 'tls.key': base64(pem) } };

function choices({ filter_chain_matcher: matcher }: Json): string[] {
  if (matcher === undefined) return [];
  const single = ({ single_predicate: one }: Json): string => one.value_match.exact ?? one.value_match.safe_regex.regex;
  return [
    ...matcher.matcher_list.matchers.map(({ predicate, on_match: then }: Json) => `${predicate.or_matcher === undefined ? single(predicate) : predicate.or_matcher.predicate.map(single).join(' | ')} -> ${then.action.name}`),
    `-> ${matcher.on_no_match.action.name}`,
  ];
}

describe('listeners', () => {
  test.each<{ name: string; set: RuleSet; choices: readonly string[]; chains: readonly string[]; routes: readonly string[] }>([
    { name: 'HTTP alone is not looked into before', set: setOf('s', http1({})), choices: [], chains: ['http'], routes: ['1'] },
    { name: 'HTTP with a plain allow beside', set: setOf('s', http1({}), 'any'), choices: [], chains: ['http'], routes: ['1'] },
    { name: 'names', set: setOf('s', names('a.b', '*.c'), names('d')), choices: ['a\\.b | [-a-z0-9_]*\\.c -> rule 0', 'd -> rule 1', '-> denied'], chains: ['rule 0', 'rule 1', 'denied'], routes: [] },
    { name: 'names with a plain allow beside', set: setOf('s', names('a'), 'any'), choices: ['a -> rule 0', '-> any'], chains: ['rule 0', 'any'], routes: [] },
    { name: 'names and HTTP', set: setOf('s', names('a'), http1({})), choices: ['a -> rule 0', 'raw_buffer -> http', '-> denied'], chains: ['http', 'rule 0', 'denied'], routes: ['1'] },
    { name: 'TLS ends here', set: setOf('s', terminated(http1({}), 'x')), choices: ['tls -> a/x tls.crt tls.key', '-> denied'], chains: ['a/x tls.crt tls.key', 'denied'], routes: ['1 a/x tls.crt tls.key'] },
    {
      name: 'two certificates, by name', set: setOf('s', terminated({ ...http1({}), serverNames: ['a'] }, 'x'), terminated(names('b'), 'y')),
      choices: ['a -> a/x tls.crt tls.key', 'b -> a/y tls.crt tls.key', '-> denied'], chains: ['a/x tls.crt tls.key', 'a/y tls.crt tls.key', 'denied'], routes: ['1 a/x tls.crt tls.key', '1 a/y tls.crt tls.key'],
    },
  ])('$name', ({ set, choices: chosen, chains, routes }) => {
    const listener = listenerOf(set, { port: 1 }) as Json;
    expect(choices(listener)).toEqual(chosen);
    expect(listener['filter_chains'].map(({ name }: Json) => name)).toEqual(chains);
    expect([...routeSets(1, set).keys()]).toEqual(routes);
    expect(encode('Listener', listener).length).toBeGreaterThan(100);
  });

  test('a rule of another shape has its place in the routes, and allows nothing there', () => {
    const [routes] = routeSets(1, setOf('s', names('a'), http1({ method: 'GET' }))).values();
    expect(routes!.map(({ l7 }) => (l7 as L7Rules).http.length)).toEqual([0, 1]);
  });

  test.each<{ name: string; direction: RuleSet['direction']; mark: number }>([
    { name: 'egress: the second leg is judged at the destination yet', direction: 'egress', mark: 2 },
    { name: 'ingress: all has been judged', direction: 'ingress', mark: 3 },
  ])('marks: $name', ({ direction, mark }) => {
    const listener = listenerOf({ ...setOf('s', http1({})), direction }, { port: 1, marks: { downstream: 1, egressDone: 2, bothDone: 3 } }) as Json;
    expect(listener).toMatchObject({ transparent: { value: true }, socket_options: [{ level: 1, name: 36, int_value: 1 }] });
    const filter = listener['listener_filters'].find(({ name }: Json) => name === 'envoy.filters.listener.original_src');
    expect([...filter.typed_config.value]).toEqual([0x10, mark]);
  });

  test.each<{ name: string; object: Json | undefined; problem: string | undefined }>([
    { name: 'there', object, problem: undefined },
    { name: 'as text', object: { stringData: { 'tls.crt': pem, 'tls.key': pem } }, problem: undefined },
    { name: 'absent', object: undefined, problem: 'Secret a/x does not exist' },
    { name: 'without a certificate', object: { data: { 'tls.key': 'Sw==' } }, problem: 'Secret a/x has no item tls.crt' },
    { name: 'without a key', object: { data: { 'tls.crt': 'Qw==' } }, problem: 'Secret a/x has no item tls.key' },
    { name: 'not base64', object: { data: { 'tls.crt': '?', 'tls.key': 'Sw==' } }, problem: 'Secret a/x has no item tls.crt' },
    { name: 'no certificate', object: { stringData: { 'tls.crt': 'none', 'tls.key': pem } }, problem: 'Secret a/x: tls.crt is not in PEM' },
    { name: 'no key', object: { stringData: { 'tls.crt': pem, 'tls.key': 'none' } }, problem: 'Secret a/x: tls.key is not in PEM' },
    { name: 'another\'s key', object: { stringData: { 'tls.crt': pem, 'tls.key': other } }, problem: 'Secret a/x: tls.key is not the key of tls.crt' },
  ])('a certificate: $name', ({ object: found, problem }) => {
    const made = resourcesOf(setOf('s', terminated(http1({}), 'x')), { port: 1 }, () => found);
    // What OpenSSL says of it stands behind.
    expect(made.problem?.replace(/(PEM): .*/, '$1')).toBe(problem);
    expect(made.resources.map(({ type }) => type)).toEqual(problem === undefined ? ['Secret', 'RouteConfiguration', 'Listener'] : []);
  });

  test('too many variants of one rule are refused', () => {
    const mismatches = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name, value: '1', action: 'LOG' as const }));
    expect(resourcesOf(setOf('s', http1({ mismatches })), { port: 1 }, () => undefined).problem).toBe('spec.ingress[0]: more than 4 headerMatches with a mismatch action in one rule');
  });
});

describe('server names', () => {
  test.each<{ pattern: string; fit: readonly string[]; not: readonly string[] }>([
    { pattern: 'a.b', fit: ['a.b'], not: ['a.b.c', 'x.a.b', 'aXb'] },
    { pattern: 'A.b', fit: ['a.b'], not: [] },
    { pattern: '*.b', fit: ['a.b', '.b'], not: ['b', 'x.a.b'] },
    { pattern: 'a*.b', fit: ['a.b', 'ax-1.b'], not: ['a.x.b'] },
    { pattern: '**.b', fit: ['a.b', 'x.a.b'], not: ['b', '.b'] },
  ])('$pattern', ({ pattern, fit, not }) => {
    const regex = new RegExp(`^(?:${serverNameRegex(pattern)})$`);
    expect(fit.filter((name) => !regex.test(name))).toEqual([]);
    expect(not.filter((name) => regex.test(name))).toEqual([]);
  });
});
