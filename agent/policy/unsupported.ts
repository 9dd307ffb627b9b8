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
  rules: 'L7 rules',
  terminatingTLS: 'TLS termination',
  originatingTLS: 'TLS origination',
  serverNames: 'TLS server names',
  listener: 'a listener of one\'s own',
};

export function unsupportedIn(object: Json): Unsupported[] {
  const specs: [Path, Json][] = listOf(object['specs']).map((spec, index) => [['specs', index], spec]);
  if (!isAbsent(object['spec'])) specs.unshift([['spec'], object['spec'] as Json]);
  return specs.flatMap(([path, spec]) => [
    ...(isAbsent(spec['nodeSelector']) ? [] : [say([...path, 'nodeSelector'], 'policy for nodes')]),
    ...SECTIONS.flatMap((section) => listOf(spec[section]).flatMap((entry, index) => inEntry(entry, [...path, section, index]))),
  ]);
}

const isDns = (rules: Json): boolean => listOf(rules['dns']).length > 0;

const say = (path: Path, what: string): Unsupported =>
  ({ path, message: `${what}: valid, but weir does not enforce it yet, so the whole policy is refused` });

function inEntry(entry: Json, path: Path): Unsupported[] {
  const mode = isAbsent(entry['authentication']) ? 'disabled' : (entry['authentication'] as Json)['mode'];
  return [
    ...Object.keys(IN_ENTRY).filter((field) => isThere(entry[field])).map((field) => say([...path, field], IN_ENTRY[field]!)),
    ...(mode === 'disabled' ? [] : [say([...path, 'authentication', 'mode'], `authentication mode ${String(mode)}`)]),
    ...listOf(entry['toPorts']).flatMap((item, index) => Object.keys(IN_PORTS)
      .filter((field) => isThere(item[field]) && !(field === 'rules' && isDns(item[field] as Json)))
      .map((field) => say([...path, 'toPorts', index, field], IN_PORTS[field]!))),
    ...['fromCIDR', 'toCIDR'].flatMap((field) => listOf(entry[field]).flatMap((cidr, index) => inCidr(cidr, [...path, field, index]))),
    ...['fromCIDRSet', 'toCIDRSet'].flatMap((field) => listOf(entry[field]).flatMap((set, index) => [
      ...inCidr(set['cidr'], [...path, field, index, 'cidr']),
      ...listOf(set['except']).flatMap((except, at) => inCidr(except, [...path, field, index, 'except', at])),
    ])),
  ];
}

function inCidr(cidr: unknown, path: Path): Unsupported[] {
  const prefix = typeof cidr === 'string' ? parsePrefix(cidr) : undefined;
  return prefix !== undefined && isMappedIpv4(prefix) ? [say(path, 'an IPv4 prefix in IPv6 form (write it as IPv4)')] : [];
}
