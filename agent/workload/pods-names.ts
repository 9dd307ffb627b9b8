// The fields of a Pod that say how it is called and how it asks for names: their shapes, and what becomes of them. What kubelet does with
// them: hosts.ts, agent/names/resolv.ts.
import { isIP } from 'node:net';
import { isDnsName } from '../directory/kinds.ts';
import { clusterDomain } from '../names/domain.ts';
import { choice, fail, flag, isObject, list, text, type Path, type Report, type Shape } from '../policy/check.ts';
import { dnsLabel, fieldsOf } from './pods-shape.ts';
import type { PodDns, PodRow } from './tables.ts';

/** Checked by the shapes below; null counts as absent. */
export interface NamesSpec {
  readonly hostname?: string | null;
  readonly subdomain?: string | null;
  readonly setHostnameAsFQDN?: boolean | null;
  readonly hostAliases?: readonly { readonly ip: string; readonly hostnames?: readonly string[] | null }[] | null;
  readonly dnsPolicy?: 'ClusterFirst' | 'ClusterFirstWithHostNet' | 'Default' | 'None' | null;
  readonly dnsConfig?: {
    readonly nameservers?: readonly string[] | null;
    readonly searches?: readonly string[] | null;
    readonly options?: readonly { readonly name: string; readonly value?: string | null }[] | null;
  } | null;
}

/** Of Kubernetes' own checks (validatePodDNSConfig), which are those of glibc and more. */
export const mostServers = 3;
const mostSearches = 32;
const mostSearchLength = 2_048;
const mostAliases = 256;
const mostOptions = 32;
/** Of the kernel: __NEW_UTS_LEN. */
const mostHostname = 64;

const address = (what: string): Shape => text(what, { test: (one) => (isIP(one) !== 0 ? undefined : 'must be an IP address') });
/** With a dot at its end, with underscores, or the root. */
const isSearch = (name: string): boolean => name === '.' || isDnsName(name.replace(/\.$/, '').replaceAll('_', 'x'));
const domain: Shape = text('a search domain', { test: (name) => (isSearch(name) ? undefined : 'must be a DNS name') });
/** They become words of a line of resolv.conf. */
const word = (what: string): Shape => text(what, { max: 64, test: (one) => (/^[\w.:/-]+$/.test(one) ? undefined : 'must be one word') });

const searches: Shape = (value, path, report) => {
  list('searches', domain, { max: mostSearches })(value, path, report);
  if (Array.isArray(value) && value.join(' ').length > mostSearchLength) fail(report, path, `searches are ${value.join(' ').length} characters together; the most is ${mostSearchLength}`);
};

export const nameFields: Readonly<Record<string, Shape>> = {
  hostname: dnsLabel('hostname'), subdomain: dnsLabel('subdomain'), setHostnameAsFQDN: flag('setHostnameAsFQDN'),
  hostAliases: list('hostAliases', fieldsOf('a hostAlias', {
    ip: address('ip'), hostnames: list('hostnames', text('a hostname', { test: (name) => (isDnsName(name) ? undefined : 'must be a DNS name') }), { max: mostAliases }),
  }, {}, { required: ['ip'], form: 'write {ip: 192.0.2.1, hostnames: [NAME]}' }), { max: mostAliases }),
  dnsPolicy: choice('dnsPolicy', ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None']),
  dnsConfig: fieldsOf('dnsConfig', {
    nameservers: list('nameservers', address('a nameserver'), { max: mostServers }), searches,
    options: list('options', fieldsOf('an option', { name: word('name'), value: word('value') }, {}, { required: ['name'], form: 'write {name: ndots, value: "2"}' }), { max: mostOptions }),
  }, {}, { form: 'write {nameservers: [192.0.2.1]}' }),
};

/** What holds between them. */
export function checkNames(spec: Record<string, unknown>, path: Path, report: Report): void {
  const config = spec['dnsConfig'];
  const servers = isObject(config) ? config['nameservers'] : undefined;
  if (spec['dnsPolicy'] === 'None' && !(Array.isArray(servers) && servers.length > 0)) {
    fail(report, [...path, 'dnsPolicy'], 'with dnsPolicy None there is no name server', 'give one in dnsConfig.nameservers, or delete dnsPolicy');
  }
  if (spec['setHostnameAsFQDN'] === true && typeof spec['subdomain'] !== 'string') {
    report({ path: [...path, 'setHostnameAsFQDN'], message: 'setHostnameAsFQDN changes nothing without a subdomain', severity: 'warning' });
  }
}

/** Kubernetes refuses such a pod when it starts. */
export function longHostname(pod: PodRow): string | undefined {
  const name = hostnameOf(pod);
  return name.length <= mostHostname ? undefined : `its hostname would be ${name}, ${name.length} characters; the most is ${mostHostname}`;
}

/** Of a row: absent is what has no say. */
export function namesOf(spec: NamesSpec): Pick<PodRow, 'hostname' | 'subdomain' | 'fqdnHostname' | 'hostAliases' | 'dns'> {
  const { hostname, subdomain, setHostnameAsFQDN, hostAliases } = spec;
  const dns = dnsOf(spec);
  return {
    ...(typeof hostname === 'string' ? { hostname } : {}), ...(typeof subdomain === 'string' ? { subdomain } : {}),
    ...(setHostnameAsFQDN === true && typeof subdomain === 'string' ? { fqdnHostname: true as const } : {}),
    ...(hostAliases === undefined || hostAliases === null || hostAliases.length === 0 ? {} : { hostAliases: hostAliases.map(({ ip, hostnames }) => ({ ip, hostnames: hostnames ?? [] })) }),
    ...(dns === undefined ? {} : { dns }),
  };
}

/** A policy of ClusterFirst, for pods that are not in the node's network, is ClusterFirstWithHostNet. */
function dnsOf({ dnsPolicy, dnsConfig }: NamesSpec): PodDns | undefined {
  const policy = dnsPolicy === 'None' || dnsPolicy === 'Default' ? dnsPolicy : 'ClusterFirst';
  const { nameservers, searches: domains, options } = dnsConfig ?? {};
  if (policy === 'ClusterFirst' && [nameservers, domains, options].every((list_) => (list_ ?? []).length === 0)) return undefined;
  return {
    policy, servers: nameservers ?? [], searches: domains ?? [],
    options: (options ?? []).map(({ name, value }) => (typeof value === 'string' ? { name, value } : { name })),
  };
}

/** The name below which it is found, where it has a subdomain: that of a headless Service, as a rule. */
export const domainOf = ({ namespace, subdomain }: Pick<PodRow, 'namespace' | 'subdomain'>): string | undefined =>
  (subdomain === undefined ? undefined : `${subdomain}.${namespace}.svc.${clusterDomain}`);

/** A label: of a longer pod name its first 63 characters (kubelet, truncatePodHostnameIfNeeded). */
const mostLabel = 63;
export const labelOf = ({ name, hostname }: Pick<PodRow, 'name' | 'hostname'>): string => hostname ?? name.slice(0, mostLabel).replace(/[-.]+$/, '');

/** What gethostname says inside. */
export const hostnameOf = (pod: Pick<PodRow, 'namespace' | 'name' | 'hostname' | 'subdomain' | 'fqdnHostname'>): string =>
  (pod.fqdnHostname === true ? `${labelOf(pod)}.${domainOf(pod)!}` : labelOf(pod));
