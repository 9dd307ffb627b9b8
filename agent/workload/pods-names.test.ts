// Fields of a Pod about names: what becomes of them, and each mistake as one sentence at its place.
import { describe, expect, test } from '@jest/globals';
import { readManifests } from '../directory/reader.ts';
import { derivePods } from './pods.ts';
import type { PodRow } from './tables.ts';

const withSpec = (fields: string): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: [{name: x, command: [run]}], ${fields}}\n`;

function derive(fields: string): { pods: PodRow[]; said: string[] } {
  const { objects, problems } = readManifests(withSpec(fields), 'f');
  expect(problems).toEqual([]);
  const derived = derivePods(objects.map(({ row }) => row), { allowRoot: false });
  return { pods: derived.pods, said: derived.problems.map(({ severity, field, message, mend }) => `${severity} ${field}: ${message.replace(/^Pod \S+: /, '')}${mend === undefined ? '' : ` (${mend})`}`) };
}

const none = { policy: 'ClusterFirst', servers: [], searches: [], options: [] } as const;
const taken: readonly { name: string; fields: string; row: Partial<PodRow> }[] = [
  { name: 'hostname and subdomain', fields: 'hostname: h, subdomain: s', row: { hostname: 'h', subdomain: 's' } },
  { name: 'by its full name', fields: 'subdomain: s, setHostnameAsFQDN: true', row: { subdomain: 's', fqdnHostname: true } },
  { name: 'not by its full name', fields: 'subdomain: s, setHostnameAsFQDN: false', row: { subdomain: 's' } },
  { name: 'aliases', fields: 'hostAliases: [{ip: 192.0.2.1, hostnames: [a, b.example]}, {ip: "2001:db8::1"}]', row: { hostAliases: [{ ip: '192.0.2.1', hostnames: ['a', 'b.example'] }, { ip: '2001:db8::1', hostnames: [] }] } },
  { name: 'no aliases', fields: 'hostAliases: []', row: {} },
  { name: 'dnsPolicy as it is anyway', fields: 'dnsPolicy: ClusterFirst', row: {} },
  { name: 'dnsPolicy for hostNetwork, which no pod has', fields: 'dnsPolicy: ClusterFirstWithHostNet', row: {} },
  { name: 'a dnsConfig that says nothing', fields: 'dnsConfig: {searches: [], options: null}', row: {} },
  { name: 'dnsPolicy Default', fields: 'dnsPolicy: Default', row: { dns: { ...none, policy: 'Default' } } },
  { name: 'dnsPolicy None', fields: 'dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1]}', row: { dns: { ...none, policy: 'None', servers: ['192.0.2.1'] } } },
  { name: 'dnsConfig', fields: 'dnsConfig: {nameservers: ["2001:db8::1"], searches: [b.example, _x.example., .], options: [{name: ndots, value: "2"}, {name: edns0}]}',
    row: { dns: { ...none, servers: ['2001:db8::1'], searches: ['b.example', '_x.example.', '.'], options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }] } } },
];

describe('taken', () => {
  test.each(taken)('$name', ({ fields, row }) => {
    const { pods: [pod], said } = derive(fields);
    const { hostname, subdomain, fqdnHostname, hostAliases, dns } = pod!;
    expect([said, JSON.parse(JSON.stringify({ hostname, subdomain, fqdnHostname, hostAliases, dns }))]).toEqual([[], row]);
  });
});

const many = (count: number, of: (index: number) => string): string => `[${Array.from({ length: count }, (_, index) => of(index)).join(', ')}]`;
const refused: readonly { name: string; fields: string; line: string }[] = [
  { name: 'a hostname with a dot', fields: 'hostname: a.b', line: 'error spec.hostname: hostname must be a DNS label: a-z, 0-9 and `-`, at most 63; found "a.b"' },
  { name: 'a subdomain with a line break', fields: 'subdomain: "s\\nx"', line: 'error spec.subdomain: subdomain must be a DNS label: a-z, 0-9 and `-`, at most 63; found "s\\nx"' },
  { name: 'a full name that is too long', fields: `hostname: ${'h'.repeat(40)}, subdomain: s, setHostnameAsFQDN: true`,
    line: `error spec.setHostnameAsFQDN: its hostname would be ${'h'.repeat(40)}.s.shop.svc.cluster.local, 65 characters; the most is 64 (delete it, or give a shorter hostname)` },
  { name: 'an alias without an address', fields: 'hostAliases: [{hostnames: [a]}]', line: 'error spec.hostAliases[0]: a hostAlias needs the field `ip`' },
  { name: 'an alias of no address', fields: 'hostAliases: [{ip: x}]', line: 'error spec.hostAliases[0].ip: ip must be an IP address; found "x"' },
  { name: 'an alias with two lines', fields: 'hostAliases: [{ip: 192.0.2.1, hostnames: ["a\\n192.0.2.2 b"]}]', line: 'error spec.hostAliases[0].hostnames[0]: a hostname must be a DNS name; found "a\\n192.0.2.2 b"' },
  { name: 'an unknown policy', fields: 'dnsPolicy: None2', line: 'error spec.dnsPolicy: dnsPolicy must be one of ClusterFirst, ClusterFirstWithHostNet, Default, None; found "None2" (did you mean `None`?)' },
  { name: 'no policy and no servers', fields: 'dnsPolicy: None', line: 'error spec.dnsPolicy: with dnsPolicy None there is no name server (give one in dnsConfig.nameservers, or delete dnsPolicy)' },
  { name: 'a server by name', fields: 'dnsConfig: {nameservers: [ns.example]}', line: 'error spec.dnsConfig.nameservers[0]: a nameserver must be an IP address; found "ns.example"' },
  { name: 'four servers', fields: `dnsConfig: {nameservers: ${many(4, (index) => `192.0.2.${index}`)}}`, line: 'error spec.dnsConfig.nameservers: nameservers holds 4 items; the most is 3' },
  { name: 'too many domains', fields: `dnsConfig: {searches: ${many(33, (index) => `d${index}`)}}`, line: 'error spec.dnsConfig.searches: searches holds 33 items; the most is 32' },
  { name: 'domains that are too long together', fields: `dnsConfig: {searches: ${many(20, (index) => `d${index}.${'x'.repeat(60)}.${'y'.repeat(60)}`)}}`, line: 'error spec.dnsConfig.searches: searches are 2509 characters together; the most is 2048' },
  { name: 'a domain of two words', fields: 'dnsConfig: {searches: [a b]}', line: 'error spec.dnsConfig.searches[0]: a search domain must be a DNS name; found "a b"' },
  { name: 'an option with a line break', fields: 'dnsConfig: {options: [{name: "ndots", value: "2\\nnameserver 192.0.2.9"}]}', line: 'error spec.dnsConfig.options[0].value: value must be one word; found "2\\nnameserver 192.0.2.9"' },
  { name: 'an option without a name', fields: 'dnsConfig: {options: [{value: "2"}]}', line: 'error spec.dnsConfig.options[0]: an option needs the field `name`' },
  { name: 'a field that dnsConfig has not', fields: 'dnsConfig: {search: [a]}', line: 'error spec.dnsConfig.search: unknown field `search`; dnsConfig has nameservers, searches, options (did you mean `searches`?)' },
];

describe('refused', () => {
  test.each(refused)('$name', ({ fields, line }) => { expect(derive(fields)).toEqual({ pods: [], said: [line] }); });
});
