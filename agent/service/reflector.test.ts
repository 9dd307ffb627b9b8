import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readManifests } from '../directory/reader.ts';
import { manifestTable, problemTable } from '../directory/tables.ts';
import { Allocations } from './allocations.ts';
import { defaultServiceRanges } from './ranges.ts';
import { ServiceReflector } from './reflector.ts';
import { serviceTable, sliceTable } from './tables.ts';

let folder = '';
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weir-services-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

const service = (spec: string, name = 'web', annotations = '{}'): string => `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: shop, annotations: ${annotations}}\nspec: ${spec}\n`;
const slice = (rest: string, labels = '{kubernetes.io/service-name: web}'): string => `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, namespace: shop, labels: ${labels}}\n${rest}\n`;

function world(now = { ms: 0 }) {
  const tables = { manifests: manifestTable(), problems: problemTable(), services: serviceTable(), slices: sliceTable() };
  const synced = tables.manifests.expect('test');
  const reflector = new ServiceReflector(tables, new Allocations(join(folder, 'services.json'), defaultServiceRanges('default'), () => now.ms));
  return {
    ...tables, reflector, synced,
    apply: (text: string): void => {
      const { objects, problems } = readManifests(text, 'f');
      if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join());
      tables.manifests.replace(objects.map(({ row }) => row));
    },
    said: (): string[] => tables.problems.rows().map(({ source, field, message, mend }) => `f:${source.line} ${field}: ${message.replace(/^(Service|EndpointSlice) \S+: /, '')}${mend === undefined ? '' : ` (${mend})`}`),
  };
}

describe('what is refused, by field', () => {
  test.each([
    ['an unknown field', service('{typ: NodePort, ports: [{port: 80}]}'), /spec\.typ: unknown field `typ`.*did you mean `type`/],
    ['a type that is none', service('{type: Nodeport, ports: [{port: 80}]}'), /spec\.type: type must be one of ClusterIP, NodePort.*did you mean `NodePort`/],
    ['no ports', service('{selector: {app: web}}'), /spec: a Service needs at least one port/],
    ['two ports without names', service('{ports: [{port: 80}, {port: 81}]}'), /ports\[0\]: where there are several ports each needs a name/],
    ['a name twice', service('{ports: [{port: 80, name: a}, {port: 81, name: a}]}'), /ports\[1\]\.name: the port name a stands twice/],
    ['a port twice', service('{ports: [{port: 80, name: a}, {port: 80, name: b}]}'), /ports\[1\]\.port: port 80\/TCP stands twice/],
    ['a node port of a ClusterIP', service('{ports: [{port: 80, nodePort: 30080}]}'), /nodePort is for the types NodePort and LoadBalancer/],
    ['a node port out of range', service('{type: NodePort, ports: [{port: 80, nodePort: 8080}]}'), /nodePort: node port 8080 is not from 30000 to 32767/],
    ['a node port twice', service('{type: NodePort, ports: [{port: 80, name: a, nodePort: 30080}, {port: 81, name: b, nodePort: 30080}]}'), /nodePort 30080\/TCP stands twice/],
    ['a protocol that is none', service('{ports: [{port: 80, protocol: ICMP}]}'), /protocol must be one of TCP, UDP, SCTP/],
    ['a target port in quotes', service('{ports: [{port: 80, targetPort: "8080"}]}'), /targetPort must be a number without quotes/],
    ['a selector as of a Deployment', service('{selector: {matchLabels: {app: web}}, ports: [{port: 80}]}'), /plain labels/],
    ['an address that is none', service('{clusterIP: 10.218.1, ports: [{port: 80}]}'), /clusterIP must be an address/],
    ['a ClusterIP of elsewhere', service('{clusterIP: 10.96.0.10, ports: [{port: 80}]}'), /10\.96\.0\.10 is not in 10\.218\.0\.0\/16/],
    ['None beside node ports', service('{type: NodePort, clusterIP: None, ports: [{port: 80}]}'), /clusterIP: None is for type ClusterIP/],
    ['ExternalName without a name', service('{type: ExternalName}'), /type ExternalName needs the field `externalName`/],
    ['a loopback address from outside', service('{externalIPs: [127.0.0.1], ports: [{port: 80}]}'), /externalIPs\[0\]: 127\.0\.0\.1 is no address that others could send to/],
    ['source ranges of a ClusterIP', service('{loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]}'), /loadBalancerSourceRanges is for type LoadBalancer/],
    ['a source range without a length', service('{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1], ports: [{port: 80}]}'), /must be an address with a prefix length.*10\.0\.0\.1\/32/],
    ['affinity without its mode', service('{sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}, ports: [{port: 80}]}'), /needs sessionAffinity: ClientIP/],
    ['affinity for too long', service('{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]}'), /timeoutSeconds must be a whole number from 1 to 86400/],
    ['a traffic policy that is none', service('{internalTrafficPolicy: Node, ports: [{port: 80}]}'), /internalTrafficPolicy must be one of Cluster, Local/],
    ['two families for one stack', service('{ipFamilies: [IPv4, IPv6], ipFamilyPolicy: SingleStack, ports: [{port: 80}]}'), /SingleStack has one family/],
    ['an algorithm that is none', service('{ports: [{port: 80}]}', 'web', '{service.cilium.io/lb-algorithm: magic}'), /must be random or maglev; found "magic"/],
    ['a slice of nobody', slice('addressType: IPv4\nendpoints: []', '{}'), /belongs to a Service by the label/],
    ['a slice with the other family', slice('addressType: IPv4\nendpoints: [{addresses: ["fd00::1"]}]'), /endpoints\[0\]\.addresses\[0\]: fd00::1 is no IPv4 address/],
    ['a slice with a spec', slice('addressType: IPv4\nendpoints: []\nspec: {}'), /an EndpointSlice has no spec/],
    ['a slice of link-local addresses', slice('addressType: IPv4\nendpoints: [{addresses: [169.254.169.254]}]'), /169\.254\.169\.254 is no address that others could send to/],
  ])('%s', (_, text, message) => {
    const { apply, said, services, slices } = world();
    apply(text);
    expect(said().join('\n')).toMatch(message);
    expect([services.size, slices.size]).toEqual([0, 0]);
  });
});

