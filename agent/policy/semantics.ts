// What must hold between the fields of one spec, beyond its shape: checked only where the shape is right.
import { fail, formatPath, isAbsent, type Path, type Report } from './check.ts';
import { isInside, isPortName } from './formats.ts';
import { REFUSED_TYPE_NAME, icmpType, icmpTypeNames, type Family } from './icmp.ts';
import { parsePortNumber } from './rule.ts';

type Json = Readonly<Record<string, unknown>>;

const SECTIONS = ['ingress', 'ingressDeny', 'egress', 'egressDeny'] as const;
type Section = typeof SECTIONS[number];
const MEMBERS = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities', 'Nodes', 'Groups', 'Services', 'FQDNs'];

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

export function checkSpec(spec: Json, path: Path, kind: string, report: Report): void {
  if (kind === 'CiliumNetworkPolicy' && !isAbsent(spec['nodeSelector'])) {
    fail(report, [...path, 'nodeSelector'], 'nodeSelector is for CiliumClusterwideNetworkPolicy only', 'use endpointSelector, or change the kind');
  }
  if (SECTIONS.every((section) => listOf(spec[section]).length === 0)) {
    fail(report, path, 'a rule needs at least one entry in ingress, ingressDeny, egress or egressDeny',
      'to deny everything by default write ingress: [{}]');
  }
  for (const section of SECTIONS) {
    listOf(spec[section]).forEach((entry, index) =>
      checkEntry(entry, [...path, section, index], section, !isAbsent(spec['nodeSelector']), report));
  }
}

function checkEntry(entry: Json, path: Path, section: Section, forNodes: boolean, report: Report): void {
  const prefix = section.startsWith('ingress') ? 'from' : 'to';
  const members = MEMBERS.map((member) => prefix + member);
  const used = members.filter((member) => listOf(entry[member]).length > 0);
  if (used.length > 1) {
    fail(report, path, `${used.join(' and ')} stand in one entry; an entry has one kind of peer`, 'make an entry of each: they are OR-ed');
  }
  if (listOf(entry[`${prefix}Nodes`]).length > 0) {
    fail(report, [...path, `${prefix}Nodes`], `${prefix}Nodes needs node labels, which are off`, `use ${prefix}Entities: [remote-node], or ${prefix}CIDR with the nodes' addresses`);
  }
  if (listOf(entry['toPorts']).length > 0 && listOf(entry['icmps']).length > 0) {
    fail(report, path, 'toPorts and icmps stand in one entry', 'make an entry of each: they are OR-ed');
  }
  warnEmpty(entry, path, members, report);
  if (section === 'ingress') warnNodeIsNotAsked(entry, path, report);
  listOf(entry[`${prefix}CIDRSet`]).forEach((set, index) => checkCidrSet(set, [...path, `${prefix}CIDRSet`, index], report));
  listOf(entry['toPorts']).forEach((item, index) => checkPortRule(item, [...path, 'toPorts', index], section, forNodes, report));
  listOf(entry['icmps']).forEach((item, index) => listOf(item['fields']).forEach((field, at) =>
    checkIcmp(field, [...path, 'icmps', index, 'fields', at], report)));
}

/** A list that is there but empty selects nobody, which is rarely meant. */
function warnEmpty(entry: Json, path: Path, members: readonly string[], report: Report): void {
  for (const member of members) {
    if (!Array.isArray(entry[member]) || listOf(entry[member]).length > 0) continue;
    report({ path: [...path, member], severity: 'warning', name: 'selects-nothing', message: `${member} is empty, so this entry selects nobody`, mend: 'leave it out to mean any peer' });
  }
  listOf(entry['toPorts']).forEach((item, index) => {
    if (listOf(item['ports']).length > 0 || !isAbsent(item['rules'])) return;
    report({ path: [...path, 'toPorts', index], severity: 'warning', name: 'selects-nothing', message: 'no ports are given, so this allows or denies nothing', mend: 'leave toPorts out to mean every port' });
  });
}

/** Its connections pass by the built-in entry. */
function warnNodeIsNotAsked(entry: Json, path: Path, report: Report): void {
  const host = (listOf(entry['fromEntities']) as unknown as string[]).indexOf('host');
  const asks = (item: Json): boolean => listOf(item['serverNames']).length > 0 || !isAbsent(item['terminatingTLS']) || listOf((item['rules'] as Json | undefined)?.['http']).length > 0;
  if (host < 0 || !listOf(entry['toPorts']).some(asks)) return;
  report({ path: [...path, 'fromEntities', host], severity: 'warning', name: 'open-l7', message: 'the node\'s own processes are never asked: every request of theirs passes', mend: 'leave host out' });
}

