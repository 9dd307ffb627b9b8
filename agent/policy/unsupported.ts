// What a valid policy may ask for that is not enforced yet: the agent refuses that one policy and says why.
// A policy that is enforced in part would promise what it does not hold.
import { isAbsent, type Path } from './check.ts';
import { isMappedIpv4, parsePrefix } from './prefix.ts';

type Json = Readonly<Record<string, unknown>>;

export interface Unsupported { readonly path: Path; readonly message: string }

const SECTIONS = ['ingress', 'ingressDeny', 'egress', 'egressDeny'];
const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);
const isThere = (value: unknown): boolean => !isAbsent(value) && !(Array.isArray(value) && value.length === 0);

const IN_ENTRY: Readonly<Record<string, string>> = {
  toGroups: 'cloud provider groups as peers',
  fromGroups: 'cloud provider groups as peers',
};

const IN_PORTS: Readonly<Record<string, string>> = {
  originatingTLS: 'TLS origination (weir opens TLS with terminatingTLS and hands on what is in it; leave originatingTLS out, or let the workload speak TLS itself)',
  listener: 'a listener of one\'s own (weir makes its own for every rule set; write the rules here instead)',
};

const IN_RULES: Readonly<Record<string, string>> = {
  kafka: 'Kafka rules (the stock Envoy has no Kafka policy; allow the port alone)',
  l7: 'rules of a protocol of one\'s own (write http rules, or allow the port alone)',
  l7proto: 'rules of a protocol of one\'s own (write http rules, or allow the port alone)',
};

export function unsupportedIn(object: Json): Unsupported[] {
  const specs: [Path, Json][] = listOf(object['specs']).map((spec, index) => [['specs', index], spec]);
  if (!isAbsent(object['spec'])) specs.unshift([['spec'], object['spec'] as Json]);
  return specs.flatMap(([path, spec]) => [
    ...(isAbsent(spec['nodeSelector']) ? [] : [say([...path, 'nodeSelector'], 'policy for nodes')]),
    ...SECTIONS.flatMap((section) => listOf(spec[section]).flatMap((entry, index) => inEntry(entry, [...path, section, index]))),
  ]);
}

const say = (path: Path, what: string): Unsupported =>
  ({ path, message: `${what}: valid, but weir does not enforce it yet, so the whole policy is refused` });

function inEntry(entry: Json, path: Path): Unsupported[] {
  const mode = isAbsent(entry['authentication']) ? 'disabled' : (entry['authentication'] as Json)['mode'];
  return [
    ...Object.keys(IN_ENTRY).filter((field) => isThere(entry[field])).map((field) => say([...path, field], IN_ENTRY[field]!)),
    ...inEntities(entry, path),
    ...(mode === 'disabled' ? [] : [say([...path, 'authentication', 'mode'], `authentication mode ${String(mode)}`)]),
    ...listOf(entry['toPorts']).flatMap((item, index) => inPorts(item, [...path, 'toPorts', index])),
    ...['fromCIDR', 'toCIDR'].flatMap((field) => listOf(entry[field]).flatMap((cidr, index) => inCidr(cidr, [...path, field, index]))),
    ...['fromCIDRSet', 'toCIDRSet'].flatMap((field) => listOf(entry[field]).flatMap((set, index) => [
      ...inCidr(set['cidr'], [...path, field, index, 'cidr']),
      ...listOf(set['except']).flatMap((except, at) => inCidr(except, [...path, field, index, 'except', at])),
    ])),
  ];
}

const asksEnvoy = (item: Json): boolean => ['serverNames', 'terminatingTLS'].some((field) => isThere(item[field])) || isThere((item['rules'] as Json | undefined)?.['http']);

/** Where the node is one peer of many (`all`, `cluster`), connections to it alone are refused (bpf/lib/proxy.h). */
function inEntities(entry: Json, path: Path): Unsupported[] {
  const host = (listOf(entry['toEntities']) as unknown as string[]).indexOf('host');
  return host < 0 || !listOf(entry['toPorts']).some(asksEnvoy) ? []
    : [say([...path, 'toEntities', host], 'L7 rules for the node itself (Envoy cannot reach the node\'s own processes; allow the port alone)')];
}

function inPorts(item: Json, path: Path): Unsupported[] {
  const rules = (item['rules'] ?? {}) as Json;
  const http = listOf(rules['http']);
  return [
    ...Object.keys(IN_PORTS).filter((field) => isThere(item[field])).map((field) => say([...path, field], IN_PORTS[field]!)),
    ...Object.keys(IN_RULES).filter((field) => isThere(rules[field])).map((field) => say([...path, 'rules', field], IN_RULES[field]!)),
    ...(isThere(item['terminatingTLS']) && http.length === 0 ? [say([...path, 'terminatingTLS'], 'TLS that is opened and not read (add rules: {http: [{}]} to see every request)')] : []),
    ...http.flatMap((rule, at) => listOf(rule['headerMatches']).flatMap((one, index) => (isAbsent(one['secret']) ? []
      : [say([...path, 'rules', 'http', at, 'headerMatches', index, 'secret'], 'header values from secrets (write the value)')]))),
  ];
}

function inCidr(cidr: unknown, path: Path): Unsupported[] {
  const prefix = typeof cidr === 'string' ? parsePrefix(cidr) : undefined;
  return prefix !== undefined && isMappedIpv4(prefix) ? [say(path, 'an IPv4 prefix in IPv6 form (write it as IPv4)')] : [];
}
