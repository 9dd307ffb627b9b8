// Files with mistakes: each is one sentence at one place, and never harms the objects beside it.
import { describe, expect, test } from '@jest/globals';
import { readManifests } from './reader.ts';

const pod = (name: string, more = ''): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}${more}}\nspec: {}\n`;
const bomb = `a: &a [1,1,1,1,1,1,1,1,1,1]\n${[...'bcdefghi'].map((to, i) => `${to}: &${to} [${`*${'abcdefgh'[i]},`.repeat(9)}]`).join('\n')}`;

const cases: readonly { name: string; text: string; keys: string[]; problems: string[] }[] = [
  { name: 'one object', text: pod('web'), keys: ['Pod/default/web'], problems: [] },
  { name: 'several documents, empty ones between', text: `${pod('a')}---\n---\n# nothing\n---\n${pod('b', ', namespace: shop')}`, keys: ['Pod/default/a', 'Pod/shop/b'], problems: [] },
  { name: 'JSON', text: '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}', keys: ['Namespace//shop'], problems: [] },
  { name: 'a List is its items', text: 'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod, metadata: {name: B}}\n', keys: ['Pod/default/a'], problems: ['f:5:42 error metadata.name: metadata.name "B" is no DNS name'] },
  { name: 'a List without items', text: 'apiVersion: v1\nkind: PodList\n', keys: [], problems: ['f:1:1 error items: a PodList needs items, a list of objects'] },
  { name: 'a half-written file', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: we', keys: [], problems: ['f:3:20 error : Flow map in block collection must be sufficiently indented and end with a }'] },
  { name: 'one bad document beside a good one', text: `${pod('a')}---\nkind: [\n---\n${pod('b')}`, keys: ['Pod/default/a', 'Pod/default/b'], problems: ['f:7:1 error : Flow sequence in block collection must be sufficiently indented and end with a ]'] },
  { name: 'a tab', text: 'apiVersion: v1\n\tkind: Pod\n', keys: [], problems: ['f:2:1 error : Tabs are not allowed as indentation'] },
  { name: 'no object', text: 'hello', keys: [], problems: ['f:1:1 error : expected an object with apiVersion, kind and metadata'] },
  { name: 'a key twice', text: 'kind: Pod\nkind: Pod\n', keys: [], problems: ['f:2:1 error : the key kind stands twice in one map'] },
  { name: 'a key twice, deep inside', text: `${pod('a').replace('{}', '{a: [{b: 1, b: 2}]}')}`, keys: [], problems: ['f:4:19 error : the key b stands twice in one map'] },
  { name: 'a key that is a map', text: 'a: 1\n? {b: c}\n: d\n', keys: [], problems: ['f:2:3 error : the key of a map must be text'] },
  { name: 'JSON with tabs', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } }] }, null, '\t'), keys: ['Pod/default/a'], problems: [] },
  { name: 'a mark of byte order and lines of DOS', text: `\ufeff${pod('a').replaceAll('\n', '\r\n')}`, keys: ['Pod/default/a'], problems: [] },
  { name: 'many keys', text: Array.from({ length: 100_000 }, (_, i) => `k${i}: 1\n`).join(''), keys: [], problems: ['f:1:1 error : more than 1000 keys in one map'] },
  { name: 'no kind', text: 'apiVersion: v1\nmetadata: {name: a}', keys: [], problems: ['f:1:1 error kind: kind is missing'] },
  { name: 'no apiVersion', text: 'kind: Pod\nmetadata: {name: a}', keys: [], problems: ['f:1:1 error apiVersion: apiVersion is missing'] },
  { name: 'another apiVersion', text: 'apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}', keys: [], problems: ['f:1:1 error apiVersion: Deployment of extensions/v1beta1 is not handled'] },
  { name: 'a kind that is not handled', text: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}', keys: [], problems: ['f:2:1 warning kind: kind ConfigMap is not handled yet'] },
  { name: 'a kind like a property of every object', text: 'apiVersion: v1\nkind: constructor\nmetadata: {name: a}', keys: [], problems: ['f:2:1 warning kind: kind constructor is not handled yet'] },
  { name: 'a Service', text: 'apiVersion: v1\nkind: Service\nmetadata: {name: a}', keys: ['Service/default/a'], problems: [] },
  { name: 'a label that is no text', text: pod('a', ', labels: {a: true, b: 1, c: {}}'), keys: [], problems: ['f:3:30', 'f:3:39', 'f:3:45'].map((at, index) => `${at} error metadata.labels.${'abc'[index]}: the value of label ${'abc'[index]} must be text`) },
  { name: 'a label that is no label', text: pod('a', ', labels: {"a b": x, c: "$"}'), keys: [], problems: ['f:3:30 error metadata.labels["a b"]: "a b" is no label key', 'f:3:40 error metadata.labels.c: the value of label c is no label value: "$"'] },
  { name: 'labels that are a list', text: pod('a', ', labels: [a]'), keys: [], problems: ['f:3:21 error metadata.labels: labels must be a map of text to text'] },
  { name: 'labels with a prefix, empty, null', text: `${pod('a', ', labels: {example.com/app: "", x: A_b.c-1}')}---\n${pod('b', ', labels: null')}`, keys: ['Pod/default/a', 'Pod/default/b'], problems: [] },
  { name: 'each kind with its apiVersion', text: [['v1', 'Namespace'], ['v1', 'Pod'], ['apps/v1', 'Deployment'], ['v1', 'ServiceAccount'], ['cilium.io/v2', 'CiliumNetworkPolicy'], ['cilium.io/v2', 'CiliumClusterwideNetworkPolicy'], ['networking.k8s.io/v1', 'NetworkPolicy'], ['cilium.io/v2', 'CiliumCIDRGroup']].map(([version, kind]) => `apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: a}\n`).join('---\n'), keys: ['Namespace//a', 'Pod/default/a', 'Deployment/default/a', 'ServiceAccount/default/a', 'CiliumNetworkPolicy/default/a', 'CiliumClusterwideNetworkPolicy//a', 'NetworkPolicy/default/a', 'CiliumCIDRGroup//a'], problems: [] },
  { name: 'no metadata', text: 'apiVersion: v1\nkind: Pod\nmetadata: 7', keys: [], problems: ['f:3:1 error metadata: metadata is missing'] },
  { name: 'no name', text: 'apiVersion: v1\nkind: Pod\nmetadata: {}', keys: [], problems: ['f:3:1 error metadata.name: metadata.name is missing'] },
  { name: 'generateName', text: 'apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}', keys: [], problems: ['f:3:12 error metadata.generateName: generateName is not handled: a file needs names that stay'] },
  { name: 'a path as name', text: pod('../../etc'), keys: [], problems: ['f:3:12 error metadata.name: metadata.name "../../etc" is no DNS name'] },
  { name: 'a path as namespace', text: pod('a', ', namespace: a/b'), keys: [], problems: ['f:3:21 error metadata.namespace: metadata.namespace "a/b" is no DNS label'] },
  { name: 'a namespace for a cluster-wide kind', text: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}', keys: [], problems: ['f:3:21 error metadata.namespace: a Namespace belongs to no namespace'] },
  { name: 'the same object twice', text: `${pod('a')}---\n${pod('a')}`, keys: ['Pod/default/a'], problems: ['f:8:12 error metadata.name: Pod default/a is already defined in f:1; that one stays'] },
  { name: 'aliases', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: &l {x: y}}\nspec: *l', keys: ['Pod/default/a'], problems: [] },
  { name: 'an alias bomb', text: bomb, keys: [], problems: ['f:1:1 error : too many aliases: at most 64 are expanded'] },
  { name: 'nested brackets', text: `a: ${'['.repeat(100_000)}`, keys: [], problems: ['f:1:260 error : nested deeper than 64 levels'] },
  { name: 'nested maps', text: `a: ${'{a: '.repeat(70)}1${'}'.repeat(70)}`, keys: [], problems: ['f:1:257 error : nested deeper than 64 levels'] },
  { name: 'nested indentation', text: Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), keys: [], problems: ['f:515:1 error : nested deeper than 64 levels'] },
  { name: 'a number that JSON lacks', text: `${pod('a')}status: .inf`, keys: [], problems: ['f:5:1 error : Infinity is no JSON number'] },
  { name: 'a tag', text: `${pod('a')}status: !run x`, keys: [], problems: ['f:5:9 error : Unresolved tag: !run'] },
];

