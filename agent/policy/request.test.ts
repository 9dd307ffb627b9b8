// What L7 rules make of a request: as Envoy would, or not said at all.
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { ConfigError } from '../errors.ts';
import type { RuleRef } from './image.ts';
import { MAX_HTTP_RULES, MAX_REGEX, l7Of } from './l7.ts';
import { wholeMatch } from './re2-to-javascript.ts';
import { judgeRequest, type L7Request } from './request.ts';
import { check } from './validate.ts';

describe('RE2 as JavaScript', () => {
  test.each<[string, string, boolean]>([
    ['/a', '/a', true], ['/a', '/ab', false], ['/a', 'x/a', false], ['a|b', 'b', true], ['a|b', 'ab', false], ['/a/.*', '/a/', true], ['.*', 'a\nb', false], ['(?s).*', 'a\nb', true],
    ['(?i)GET', 'get', true], ['GET', 'get', false], ['[[:alpha:]_]+', 'a_B', true], ['[[:alpha:]_]+', 'a1', false], ['[]a]+', ']a', true], ['[^]a]', ']', false], ['[a[b]+', 'a[', true],
    ['\\Aa\\z', 'a', true], ['\\x{61}\\x62', 'ab', true], ['\\pL+', 'äß', true], ['\\p{Lu}', 'a', false], ['\\s', '\u00a0', false], ['[\\s]', ' ', true], ['\\/\\-\\_', '/-_', true], ['(?P<x>a)b', 'ab', true],
    ['a{2,3}', 'aaa', true], ['(?:a|b)?c', 'c', true], ['^/a$', '/a', true],
  ])('%s: %s %s', (expression, text, matches) => { expect(wholeMatch(expression)!.test(text)).toBe(matches); });

  test.each(['\\Qa\\E', '\\C', 'a(?i:b)', '(?m)a', '\\1', 'a(?=b)', '[[:nope:]]', '\\p{Greek}', '[\\S]', 'a{', '[a'])('%s is not said', (expression) => { expect(wholeMatch(expression)).toBeUndefined(); });
});

const ref: RuleRef = { policy: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'p' }, path: 'spec.ingress[0].toPorts[0]', action: 'allow' };
const rule = (yaml: string) => ({ ref, l7: l7Of(parse(yaml) as Record<string, unknown>, 'shop')! });
const http = (line: string, headers: Record<string, string> = {}): L7Request => {
  const [method, host, path] = line.split(' ') as [string, string, string];
  return { http: { method, host, path, headers: Object.entries(headers) } };
};

