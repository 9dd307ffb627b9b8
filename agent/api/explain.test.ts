// A flow that nobody has sent, judged by tables as an agent holds them.
import { expect, test } from '@jest/globals';
import type { Agent } from '../agent.ts';
import { manifestTable, type ManifestRow } from '../directory/tables.ts';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { identityTable } from '../identity/tables.ts';
import { ipcacheTable } from '../ipcache/tables.ts';
import { readRules } from '../policy/rules.ts';
import { explainFlow } from './explain.ts';

const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'db', namespace: 'shop' }, spec: { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{ fromCIDR: ['192.0.2.0/24'], toPorts: [{ ports: [{ port: '5432', protocol: 'TCP' }] }] }] } };
const labels = (app: string): string[] => [`k8s:app=${app}`, 'k8s:io.cilium.k8s.policy.cluster=default', 'k8s:io.kubernetes.pod.namespace=shop'];
const endpoint = (id: number, app: string): EndpointRow => ({ id, key: `shop/${app}`, namespace: 'shop', name: app, identity: 300 + id, labels: labels(app), ipv4: `10.0.0.${id}`, ipv6: `fd00::${id}`, namedPorts: [{ name: 'sql', port: 5432, protocol: 'TCP' }], state: 'ready' } as unknown as EndpointRow);

const [endpoints, ipcache, identities, manifests] = [endpointTable(), ipcacheTable(), identityTable(), manifestTable()];
endpoints.write([endpoint(1, 'db'), endpoint(2, 'web')]);
identities.write([{ id: 301, kind: 'workload', labels: labels('db') }, { id: 302, kind: 'workload', labels: labels('web') }, { id: 0x01000001, kind: 'cidr', labels: ['cidr:192.0.2.0/24=', 'reserved:world-ipv4='] }]);
ipcache.write([['192.0.2.0/24', 0x01000001], ['0.0.0.0/0', 9], ['::/0', 10], ['203.0.113.1/32', 1]].map(([prefix, identity]) => ({ prefix: String(prefix), identity: Number(identity), ifindex: 0, host: identity === 1, origin: 'policy' })));
manifests.write([{ key: 'CiliumNetworkPolicy/shop/db', kind: 'CiliumNetworkPolicy', object, locate: (path: readonly unknown[]) => ({ file: 'db.yaml', line: path.length, column: 1 }) } as unknown as ManifestRow]);
const agent = { tables: { endpoints, ipcache, identities, manifests }, policies: { groups: () => readRules(object, []) } } as unknown as Agent;

test.each([
  ['a workload by its address', { from: '10.0.0.2', to: 'shop/db', port: '5432', protocol: 'TCP' }, 'denied', /shop\/web -> shop\/db 5432\/TCP, egress of shop\/web: allowed, no policy[^]*db spec\.ingress\[0\] \(db\.yaml:3\)/],
  ['an address within a prefix that rules name', { from: '192.0.2.7', to: 'db', port: 'sql', protocol: 'tcp' }, 'allowed', /192\.0\.2\.7 -> shop\/db 5432\/TCP, ingress of shop\/db: allowed/],
  ['any other address', { from: '198.51.100.1', to: 'shop/db', port: '5432', protocol: 'TCP' }, 'denied', /198\.51\.100\.1\/32/],
  ['an address of the node', { from: '203.0.113.1', to: 'shop/db', port: '22', protocol: 'TCP' }, 'allowed', /built in: the node reaches its own workloads/],
  ['an entity', { from: 'remote-node', to: 'shop/db', port: '5432', protocol: 'TCP' }, 'denied', /reserved:remote-node/],
])('%s', (_, question, verdict, text) => {
  const answer = explainFlow(agent, question);
  expect([answer.verdict, answer.text]).toEqual([verdict, expect.stringMatching(text)]);
});

test('a request that was refused: the connection is not what is explained', () => {
  const find = () => ({ uuid: 'u', verdict: 2, l7: { http: {} }, ingress_denied_by: [{ namespace: 'shop', name: 'web' }, { name: 'all' }], Summary: 'HTTP/1.1 PUT http://web/' });
  expect(explainFlow({ ...agent, observer: { find } } as unknown as Agent, { uuid: 'u' })).toEqual({ uuid: 'u', verdict: 'denied', sides: [], yaml: '', text: 'Refused at layer 7: HTTP/1.1 PUT http://web/\nNo rule of shop/web, all allows it.\nSee what they ask for: ./weir policy get NAME' });
});

test.each([
  ['nobody of that name', { from: 'shop/wep', to: 'shop/db', port: '1', protocol: 'TCP' }, 'no workload shop/wep runs here', 'did you mean shop/web?'],
  ['two strangers', { from: 'host', to: '192.0.2.1', port: '1', protocol: 'TCP' }, 'neither end is a workload of this agent', 'see ./weir endpoint list'],
  ['no port', { from: 'web', to: 'db', protocol: 'UDP' }, 'UDP has ports', 'add --port NUMBER'],
])('%s', (_, question, message, mend) => {
  expect(() => explainFlow(agent, question)).toThrow(expect.objectContaining({ message: expect.stringContaining(message), mend: expect.stringContaining(mend) }));
});