describe('readManifests', () => {
  test.each(cases)('$name', ({ text, keys, problems }) => {
    const file = readManifests(text, 'f');
    expect(file.objects.map(({ row }) => row.key)).toEqual(keys);
    expect(file.problems.map(({ source, severity, field, message, mend }) =>
      `${source.file}:${source.line}:${source.column} ${severity} ${field}: ${message}${severity === 'warning' && mend !== undefined ? ` (${mend})` : ''}`)).toEqual(problems);
  });

  test('too many objects', () => {
    const file = readManifests(Array.from({ length: 5001 }, (_, i) => pod(`p${i}`)).join('---\n'), 'f');
    expect(file.objects).toEqual([]);
    expect(file.problems[0]!.message).toBe('more than 5000 objects in one file');
  });

  test('locate finds keys, items and the nearest parent', () => {
    const row = readManifests('apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: x\n    env: []\n', 'f').objects[0]!.row;
    const at = (...path: (string | number)[]): string => { const { line, column } = row.locate(path); return `${line}:${column}`; };
    expect([at(), at('spec'), at('spec', 'containers', 0), at('spec', 'containers', 0, 'env'), at('spec', 'containers', 0, 'nope', 'x'), at('status')])
      .toEqual(['1:1', '4:1', '6:5', '7:5', '6:5', '1:1']);
  });
});