describe('allocation', () => {
  const addresses = ({ services }: ReturnType<typeof world>): unknown => services.rows().map(({ name, clusterIps, loadBalancerIps, ports, healthCheckNodePort }) => [name, clusterIps, loadBalancerIps, ports.map(({ nodePort }) => nodePort), healthCheckNodePort]);
  const several = [service('{type: NodePort, ports: [{port: 80}]}', 'a'), service('{type: LoadBalancer, externalTrafficPolicy: Local, ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]}', 'b'),
    service('{ipFamilies: [IPv6], ports: [{port: 80}]}', 'c'), service('{clusterIP: None}', 'd')].join('---\n');

  test('each has what its type asks for', () => {
    const one = world();
    one.apply(several);
    const row = (name: string) => one.services.get(`shop/${name}`)!;
    expect(row('a')).toMatchObject({ clusterIps: [expect.stringMatching(/^10\.218\./)], loadBalancerIps: [], ports: [{ nodePort: expect.any(Number) }] });
    expect(row('b')).toMatchObject({ clusterIps: [expect.stringMatching(/^10\.218\./), expect.stringMatching(/^fd77:e2:d9::/)], loadBalancerIps: [expect.stringMatching(/^10\.219\.217\./), expect.stringMatching(/^fd77:e3:d9::/)], healthCheckNodePort: expect.any(Number) });
    expect(row('c').clusterIps).toEqual([expect.stringMatching(/^fd77:e2:d9::/)]);
    expect(row('d')).toMatchObject({ clusterIps: [], headless: true });
    expect(one.said()).toEqual([]);
  });

  test.each([
    ['after the agent died', false],
    ['from nothing', true],
  ])('the same numbers %s', (_, fresh) => {
    const one = world();
    one.apply(several);
    const before = addresses(one);
    if (fresh) rmSync(join(folder, 'services.json'));
    const two = world();
    two.apply(several);
    expect(addresses(two)).toEqual(before);
  });

  test('two nodes of a cluster give the same, whoever is first', () => {
    const [one, two] = [world(), world()];
    one.apply(several);
    two.apply(several);
    const more = `${several}---\n${service('{type: NodePort, ports: [{port: 1}]}', 'e')}`;
    two.apply(more);
    one.apply(more);
    expect(addresses(one)).toEqual(addresses(two));
  });

  test.each([
    ['a node port', '{type: NodePort, ports: [{port: 80, nodePort: 30080}]}', /node port 30080 is that of Service shop\/first; that one stays/],
    ['a ClusterIP', '{clusterIP: 10.218.0.10, ports: [{port: 80}]}', /10\.218\.0\.10 is that of Service shop\/first; that one stays/],
    ['an address of the pool', '{type: LoadBalancer, loadBalancerIP: 10.219.217.9, ports: [{port: 80}]}', /10\.219\.217\.9 is that of Service shop\/first/],
    ['an external address and port', '{externalIPs: [192.0.2.1], ports: [{port: 80}]}', /192\.0\.2\.1:80\/TCP is that of Service shop\/first/],
  ])('%s that another one has: the later is refused, and has it once it is free', (_, spec, message) => {
    const one = world();
    one.synced();
    one.apply([service(spec, 'first'), service('{ports: [{port: 1}]}', 'other')].join('---\n'));
    one.apply([service(spec, 'first'), service('{ports: [{port: 1}]}', 'other'), service(spec, 'second')].join('---\n'));
    expect(one.services.rows().map(({ name }) => name)).toEqual(['first', 'other']);
    expect(one.said()[0]).toMatch(message);
    one.apply([service('{ports: [{port: 1}]}', 'other'), service(spec, 'second')].join('---\n'));
    expect(one.services.rows().map(({ name }) => name)).toEqual(['other', 'second']);
    expect(one.said()).toEqual([]);
  });

  test('what a service had rests before another gets it', () => {
    const now = { ms: 0 };
    const one = world(now);
    one.synced();
    const pool = (name: string): string => service('{type: LoadBalancer, ports: [{port: 80}]}', name);
    const all = Array.from({ length: 254 }, (_, index) => pool(`s${index}`));
    one.apply(all.join('---\n'));
    expect(new Set(one.services.rows().flatMap(({ loadBalancerIps }) => loadBalancerIps)).size).toBe(254);
    const next = [...all.slice(1), pool('late')].join('---\n');
    one.apply(next);
    expect(one.said()[0]).toMatch(/no address of the pool of 10\.219\.217\.0\/24 is free/);
    now.ms += 31_000;
    one.apply(`${next}---\n${service('{ports: [{port: 1}]}', 'other')}`);
    expect(one.said()).toEqual([]);
    expect(one.services.get('shop/late')).toBeDefined();
  });
});

