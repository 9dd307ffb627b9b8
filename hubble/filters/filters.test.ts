// Filters on single flows: what each field takes, what it refuses. The recorded flag sets are in cli/observe.test.ts.
import { describe, expect, test } from '@jest/globals';
import type { Flow, FlowFilter } from '../types.ts';
import { compileFilters } from './compile.ts';

const base: Flow = {
  verdict: 1, node_name: 'n1', uuid: 'a', IP: { source: '10.0.0.1', destination: 'fd00::1', ipVersion: 2 },
  l4: { TCP: { source_port: 40_000, destination_port: 80, flags: { SYN: true, ACK: true } } },
  source: { identity: 1001, namespace: 'shop', pod_name: 'web-1', labels: ['k8s:app=web', 'k8s:tier=3', 'reserved:x'], workloads: [{ name: 'web', kind: 'Deployment' }], cluster_name: 'c1' },
  destination: { identity: 2, labels: ['reserved:world'] }, destination_names: ['www.Example.com.'], source_service: { name: 'web', namespace: 'shop' },
  event_type: { type: 4, sub_type: 3 }, traffic_direction: 2, interface: { index: 3, name: 'eth0' }, node_labels: ['zone=a'],
};
const http: Flow = { ...base, event_type: { type: 129 }, l7: { type: 1, http: { code: 404, method: 'get', url: 'http://h/a%20b?q=/x', headers: [{ key: 'X', value: 'y' }] } } };
const dns: Flow = { ...base, l7: { type: 1, dns: { query: 'foo.example.com.' } } };

const cases: { name: string; filter: FlowFilter; flow?: Flow; pass: boolean }[] = [
  { name: 'an empty filter passes all', filter: {}, pass: true },
  { name: 'all fields must match', filter: { verdict: [1], source_port: ['1'] }, pass: false },
  { name: 'one value of a field is enough', filter: { source_port: ['1', '40000'] }, pass: true },
  { name: 'address', filter: { source_ip: ['10.0.0.1'] }, pass: true },
  { name: 'IPv6 address in another spelling', filter: { destination_ip: ['fd00:0::0001'] }, pass: true },
  { name: 'CIDR of the other family', filter: { destination_ip: ['0.0.0.0/0'] }, pass: false },
  { name: 'pod prefix', filter: { source_pod: ['shop/web'] }, pass: true },
  { name: 'pod without namespace is in default', filter: { source_pod: ['web'] }, pass: false },
  { name: 'pods of a namespace', filter: { source_pod: ['shop/'] }, pass: true },
  { name: 'pod in any namespace', filter: { source_pod: ['/web'] }, pass: true },
  { name: 'any namespace is none for who has none', filter: { destination_pod: ['/'] }, pass: false },
  { name: 'service', filter: { source_service: ['shop/we'] }, pass: true },
  { name: 'workload by kind', filter: { source_workload: [{ kind: 'Deployment' }] }, pass: true },
  { name: 'workload of another kind', filter: { source_workload: [{ name: 'web', kind: 'DaemonSet' }] }, pass: false },
  { name: 'identity', filter: { destination_identity: [2] }, pass: true },
  { name: 'cluster', filter: { source_cluster_name: ['c'] }, pass: false },
  { name: 'label equals', filter: { source_label: ['app=web,tier>2'] }, pass: true },
  { name: 'label with its source', filter: { source_label: ['k8s:app in (web, db)'] }, pass: true },
  { name: 'label of another source', filter: { source_label: ['container:app=web'] }, pass: false },
  { name: 'label is absent', filter: { source_label: ['!debug'] }, pass: true },
  { name: 'notin holds for an absent key', filter: { source_label: ['debug notin (a),app!=db'] }, pass: true },
  { name: 'reserved label', filter: { destination_label: ['reserved:world'] }, pass: true },
  { name: 'node labels', filter: { node_labels: ['zone==a'] }, pass: true },
  { name: 'DNS name, any case, with "*"', filter: { destination_fqdn: ['*.EXAMPLE.com'] }, pass: true },
  { name: 'DNS name is the whole one', filter: { destination_fqdn: ['example.com'] }, pass: false },
  { name: 'node of the default cluster', filter: { node_name: ['default/n*'] }, pass: true },
  { name: 'node of any cluster', filter: { node_name: ['/n1'] }, pass: true },
  { name: 'node of another cluster', filter: { node_name: ['c2/'] }, pass: false },
  { name: 'TCP flags: others may be set', filter: { tcp_flags: [{ SYN: true }] }, pass: true },
  { name: 'TCP flags: all must be set', filter: { tcp_flags: [{ SYN: true, FIN: true }] }, pass: false },
  { name: 'event type', filter: { event_type: [{ type: 4 }] }, pass: true },
  { name: 'event sub type', filter: { event_type: [{ type: 4, match_sub_type: true }] }, pass: false },
  { name: 'event type 0 is any', filter: { event_type: [{ type: 0, match_sub_type: true, sub_type: 3 }] }, pass: true },
  { name: 'IP version', filter: { ip_version: [1] }, pass: false },
  { name: 'direction', filter: { traffic_direction: [2] }, pass: true },
  { name: 'protocol', filter: { protocol: ['TCP'] }, pass: true },
  { name: 'drop reason of what was not dropped', filter: { drop_reason_desc: [0] }, pass: false },
  { name: 'drop reason', filter: { drop_reason_desc: [181] }, flow: { ...base, verdict: 2, drop_reason_desc: 181 }, pass: true },
  { name: 'reply: unknown matches nothing', filter: { reply: [true, false] }, pass: false },
  { name: 'reply: unknown of a drop is no reply', filter: { reply: [false] }, flow: { ...base, verdict: 2 }, pass: true },
  { name: 'reply', filter: { reply: [true] }, flow: { ...base, is_reply: { value: true } }, pass: true },
  { name: 'interface by index', filter: { interface: [{ index: 3 }] }, pass: true },
  { name: 'unencrypted', filter: { encrypted: [false] }, pass: true },
  { name: 'HTTP status prefix', filter: { http_status_code: ['4+'] }, flow: http, pass: true },
  { name: 'HTTP method in any case', filter: { http_method: ['GET'] }, flow: http, pass: true },
  { name: 'HTTP path: decoded, without query', filter: { http_path: ['^/a b$'] }, flow: http, pass: true },
  { name: 'HTTP path does not see the query', filter: { http_path: ['/x'] }, flow: http, pass: false },
  { name: 'HTTP URL', filter: { http_url: ['q=/x$'] }, flow: http, pass: true },
  { name: 'HTTP header', filter: { http_header: [{ key: 'X', value: 'y' }] }, flow: http, pass: true },
  { name: 'HTTP field on another flow', filter: { http_method: ['GET'] }, pass: false },
  { name: 'DNS query', filter: { dns_query: ['example'] }, flow: dns, pass: true },
  { name: 'uuid', filter: { uuid: ['b', 'a'] }, pass: true },
];

