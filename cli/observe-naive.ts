// For tests: what the filter flags of `observe` mean, a second time and as plainly as possible: on flows as JSON, flag by flag, with none of
// the code of filters/. And flows at random, made of recorded ones.
import { BlockList, isIPv4 } from 'node:net';

/* eslint-disable @typescript-eslint/no-explicit-any */
export type JsonFlow = Record<string, any>;
export interface Given { readonly flag: string; readonly value?: string; readonly not?: boolean }
type Holds = (flow: JsonFlow, value: string) => boolean;
type Side = 'source' | 'destination';

const typeNumbers: Record<string, number> = { drop: 1, debug: 2, capture: 3, trace: 4, 'policy-verdict': 5, 'trace-sock': 7, l7: 129, agent: 130 };
const subTypes = ['to-endpoint', 'to-proxy', 'to-host', 'to-stack', 'to-overlay', 'from-endpoint', 'from-proxy', 'from-host', 'from-stack', 'from-overlay', 'from-network', 'to-network', 'from-crypto', 'to-crypto'];
const reserved: Record<string, number> = { host: 1, world: 2, unmanaged: 3, health: 4, init: 5, 'remote-node': 6, 'kube-apiserver': 7, ingress: 8 };

const prefixed = (namespace = '', name = '', value: string): boolean => {
  const [wantedNamespace, prefix] = value.includes('/') ? value.split(/\/(.*)/s) as [string, string] : ['default', value];
  return (namespace !== '' || name !== '') && (wantedNamespace === '' || namespace === wantedNamespace) && name.startsWith(prefix);
};

const wildcard = (name: string, pattern: string): boolean =>
  new RegExp(`^${pattern.toLowerCase().split('*').map((part) => part.replaceAll('.', '[.]')).join('[-.0-9a-z]*')}$`).test(name.toLowerCase());

function inRange(address: string | undefined, value: string): boolean {
  if (!address) return false;
  const [prefix = '', length] = value.split('/');
  const family = isIPv4(prefix) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  if (length === undefined) list.addAddress(prefix, family);
  else list.addSubnet(prefix, Number(length), family);
  return isIPv4(address) === isIPv4(prefix) && list.check(address, family);
}

/** The forms that the tests use: `a`, `!a`, `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, with commas between. */
function selected(labels: readonly string[] = [], selector: string): boolean {
  const valuesOf = (key: string): string[] => labels.filter((label) => label.split('=')[0] === key || label.split('=')[0]!.replace(/^[^:]*:/, '') === key).map((label) => label.split('=')[1] ?? '');
  return selector.split(/,(?![^(]*\))/).every((part) => {
    const set = /^(\S+) (in|notin) \((.*)\)$/.exec(part);
    if (set !== null) return valuesOf(set[1]!).some((value) => set[3]!.split(',').includes(value)) === (set[2] === 'in');
    const pair = /^([^!=]+)(!?)=(.*)$/.exec(part);
    if (pair !== null) return valuesOf(pair[1]!).includes(pair[3]!) === (pair[2] === '');
    return part.startsWith('!') ? valuesOf(part.slice(1)).length === 0 : valuesOf(part).length > 0;
  });
}

/** Flags that mean one end, by what follows --from-, --to- or --. */
export const endFlags: Readonly<Record<string, (flow: JsonFlow, side: Side, value: string) => boolean>> = {
  pod: (flow, side, value) => prefixed(flow[side]?.namespace, flow[side]?.pod_name, value),
  service: (flow, side, value) => prefixed(flow[`${side}_service`]?.namespace, flow[`${side}_service`]?.name, value),
  ip: (flow, side, value) => inRange(flow['IP']?.[side], value),
  port: (flow, side, value) => { const ports = flow['l4']?.TCP ?? flow['l4']?.UDP ?? flow['l4']?.SCTP; return ports !== undefined && (ports[`${side}_port`] ?? 0) === Number(value); },
  identity: (flow, side, value) => flow[side] !== undefined && (flow[side].identity ?? 0) === (reserved[value] ?? Number(value)),
  label: (flow, side, value) => selected(flow[side]?.labels, value),
  workload: (flow, side, value) => {
    const [kind, name] = value.includes('/') ? value.split('/') as [string, string] : ['', value];
    return (flow[side]?.workloads ?? []).some((one: JsonFlow) => (kind === '' || one['kind'] === kind) && (name === '' || one['name'] === name));
  },
  fqdn: (flow, side, value) => (flow[`${side}_names`] ?? []).some((name: string) => wildcard(name.replace(/\.$/, ''), value.replace(/\.$/, ''))),
  cluster: (flow, side, value) => flow[side] !== undefined && (flow[side].cluster_name ?? '') === value,
};

