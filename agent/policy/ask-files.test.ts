// Services in questions that files answer: toServices, and a flow to a Service, which is judged at its backends.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { answerOf, verdictsOf, verdictText } from './answer.ts';
import { askFiles } from './ask-files.ts';
import { readClusterFiles, type ClusterFiles } from './cluster-files.ts';

const pod = (name: string, labels: string, ports = ''): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: shop, labels: ${labels}}\nspec: {containers: [{name: x, command: [run]${ports}}]}\n`;
const service = (name: string, spec: string): string => `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`;
const manifests = [
  pod('client', '{app: client}'), pod('web-a', '{app: web, v: a}', ', ports: [{name: http, containerPort: 8080}]'), pod('web-b', '{app: web, v: b}', ', ports: [{name: http, containerPort: 9090}]'), pod('db', '{app: db}'),
  service('web', '{selector: {app: web}, clusterIP: 10.218.0.10, ports: [{name: http, port: 80, targetPort: http}]}'),
  service('first', '{selector: {app: web, v: a}, ports: [{port: 80, targetPort: 8080}]}'),
  service('db', '{selector: {app: db}, externalIPs: [192.0.2.50], ports: [{port: 5432}]}'),
  service('legacy', '{ports: [{port: 80}]}'), service('nobody', '{selector: {app: nobody}, ports: [{port: 80}]}'), service('wrong', '{selector: {app: web}, port: 80}'),
  'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: legacy-1, namespace: shop, labels: {kubernetes.io/service-name: legacy}}\naddressType: IPv4\nports: [{port: 8000}]\nendpoints: [{addresses: [198.51.100.7]}]\n',
  // The client may reach the backends of two Services; of the web's only version a lets it in at 8080.
  'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: out, namespace: shop}\nspec: {endpointSelector: {matchLabels: {app: client}}, egress: [{toServices: [{k8sService: {serviceName: web}}, {k8sService: {serviceName: legacy}}]}]}\n',
  'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: in, namespace: shop}\nspec: {endpointSelector: {matchLabels: {app: web}}, ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: "8080", protocol: TCP}]}]}]}\n',
].join('---\n');

let folder: string;
let files: ClusterFiles;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'weir-ask-'));
  writeFileSync(join(folder, 'all.yaml'), manifests);
  files = readClusterFiles([folder]);
});
afterAll(() => { rmSync(folder, { recursive: true }); });

const asked = (to: string, port: string, protocol = 'TCP') => { const { sides, service: found } = askFiles(files, { from: 'shop/client', to, port, protocol }); return answerOf(sides, found); };

describe('a flow to a Service', () => {
  test.each([
    ['by name: each backend at its own port', 'web.shop.svc', 'http', ['egress shop/web-a:8080 allow', 'ingress shop/web-a:8080 allow', 'egress shop/web-b:9090 allow', 'ingress shop/web-b:9090 default-deny'], 'denied'],
    ['by its whole name, one backend', 'first.shop.svc.cluster.local', '80', ['egress shop/web-a:8080 allow', 'ingress shop/web-a:8080 allow'], 'allowed'],
    ['by its ClusterIP', '10.218.0.10', '80', ['egress shop/web-a:8080 allow', 'ingress shop/web-a:8080 allow', 'egress shop/web-b:9090 allow', 'ingress shop/web-b:9090 default-deny'], 'denied'],
    ['by an external address, which the client may not reach', '192.0.2.50', '5432', ['egress shop/db:5432 default-deny', 'ingress shop/db:5432 none'], 'denied'],
    ['without a selector: the addresses of its slices', 'legacy.shop.svc', '80', ['egress 198.51.100.7:8000 allow'], 'allowed'],
    ['an address that is none of a Service', '10.218.0.11', '80', ['egress 10.218.0.11:80 default-deny'], 'denied'],
  ])('%s', (_, to, port, sides, verdict) => {
    const answer = asked(to, port);
    expect(answer.sides.map((side) => `${side.direction} ${side.direction === 'egress' ? side.peer.name : side.subject.name}:${side.port} ${side.verdict}`)).toEqual(sides);
    expect(answer.verdict).toBe(verdict);
  });

  test('in words', () => {
    const answer = asked('web.shop.svc', '80');
    expect(verdictText(answer, verdictsOf(answer)).split('\n').filter((line) => !line.startsWith('    '))).toEqual([
      'shop/client -> Service shop/web, port 80/TCP: denied',
      '  egress of shop/client to shop/web-a: allowed', '  ingress of shop/web-a from shop/client: allowed',
      '  egress of shop/client to shop/web-b: allowed', '  ingress of shop/web-b from shop/client: denied by default, no rule allows it',
    ]);
    expect(answer.text).toMatch(/^Service shop\/web, port 80\/TCP: judged at its backends\n/);
  });

  test.each([
    ['a Service that is not there', 'web.other.svc', '80', 'TCP', /no Service other\/web/],
    ['a port that it has not', 'web.shop.svc', '81', 'TCP', /Service shop\/web has no port 81\/TCP/],
    ['a protocol that it has not', 'web.shop.svc', '80', 'UDP', /Service shop\/web has no port 80\/UDP/],
    ['nobody behind it', 'nobody.shop.svc', '80', 'TCP', /nobody in these manifests is behind Service shop\/nobody/],
    ['one that an agent would refuse', 'wrong.shop.svc', '80', 'TCP', /no Service shop\/wrong/],
  ])('%s', (_, to, port, protocol, message) => { expect(() => asked(to, port, protocol)).toThrow(message); });
});

test('a Service that is left out is told', () => {
  expect(files.findings.map(({ severity, name, field }) => [severity, name, field])).toEqual([['warning', 'service-refused', 'spec.port']]);
});
