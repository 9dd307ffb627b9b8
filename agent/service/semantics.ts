// What must hold between the fields of a Service or an EndpointSlice, beyond its shape: asked only where the shape is right.
import { fail, isAbsent, type Path, type Report } from '../policy/check.ts';
import { isIpv4 } from '../ipcache/address.ts';
import { addressText } from './schema.ts';
import { forwardingOf, serviceLabel, weightOf } from './words.ts';

type Json = Readonly<Record<string, unknown>>;

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);
const textsOf = (value: unknown): readonly string[] => (Array.isArray(value) ? value as string[] : []);
const at = (report: Report, field: string, message: string, mend?: string): void => { fail(report, ['spec', field], message, mend); };

export function checkService(object: Json, report: Report): void {
  const spec = object['spec'] as Json;
  const type = String(spec['type'] ?? 'ClusterIP');
  checkType(spec, type, report);
  if (type !== 'ExternalName') checkPorts(listOf(spec['ports']), isHeadless(spec), type, report);
  checkAddresses(spec, type, report);
  checkTraffic(spec, type, report);
  const wrong = forwardingOf(((object['metadata'] as Json)['annotations'] ?? {}) as Readonly<Record<string, string>>).problem;
  if (wrong !== undefined) fail(report, ['metadata', 'annotations', wrong.key], wrong.message);
}

export const isHeadless = (spec: Json): boolean => spec['clusterIP'] === 'None' || textsOf(spec['clusterIPs'])[0] === 'None';

function checkType(spec: Json, type: string, report: Report): void {
  if (type === 'ExternalName') {
    if (isAbsent(spec['externalName'])) fail(report, ['spec'], 'type ExternalName needs the field `externalName`', 'for example externalName: db.example.com');
    for (const field of ['clusterIP', 'selector'] as const) {
      if (!isAbsent(spec[field]) && spec[field] !== '') at(report, field, `a Service of type ExternalName is a name only: it has no ${field}`, `delete ${field}`);
    }
    return;
  }
  if (!isAbsent(spec['externalName']) && spec['externalName'] !== '') at(report, 'externalName', `externalName is for type ExternalName; this is ${type}`, 'write type: ExternalName, or delete it');
  if (isHeadless(spec) && type !== 'ClusterIP') at(report, 'clusterIP', `clusterIP: None is for type ClusterIP; this is ${type}`);
  if (listOf(spec['ports']).length === 0 && !isHeadless(spec)) fail(report, ['spec'], 'a Service needs at least one port', 'for example ports: [{port: 80}]');
}

function checkPorts(ports: readonly Json[], headless: boolean, type: string, report: Report): void {
  const seen = new Map<string, number>();
  const claim = (key: string, path: Path, message: string): void => {
    if (seen.has(key)) fail(report, path, message);
    seen.set(key, 1);
  };
  ports.forEach((port, index) => {
    const path: Path = ['spec', 'ports', index];
    const protocol = String(port['protocol'] ?? 'TCP');
    if (ports.length > 1 && isAbsent(port['name'])) fail(report, path, 'where there are several ports each needs a name', 'for example name: http');
    if (!isAbsent(port['name'])) claim(`name ${String(port['name'])}`, [...path, 'name'], `the port name ${String(port['name'])} stands twice`);
    claim(`port ${String(port['port'])}/${protocol}`, [...path, 'port'], `port ${String(port['port'])}/${protocol} stands twice`);
    if (isAbsent(port['nodePort'])) return;
    if (headless || (type !== 'NodePort' && type !== 'LoadBalancer')) fail(report, [...path, 'nodePort'], 'nodePort is for the types NodePort and LoadBalancer', 'write type: NodePort, or delete it');
    claim(`nodePort ${String(port['nodePort'])}/${protocol}`, [...path, 'nodePort'], `nodePort ${String(port['nodePort'])}/${protocol} stands twice`);
  });
}