const http = (holds: (record: JsonFlow, value: string) => boolean): Holds => (flow, value) => flow['l7']?.http !== undefined && holds(flow['l7'].http, value);

const bothFlags: Readonly<Record<string, Holds>> = {
  verdict: (flow, value) => (flow['verdict'] ?? 'VERDICT_UNKNOWN') === value,
  'drop-reason-desc': (flow, value) => flow['verdict'] === 'DROPPED' && flow['drop_reason_desc'] === value,
  protocol: (flow, value) => (value === 'icmp' ? /ICMPv[46]/ : new RegExp(`^${value}$`, 'i')).test(Object.keys(/^(dns|http|kafka)$/i.test(value) ? flow['l7'] ?? {} : flow['l4'] ?? {}).find((key) => (value === 'icmp' ? /ICMP/ : new RegExp(`^${value}$`, 'i')).test(key)) ?? ''),
  'tcp-flags': (flow, value) => value.toUpperCase().split(',').every((flag) => flow['l4']?.TCP?.flags?.[flag] === true),
  type: (flow, value) => {
    const [name = '', sub] = value.split(':');
    const { type = 0, sub_type: subType = 0 } = flow['event_type'] ?? {};
    return flow['event_type'] !== undefined && type === (typeNumbers[name] ?? Number(name)) && (sub === undefined || subType === (subTypes.includes(sub) ? subTypes.indexOf(sub) : Number(sub)));
  },
  'traffic-direction': (flow, value) => flow['traffic_direction'] === value.toUpperCase(),
  uuid: (flow, value) => flow['uuid'] === value,
  'node-name': (flow, value) => {
    const full = (name: string): string => (name.includes('/') ? name.replace(/^\//, '*/').replace(/\/$/, '/*') : `default/${name}`);
    return (flow['node_name'] ?? '') !== '' && wildcard(full(flow['node_name']), full(value));
  },
  'node-label': (flow, value) => selected(flow['node_labels'], value),
  'snat-ip': (flow, value) => inRange(flow['IP']?.source_xlated, value),
  ipv4: (flow) => flow['IP']?.ipVersion === 'IPv4',
  ipv6: (flow) => flow['IP']?.ipVersion === 'IPv6',
  'ip-version': (flow, value) => (flow['IP']?.ipVersion ?? 'IP_NOT_USED') === { v4: 'IPv4', v6: 'IPv6', none: 'IP_NOT_USED' }[value],
  interface: (flow, value) => flow['interface']?.name === value,
  'http-status': http(({ code = 0 }, value) => (value.endsWith('+') ? String(code).length === 3 && String(code).startsWith(value.slice(0, -1)) : String(code) === value)),
  'http-method': http(({ method = '' }, value) => method.toUpperCase() === value.toUpperCase()),
  'http-path': http(({ url = '' }, value) => new RegExp(value).test((/^[a-z]+:\/\/[^/]*([^?#]*)/.exec(url)?.[1] ?? /^[^?#]*/.exec(url)![0]) || '/')),
  'http-url': http(({ url = '' }, value) => new RegExp(value).test(url)),
  'http-header': http(({ headers = [] }, value) => headers.some((one: JsonFlow) => `${one['key']}:${one['value']}` === value)),
  'trace-id': (flow, value) => flow['trace_context']?.parent?.trace_id === value,
  'ip-trace-id': (flow, value) => String(flow['ip_trace_id']?.trace_id ?? '') === value,
  encrypted: (flow) => flow['IP']?.encrypted === true,
  unencrypted: (flow) => flow['IP'] !== undefined && flow['IP'].encrypted !== true,
};
/** -4 and -6 and --ip-version, --encrypted and its opposite, are one field each: their values are alternatives. */
const fieldOf = (flag: string): string => (/^ip(v4|v6|-version)$/.test(flag) ? 'ip version' : flag);

/** One of the two filters: `either` is the end that flags without a direction mean in it. */
function holdsOn(flow: JsonFlow, given: readonly Given[], either: Side): boolean {
  const alternatives = new Map<string, boolean>();
  const add = (field: string, holds: boolean): void => { alternatives.set(field, holds || (alternatives.get(field) ?? false)); };
  const sideOf = (flag: string): [Side, string] => (flag.startsWith('from-') ? ['source', flag.slice(5)] : flag.startsWith('to-') ? ['destination', flag.slice(3)] : [either, flag]);
  for (const side of ['source', 'destination'] as const) {
    const of = (what: RegExp): Given[] => given.filter(({ flag }) => sideOf(flag)[0] === side && what.test(sideOf(flag)[1]));
    const namespaces = of(/^(all-)?namespace$/).map(({ flag, value }) => (/all-namespaces?$/.test(flag) ? '' : value!)).concat(of(/^all-namespaces$/).map(() => ''));
    const names = of(/^(pod|service)$/);
    if (names.length === 0) for (const namespace of namespaces) add(`${side} pod`, endFlags['pod']!(flow, side, `${namespace}/`));
    for (const { flag, value } of names) {
      const what = sideOf(flag)[1];
      for (const one of namespaces.length === 0 ? [value!] : namespaces.map((namespace) => `${namespace}/${value}`)) add(`${side} ${what}`, endFlags[what]!(flow, side, one));
    }
    for (const { flag, value } of of(/^(ip|port|identity|label|workload|fqdn|cluster)$/)) add(`${side} ${sideOf(flag)[1]}`, endFlags[sideOf(flag)[1]]!(flow, side, value!));
  }
  for (const { flag, value = '' } of given) if (flag in bothFlags) add(fieldOf(flag), bothFlags[flag]!(flow, value));
  return [...alternatives.values()].every((holds) => holds);
}

export function naive(flow: JsonFlow, given: readonly Given[]): boolean {
  const side = (not: boolean): boolean | undefined => {
    const own = given.filter((one) => (one.not === true) === not);
    return own.length === 0 ? undefined : holdsOn(flow, own, 'source') || holdsOn(flow, own, 'destination');
  };
  return (side(false) ?? true) && !(side(true) ?? false);
}

/** A number below `below`, the same sequence for the same seed (xorshift32). */
export function randomOf(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Fields of recorded flows, each of another one, with addresses and ports that meet the tests' prefixes at their edges. */
export function randomFlows(recorded: readonly JsonFlow[], count: number, random: (below: number) => number): JsonFlow[] {
  const names = [...new Set(recorded.flatMap((flow) => Object.keys(flow)))];
  const addresses = ['10.0.0.1', '10.0.0.255', '10.0.1.0', '9.255.255.255', 'fd00::', 'fd00::1', 'fd00:0:0:1::', 'fd00::ffff:ffff:ffff:ffff', 'fcff:ffff::1', '2001:db8::80', '2001:db8::7f', '::1'];
  const pick = <Value>(list: readonly Value[]): Value => list[random(list.length)]!;
  return Array.from({ length: count }, (_, index) => {
    const flow: JsonFlow = {};
    for (const name of names) { const value = pick(recorded)[name]; if (value !== undefined) flow[name] = structuredClone(value); }
    if (random(3) === 0) flow['IP'] = { ...flow['IP'], source: pick(addresses), destination: pick(addresses) };
    if (random(3) === 0) flow['l4'] = { [pick(['TCP', 'UDP', 'SCTP'])]: { source_port: pick([1, 80, 1023, 65_535]), destination_port: pick([1, 80, 443, 65_535]) } };
    return { ...flow, uuid: `r-${index}` };
  });
}
