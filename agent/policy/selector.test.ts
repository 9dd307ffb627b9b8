import { describe, expect, test } from '@jest/globals';
import { covers, isMappedIpv4, longestMatch, parsePrefix } from './prefix.ts';
import { labelSet, makeSelector, matches, readSelector, requirement } from './selector.ts';

describe('prefixes', () => {
  test.each([
    ['10.1.2.3/8', '10.0.0.0/8'], ['10.1.2.3', '10.1.2.3/32'], ['0.0.0.0/0', '0.0.0.0/0'], ['2001:DB8:0:0::1/32', '2001:db8::/32'],
    ['::1', '::1/128'], ['::/0', '::/0'], ['::ffff:10.0.0.0/104', '::ffff:a00:0/104'],
    ['10.0.0.0/33', undefined], ['10.0.0/8', undefined], ['010.0.0.0/8', undefined], ['10.0.0.0/08', undefined], ['fe80::1%eth0', undefined],
    ['10.0.0.0/255.0.0.0', undefined], ['', undefined], ['any', undefined], ['2001:db8::/129', undefined], [' 10.0.0.0/8', undefined],
  ])('%s is %s', (text, expected) => expect(parsePrefix(text)?.text).toBe(expected));

  test.each([['10.0.0.0/8', '10.1.0.0/16', true], ['10.1.0.0/16', '10.0.0.0/8', false], ['0.0.0.0/0', '::/0', false], ['::/0', '2001:db8::/32', true], ['10.0.0.0/8', '11.0.0.0/8', false]])(
    '%s covers %s: %s', (outer, inner, expected) => expect(covers(parsePrefix(outer)!, parsePrefix(inner)!)).toBe(expected));

  test('the longest match wins', () => {
    const prefixes = ['0.0.0.0/0', '10.1.0.0/16', '10.0.0.0/8'].map((text) => parsePrefix(text)!);
    expect(longestMatch(prefixes, parsePrefix('10.1.2.3')!)?.text).toBe('10.1.0.0/16');
    expect(longestMatch(prefixes, parsePrefix('2001:db8::1')!)).toBeUndefined();
  });

  test('IPv4 in IPv6 clothes is known', () =>
    expect(['::ffff:10.0.0.0/104', '10.0.0.0/8', '::/0'].map((text) => isMappedIpv4(parsePrefix(text)!))).toEqual([true, false, false]));
});

describe('selectors', () => {
  const labels = labelSet(['k8s:app=web', 'unspec:tier=a', 'reserved:host=', 'cidr:10.1.2.0/24=', 'k8s:k8s.role=x']);
  test.each([
    ['app', 'In', ['web'], true], ['k8s:app', 'In', ['web'], true], ['unspec:app', 'In', ['web'], false], [':app', 'In', ['web'], true],
    ['any:tier', 'Exists', [], true], ['k8s:tier', 'Exists', [], false], ['reserved:host', 'In', [''], true], ['k8s.app', 'Exists', [], false],
    ['k8s.role', 'Exists', [], true], ['missing', 'NotIn', ['x'], true], ['missing', 'DoesNotExist', [], true], ['app', 'NotIn', ['web'], false],
    ['cidr:10.0.0.0/8', 'Exists', [], true], ['cidr:10.1.2.3/32', 'Exists', [], false], ['cidr:10.0.0.0/8', 'DoesNotExist', [], false],
    ['app', 'InOrAbsent', ['web'], true], ['app', 'InOrAbsent', ['db'], false], ['missing', 'InOrAbsent', ['db'], true],
  ] as const)('%s %s %j: %s', (key, operator, values, expected) =>
    expect(matches(makeSelector([requirement(key, operator, values)]), labels)).toBe(expected));

  test('equal selectors have equal keys, whatever their order', () => {
    const a = readSelector({ matchLabels: { a: '1', b: '2' }, matchExpressions: [{ key: 'c', operator: 'In', values: ['x', 'y'] }] });
    const b = readSelector({ matchLabels: { b: '2', 'any:a': '1' }, matchExpressions: [{ key: 'c', operator: 'In', values: ['y', 'x'] }] });
    expect(a.key).toBe(b.key);
  });
});