test('one that turns bad keeps its last good version', () => {
  const one = world();
  one.apply(service('{ports: [{port: 80}]}'));
  const before = one.services.get('shop/web');
  one.apply(service('{ports: [{port: 0}]}'));
  expect(one.services.get('shop/web')).toBe(before);
  expect(one.said()).toHaveLength(1);
});

test.each([
  ['share of its endpoints', '"300"', 300, []],
  ['no share at all', '"0"', undefined, ['f:3 metadata.annotations.service.weir.io/weight: service.weir.io/weight must be a whole number from 1 to 1000, 100 being usual; found "0"']],
  ['a share that is no number', 'much', undefined, ['f:3 metadata.annotations.service.weir.io/weight: service.weir.io/weight must be a whole number from 1 to 1000, 100 being usual; found "much"']],
])('a slice with a weight: %s', (_, weight, expected, said) => {
  const one = world();
  one.apply(slice('addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [192.0.2.1]}]', `{kubernetes.io/service-name: web}, annotations: {service.weir.io/weight: ${weight}}`));
  expect([one.slices.rows()[0]?.endpoints[0]?.weight, one.said()]).toEqual([expected, said]);
});

test('a slice as it is written', () => {
  const one = world();
  one.apply(slice('addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [192.0.2.1], nodeName: n1, conditions: {ready: false, terminating: true, serving: true}, targetRef: {kind: Pod, name: w-1}}, {addresses: [192.0.2.2]}]'));
  expect(one.slices.rows()).toMatchObject([{
    key: 'shop/web-1', service: 'web', family: 4, ports: [{ name: '', protocol: 'TCP', port: 8080 }],
    endpoints: [{ addresses: ['192.0.2.1'], ready: false, serving: true, terminating: true, node: 'n1', pod: 'shop/w-1' }, { addresses: ['192.0.2.2'], ready: true, serving: true, terminating: false }],
  }]);
});