function checkCidrSet(set: Json, path: Path, report: Report): void {
  if (isAbsent(set['cidr'])) return;
  (listOf(set['except']) as unknown as string[]).forEach((except, index) => {
    if (isInside(String(set['cidr']), except)) return;
    fail(report, [...path, 'except', index], `except ${except} is not inside ${String(set['cidr'])}`);
  });
}

function checkIcmp(field: Json, path: Path, report: Report): void {
  const family: Family = field['family'] === 'IPv6' ? 'IPv6' : 'IPv4';
  const type = field['type'] as number | string;
  if (type === REFUSED_TYPE_NAME) {
    fail(report, [...path, 'type'], `the schema of CiliumNetworkPolicy has no type named ${type}`, `write type: ${icmpType(family, type)}`);
  } else if (icmpType(family, type) === undefined) {
    fail(report, [...path, 'type'], `${family} has no ICMP type ${type}; it has ${icmpTypeNames(family).join(', ')}`,
      icmpType(family === 'IPv4' ? 'IPv6' : 'IPv4', type) === undefined ? undefined : `add family: ${family === 'IPv4' ? 'IPv6' : 'IPv4'}`);
  }
}

function checkPortRule(item: Json, path: Path, section: Section, forNodes: boolean, report: Report): void {
  const ports = listOf(item['ports']);
  ports.forEach((port, index) => checkPort(port, [...path, 'ports', index], report));
  const rules = isAbsent(item['rules']) ? undefined : item['rules'] as Json;
  const kind = rules === undefined ? undefined : ['http', 'kafka', 'dns', 'l7'].find((one) => listOf(rules[one]).length > 0);
  if (!isAbsent(item['listener']) && section.startsWith('ingress')) fail(report, [...path, 'listener'], 'a listener is for egress only');
  if (kind === undefined) {
    if (listOf(item['serverNames']).length > 0 || !isAbsent(item['terminatingTLS'])) checkTlsPorts(ports, path, report);
    return;
  }
  if (!isAbsent(item['listener'])) fail(report, [...path, 'listener'], 'a listener cannot stand beside L7 rules');
  if (listOf(item['serverNames']).length > 0 && isAbsent(item['terminatingTLS'])) {
    fail(report, [...path, 'serverNames'], 'serverNames beside L7 rules need terminatingTLS: the names are read from TLS, the rules need it opened');
  }
  if (kind === 'dns' && section.startsWith('ingress')) fail(report, [...path, 'rules', 'dns'], 'DNS rules are for egress only');
  if (kind !== 'dns' && forNodes) fail(report, [...path, 'rules'], `${kind} rules cannot be applied to nodes`);
  checkL7Ports(ports, path, kind, report);
}

function checkPort(port: Json, path: Path, report: Report): void {
  const text = String(port['port']);
  const end = Number(port['endPort'] ?? 0);
  if (isPortName(text)) return;
  const number = parsePortNumber(text);
  if (end > 0 && end < number) fail(report, [...path, 'endPort'], `endPort ${end} is below port ${number}`);
  if (String(number) !== text) {
    report({ path: [...path, 'port'], severity: 'warning', name: 'octal-port', message: `port "${text}" begins with 0 and is read as octal: ${number}`, mend: `write "${Number(text)}"` });
  }
}

function checkL7Ports(ports: readonly Json[], path: Path, kind: string, report: Report): void {
  if (ports.length === 0) fail(report, path, `${kind} rules need at least one port`);
  ports.forEach((port, index) => {
    const at = [...path, 'ports', index];
    const protocol = String(port['protocol'] ?? 'ANY');
    if (!isPortName(String(port['port'])) && parsePortNumber(String(port['port'])) === 0) {
      fail(report, [...at, 'port'], `${kind} rules need a port of their own; 0 means every port`);
    }
    if (kind === 'dns') {
      if (Number(port['endPort'] ?? 0) > 0) fail(report, [...at, 'endPort'], 'DNS rules take single ports, no ranges');
    } else if (protocol !== 'TCP') {
      fail(report, at, `${kind} rules need protocol TCP; ${formatPath(at)} has ${protocol}`, 'write protocol: TCP');
    }
  });
}

function checkTlsPorts(ports: readonly Json[], path: Path, report: Report): void {
  if (ports.length === 0) fail(report, path, 'TLS is read on ports: none are given', 'add ports: [{port: "443", protocol: TCP}]');
  ports.forEach((port, index) => {
    const protocol = String(port['protocol'] ?? 'ANY');
    if (protocol !== 'TCP' && protocol !== 'ANY') fail(report, [...path, 'ports', index], `TLS is read from TCP; ${formatPath([...path, 'ports', index])} has ${protocol}`, 'write protocol: TCP');
  });
}