describe('a request and a rule', () => {
  test.each<[string, string, L7Request, boolean]>([
    ['everything', 'rules: {http: [{}]}', http('GET a /'), true],
    ['the method', 'rules: {http: [{method: GET}]}', http('POST a /'), false],
    ['the method, in small letters', 'rules: {http: [{method: GET}]}', http('get a /'), false],
    ['one of two', 'rules: {http: [{method: GET, path: /a}, {method: POST}]}', http('POST a /'), true],
    ['not one by half of each', 'rules: {http: [{method: GET, path: /a}, {method: POST, path: /b}]}', http('GET a /b'), false],
    ['the query is of the path', 'rules: {http: [{path: /a}]}', http('GET a /a?b=c'), false],
    ['the host, with its port', 'rules: {http: [{host: "a[.]example"}]}', http('GET a.example:80 /'), false],
    ['the host, in other letters: as it was sent', 'rules: {http: [{host: "a[.]example"}]}', http('GET A.example /'), false],
    ['the host, any letters', 'rules: {http: [{host: "(?i)a[.]example"}]}', http('GET A.example /'), true],
    ['a header that is there', 'rules: {http: [{headers: [X-A]}]}', http('GET a /', { 'x-a': '' }), true],
    ['a header that is not', 'rules: {http: [{headers: [X-A]}]}', http('GET a /'), false],
    ['a value with a colon', 'rules: {http: [{headers: ["X-A: b c"]}]}', http('GET a /', { 'x-a': 'b c' }), true],
    ['a value without a colon', 'rules: {http: [{headers: ["X-A b c"]}]}', http('GET a /', { 'x-a': 'b c' }), true],
    ['a value in other letters', 'rules: {http: [{headers: ["X-A b"]}]}', http('GET a /', { 'x-a': 'B' }), false],
    ['a header match that must hold', 'rules: {http: [{headerMatches: [{name: X-A, value: b}]}]}', http('GET a /', { 'x-a': 'c' }), false],
    ['a header match that is told of', 'rules: {http: [{headerMatches: [{name: X-A, value: b, mismatch: LOG}]}]}', http('GET a /', { 'x-a': 'c' }), true],
    ['an empty text asks for nothing', 'rules: {http: [{method: "", path: /a}]}', http('PUT a /a'), true],
    ['a name of TLS', 'serverNames: ["*.a.example"]', { sni: 'B.a.example' }, true],
    ['a name of TLS: one label', 'serverNames: ["*.a.example"]', { sni: 'c.b.a.example' }, false],
    ['no name of TLS', 'serverNames: ["*.a.example"]', {}, false],
    ['opened TLS: name and request', '{serverNames: [a.example], terminatingTLS: {secret: {name: s}}, rules: {http: [{path: /a}]}}', { ...http('GET a /a'), sni: 'a.example' }, true],
    ['opened TLS: another request', '{serverNames: [a.example], terminatingTLS: {secret: {name: s}}, rules: {http: [{path: /a}]}}', { ...http('GET a /b'), sni: 'a.example' }, false],
    ['no HTTP at all', 'rules: {http: [{}]}', { sni: 'a.example' }, false],
  ])('%s', (_, yaml, request, allowed) => { expect(judgeRequest({ rules: [rule(yaml)] }, request).allowed).toBe(allowed); });

  test('the first rule that lets it pass is named; a plain allow lets all pass; mismatches are told', () => {
    const rules = [rule('rules: {http: [{path: /a}]}'), rule('rules: {http: [{path: /b, headerMatches: [{name: X-A, value: b, mismatch: LOG}]}]}')];
    expect(judgeRequest({ rules }, http('GET a /b'))).toEqual({ allowed: true, rule: 1, mismatched: ['x-a'] });
    expect(judgeRequest({ rules: [...rules, { ref, l7: 'any' }] }, http('GET a /c'))).toEqual({ allowed: true, rule: 2, mismatched: [] });
    expect(judgeRequest({ rules }, http('GET a /c'))).toEqual({ allowed: false, mismatched: [] });
  });

  test('what JavaScript does not say is not guessed', () => {
    expect(() => judgeRequest({ rules: [rule('rules: {http: [{path: "\\\\Qa\\\\E"}]}')] }, http('GET a /'))).toThrow(ConfigError);
  });
});

describe('limits', () => {
  const errors = (rules: object): string => check({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'p' },
    spec: { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], ...rules }] }] },
  }).problems.map(({ path, message }) => `${path.slice(5).join('.')}: ${message.slice(0, 120)}`).join('\n');
  test.each<[string, object, RegExp]>([
    [`${MAX_HTTP_RULES} rules`, { rules: { http: Array.from({ length: MAX_HTTP_RULES }, (_, at) => ({ path: `/${at}` })) } }, /^$/],
    ['5,000 rules', { rules: { http: Array.from({ length: 5_000 }, (_, at) => ({ path: `/${at}` })) } }, /^rules\.http: http holds 5000 items; the most is 4096$/],
    [`an expression of ${MAX_REGEX} characters`, { rules: { http: [{ path: `/${'a'.repeat(MAX_REGEX - 1)}` }] } }, /^$/],
    [`one of ${MAX_REGEX + 1}`, { rules: { http: [{ path: `/${'a'.repeat(MAX_REGEX)}` }] } }, /^rules\.http\.0\.path: path is 10001 bytes long; the most is 10000/],
    ['a header without a name', { rules: { http: [{ headers: [' b'] }] } }, /^rules\.http\.0\.headers\.0: a header must be `Name: value`/],
    ['a header with a line break', { rules: { http: [{ headerMatches: [{ name: 'X-A', value: 'a\r\nb: c' }] }] } }, /headerMatches\.0\.value: value must not hold line breaks/],
    ['a header of several words', { rules: { http: [{ headerMatches: [{ name: 'X A' }] }] } }, /headerMatches\.0\.name: name must be a header name/],
    ['names of TLS on UDP', { ports: [{ port: '443', protocol: 'UDP' }], serverNames: ['a.example'] }, /ports\.0: TLS is read from TCP/],
    ['names of TLS on no port', { ports: [], serverNames: ['a.example'] }, /TLS is read on ports: none are given/],
  ])('%s', (_, rules, wanted) => { expect(errors(rules)).toMatch(wanted); });
});