function checkAddresses(spec: Json, type: string, report: Report): void {
  const [single, several] = [spec['clusterIP'], textsOf(spec['clusterIPs'])];
  if (!isAbsent(single) && single !== '' && several.length > 0 && several[0] !== single) at(report, 'clusterIPs', `the first of clusterIPs must be clusterIP, ${String(single)}; it is ${several[0]}`);
  const families = textsOf(spec['ipFamilies']);
  if (families.length === 2 && families[0] === families[1]) at(report, 'ipFamilies', `${families[0]} stands twice`);
  if (spec['ipFamilyPolicy'] === 'SingleStack' && (families.length > 1 || several.length > 1)) at(report, 'ipFamilyPolicy', 'SingleStack has one family', 'write PreferDualStack or RequireDualStack for both');
  const fixed = (several.length > 0 ? several : isAbsent(single) || single === '' ? [] : [String(single)]).filter((one) => one !== 'None');
  const familyOf = (one: string): string => (isIpv4(one) ? 'IPv4' : 'IPv6');
  fixed.forEach((one, index) => {
    if (families[index] !== undefined && families[index] !== familyOf(one)) at(report, 'ipFamilies', `ipFamilies has ${families[index]} where clusterIPs has ${one}`);
  });
  if (fixed.length === 2 && familyOf(fixed[0]!) === familyOf(fixed[1]!)) at(report, 'clusterIPs', 'clusterIPs holds one address of each family');
  for (const field of ['loadBalancerIP', 'loadBalancerSourceRanges', 'loadBalancerClass', 'allocateLoadBalancerNodePorts'] as const) {
    if (type !== 'LoadBalancer' && !isAbsent(spec[field])) at(report, field, `${field} is for type LoadBalancer; this is ${type}`, 'write type: LoadBalancer, or delete it');
  }
  textsOf(spec['externalIPs']).forEach((one, index) => {
    if (isUnusable(one)) fail(report, ['spec', 'externalIPs', index], `${one} is no address that others could send to`);
  });
}

/** This machine alone, one link alone, many, or nobody. */
const isUnusable = (address: string): boolean => /^(127\.|0\.|169\.254\.|2(2[4-9]|3\d)\.)|^(::1?$|fe[89ab]|ff)/i.test(address);

function checkTraffic(spec: Json, type: string, report: Report): void {
  const external = type === 'NodePort' || type === 'LoadBalancer' || textsOf(spec['externalIPs']).length > 0;
  if (!isAbsent(spec['externalTrafficPolicy']) && !external) at(report, 'externalTrafficPolicy', 'externalTrafficPolicy is for Services that are reached from outside', 'write type: NodePort or LoadBalancer, or delete it');
  if (!isAbsent(spec['healthCheckNodePort']) && !(type === 'LoadBalancer' && spec['externalTrafficPolicy'] === 'Local')) {
    at(report, 'healthCheckNodePort', 'healthCheckNodePort is for type LoadBalancer with externalTrafficPolicy: Local');
  }
  if (!isAbsent(spec['sessionAffinityConfig']) && spec['sessionAffinity'] !== 'ClientIP') at(report, 'sessionAffinityConfig', 'sessionAffinityConfig needs sessionAffinity: ClientIP');
}

export function checkSlice(object: Json, report: Report): void {
  const metadata = object['metadata'] as Json;
  const labels = (metadata['labels'] ?? {}) as Readonly<Record<string, unknown>>;
  const wrong = weightOf((metadata['annotations'] ?? {}) as Readonly<Record<string, string>>).problem;
  if (wrong !== undefined) fail(report, ['metadata', 'annotations', wrong.key], wrong.message);
  if (typeof labels[serviceLabel] !== 'string') fail(report, ['metadata', 'labels'], `an EndpointSlice belongs to a Service by the label ${serviceLabel}`, `add it: labels: {${serviceLabel}: NAME}`);
  const type = String(object['addressType']);
  if (type === 'FQDN') fail(report, ['addressType'], 'names as addresses are not handled', 'use a Service of type ExternalName');
  const ports = listOf(object['ports']);
  ports.forEach((port, index) => {
    if (isAbsent(port['port'])) fail(report, ['ports', index], 'a port needs the field `port`');
    if (ports.some((other, before) => before < index && (other['name'] ?? '') === (port['name'] ?? ''))) fail(report, ['ports', index, 'name'], `the port name ${JSON.stringify(port['name'] ?? '')} stands twice`);
  });
  if (type === 'FQDN') return;
  listOf(object['endpoints']).forEach((endpoint, index) => textsOf(endpoint['addresses']).forEach((one, nth) => {
    const path: Path = ['endpoints', index, 'addresses', nth];
    const wrong = addressText(one);
    if (wrong !== undefined) fail(report, path, `an address ${wrong}; found ${JSON.stringify(one)}`);
    else if (isIpv4(one) !== (type === 'IPv4')) fail(report, path, `${one} is no ${type} address`, 'make a slice for each family');
    else if (isUnusable(one)) fail(report, path, `${one} is no address that others could send to`);
  }));
}