const refused: { name: string; filter: FlowFilter; says: RegExp }[] = [
  { name: 'an address that is none', filter: { source_ip: ['10.1'] }, says: /source_ip.*"10.1" is neither/ },
  { name: 'a prefix too long', filter: { source_ip: ['10.0.0.0/33'] }, says: /source_ip/ },
  { name: 'an empty pod', filter: { source_pod: [''] }, says: /source_pod.*empty/ },
  { name: 'a label selector', filter: { source_label: ['a in b'] }, says: /source_label.*expected "\("/ },
  { name: 'a label operator', filter: { source_label: ['a is b'] }, says: /unknown operator "is"/ },
  { name: 'a status code', filter: { http_status_code: ['9+'] }, says: /invalid http status code filter: invalid status code prefix: "9\+"/ },
  { name: 'HTTP beside another event type', filter: { http_method: ['GET'], event_type: [{ type: 1 }] }, says: /event type l7/ },
  { name: 'a regex', filter: { http_path: ['('] }, says: /http path.*Unterminated group/ },
  { name: 'a regex without linear time', filter: { dns_query: ['(a)\\1'] }, says: /linear time/ },
  { name: 'a regex that is too long', filter: { dns_query: ['a'.repeat(2000)] }, says: /1024 characters/ },
  { name: 'a port', filter: { source_port: ['http'] }, says: /"http" is no port/ },
  { name: 'a protocol', filter: { protocol: ['quic'] }, says: /"quic"; known are/ },
  { name: 'CEL', filter: { experimental: { cel_expression: ['true'] } }, says: /cel_expression: not supported/ },
  { name: 'too many values', filter: { uuid: Array.from({ length: 2000 }, String) }, says: /at most 1024/ },
];

describe('filters', () => {
  test.each(cases)('$name', ({ filter, flow = base, pass }) => {
    expect(compileFilters([filter])(flow)).toBe(pass);
    expect(compileFilters([], [filter])(flow)).toBe(!pass);
  });

  test.each(refused)('refuses $name', ({ filter, says }) => { expect(() => compileFilters([filter])).toThrow(says); });

  test('a hostile regex takes linear time', () => {
    const matches = compileFilters([{ dns_query: ['^(a+)+$'] }]);
    const started = performance.now();
    expect(matches({ ...dns, l7: { dns: { query: `${'a'.repeat(10_000)}!` } } })).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
