// Test only: random cases from a seed, small enough that every kind of entry meets every kind of peer often.
import type { CaseFlow, CaseParty, PolicyCase } from './offline.ts';
import { randomL7Item, randomRequest } from './random-l7.ts';

type Json = Record<string, unknown>;

/** A 32-bit generator (mulberry32): the same seed, the same cases. */
export function makeRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    chance: (share) => next() < share,
    pick: (from) => from[below(from.length)]!,
    some: (least, most, make) => Array.from({ length: least + below(most - least + 1) }, make),
  };
}

export interface Random {
  below(limit: number): number;
  chance(share: number): boolean;
  pick<T>(from: readonly T[]): T;
  some<T>(least: number, most: number, make: () => T): T[];
}

const NAMESPACES = ['one', 'two'];
const KEYS = ['app', 'k8s:app', 'any:tier', 'tier'];
const VALUES = ['a', 'b', 'c'];
const SCOPING_KEYS = ['io.kubernetes.pod.namespace', 'k8s:io.kubernetes.pod.namespace', 'io.cilium.k8s.namespace.labels.env',
  'io.cilium.k8s.policy.serviceaccount', 'k8s:io.cilium.k8s.policy.cluster'];
const SCOPING_VALUES = ['one', 'two', 'dev', 'default', 'elsewhere'];
const RESERVED = ['host', 'remote-node', 'kube-apiserver', 'health', 'ingress', 'init', 'unmanaged', 'world', 'world-ipv4', 'world-ipv6'];
const ENTITIES = ['all', 'world', 'cluster', 'host', 'init', 'ingress', 'unmanaged', 'remote-node', 'health', 'none', 'kube-apiserver'];
const CIDRS = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '128.0.0.0/1', '::/0', '2001:db8::/32', '2001:db8:1::/48', '2001:db8::1/128'];
const ADDRESSES = ['10.1.2.3', '10.1.2.4', '10.1.9.9', '10.9.9.9', '11.0.0.1', '192.0.2.1', '2001:db8::1', '2001:db8:1::5', '2001:db9::1'];
const PORTS = ['0', '53', '80', '443', '8080', 'http', 'HTTP', 'dns'];
const NUMBERS = [0, 1, 52, 53, 54, 80, 81, 443, 8080, 9000, 65535];
const TRANSPORTS = ['TCP', 'UDP', 'SCTP'];
const PORT_NAMES = [{ name: 'http', port: 80 }, { name: 'http', port: 8080 }, { name: 'dns', port: 53 }];

/** `l7`: some items of toPorts have L7 rules, and flows are requests. */
export function randomCase(random: Random, id: string, l7 = false): PolicyCase {
  const ipv6 = random.chance(0.6);
  const endpoints = Array.from({ length: 4 }, (_, index) => ({
    name: `p${index}`, namespace: random.pick(NAMESPACES),
    labels: Object.fromEntries([['app', random.pick(VALUES)], ['tier', random.pick(VALUES)], ['pod-template-hash', 'x']].filter(() => random.chance(0.7))),
    serviceAccount: random.pick(['default', 'a']),
    namedPorts: random.chance(0.5) ? [{ ...random.pick(PORT_NAMES), protocol: random.pick(['TCP', 'UDP'] as const) }] : [],
  }));
  const parties: (() => CaseParty)[] = [
    () => { const pod = random.pick(endpoints); return `${pod.namespace}/${pod.name}`; },
    () => ({ entity: random.pick(ipv6 ? RESERVED : RESERVED.filter((name) => !name.startsWith('world-'))) }),
    () => ({ ip: random.pick(ipv6 ? ADDRESSES : ADDRESSES.filter((text) => !text.includes(':'))) }),
  ];
  const pod = parties[0]!;
  const flow = (): CaseFlow => {
    const direction = random.pick(['ingress', 'egress', 'both'] as const);
    const peer = direction === 'both' ? pod() : random.pick(parties)();
    const protocol = random.pick([...TRANSPORTS, 'TCP', 'ICMP', 'ICMPv6']);
    const ends = direction === 'ingress' ? { from: peer, to: pod() } : { from: pod(), to: peer };
    if (l7) return { direction, ...ends, protocol: 'TCP', port: random.pick([80, 8080]), ...(random.chance(0.9) ? { request: randomRequest(random) } : {}) };
    return { direction, ...ends, protocol, ...(protocol.startsWith('ICMP') ? { icmpType: random.pick([3, 8, 128]) } : { port: random.pick(NUMBERS) }) };
  };
  return {
    id, ipv6, endpoints,
    namespaces: { one: { labels: { env: 'dev' } }, two: { labels: { env: 'prod' } } },
    policies: random.some(1, 4, () => randomPolicy(random, l7)),
    cidrGroups: [0, 1].map((index) => randomGroup(random, index)),
    flows: random.some(10, 20, flow),
  };
}

function randomPolicy(random: Random, l7: boolean): Json {
  const spec = randomSpec(random, l7);
  const clusterwide = random.chance(0.3);
  return {
    apiVersion: 'cilium.io/v2',
    kind: clusterwide ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy',
    metadata: { name: `p${random.below(1000)}`, ...(clusterwide ? {} : { namespace: random.pick(NAMESPACES) }) },
    ...(random.chance(0.2) ? { specs: [spec, randomSpec(random, l7)] } : { spec }),
  };
}

function randomSpec(random: Random, l7: boolean): Json {
  const sections = ['ingress', 'egress', 'ingressDeny', 'egressDeny'].filter(() => random.chance(0.45));
  return {
    endpointSelector: random.chance(0.3) ? {} : randomSelector(random),
    ...Object.fromEntries(sections.map((section) =>
      [section, random.some(0, 3, () => randomEntry(random, section.startsWith('ingress') ? 'from' : 'to', l7 && !section.endsWith('Deny')))])),
    ...(random.chance(0.25) ? { enableDefaultDeny: { [random.pick(['ingress', 'egress'])]: random.chance(0.5) } } : {}),
  };
}

function randomSelector(random: Random): Json {
  const [keys, values] = random.chance(0.25) ? [SCOPING_KEYS, SCOPING_VALUES] : [KEYS, VALUES];
  const labels = random.some(0, 2, () => [random.pick(keys), random.pick(values)]);
  if (random.chance(0.08)) labels.push([`reserved:${random.pick(RESERVED)}`, '']);
  const expressions = random.some(0, 1, () => {
    const operator = random.pick(['In', 'NotIn', 'Exists', 'DoesNotExist']);
    return { key: random.pick(keys), operator, ...(operator.endsWith('In') ? { values: random.some(1, 2, () => random.pick(values)) } : {}) };
  });
  return { matchLabels: Object.fromEntries(labels), matchExpressions: expressions };
}

function randomEntry(random: Random, prefix: 'from' | 'to', l7: boolean): Json {
  const members: Record<string, () => Json> = {
    none: () => ({}),
    endpoints: () => ({ [`${prefix}Endpoints`]: random.some(0, 2, () => randomSelector(random)) }),
    entities: () => ({ [`${prefix}Entities`]: random.some(1, 2, () => random.pick(ENTITIES)) }),
    cidr: () => ({ [`${prefix}CIDR`]: random.some(1, 2, () => random.pick(CIDRS)) }),
    cidrSet: () => ({ [`${prefix}CIDRSet`]: random.some(1, 2, () => ({ ...randomCidr(random), except: random.some(0, 2, () => random.pick(CIDRS)) })) }),
    empty: () => ({ [`${prefix}Endpoints`]: [{}], [`${prefix}CIDR`]: [] }),
  };
  const peers = members[random.pick(['none', 'endpoints', 'endpoints', 'endpoints', 'entities', 'cidr', 'cidrSet', 'cidrSet', 'empty'])]!();
  if (random.chance(0.4)) return peers;
  if (random.chance(0.25)) {
    return { ...peers, icmps: [{ fields: random.some(0, 2, () => ({ type: random.pick([3, 8, 128]), ...(random.chance(0.5) ? { family: random.pick(['IPv4', 'IPv6']) } : {}) })) }] };
  }
  if (l7) return { ...peers, toPorts: random.some(1, 2, () => (random.chance(0.8) ? randomL7Item(random) : { ports: [{ port: '80', protocol: 'TCP' }] })) };
  return { ...peers, toPorts: random.some(0, 2, () => ({ ports: random.some(0, 3, () => randomPort(random)) })) };
}

/** A prefix, or a group that is there or not. */
function randomCidr(random: Random): Json {
  if (random.chance(0.7)) return { cidr: random.pick(CIDRS) };
  if (random.chance(0.5)) return { cidrGroupRef: random.pick(['g0', 'g1', 'none']) };
  const operator = random.pick(['In', 'NotIn', 'Exists', 'DoesNotExist']);
  const expression = { key: 'team', operator, ...(operator.endsWith('In') ? { values: [random.pick(VALUES)] } : {}) };
  return { cidrGroupSelector: random.chance(0.5) ? { matchLabels: { [random.pick(['team', 'cidrgroup:team'])]: random.pick(VALUES) } } : { matchExpressions: [expression] } };
}

const randomGroup = (random: Random, index: number): Json => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: { name: `g${index}`, ...(random.chance(0.7) ? { labels: { team: random.pick(VALUES) } } : {}) },
  spec: { externalCIDRs: random.some(0, 3, () => random.pick(CIDRS)) },
});

function randomPort(random: Random): Json {
  return {
    port: random.pick(PORTS),
    ...(random.chance(0.7) ? { protocol: random.pick([...TRANSPORTS, 'ANY']) } : {}),
    ...(random.chance(0.25) ? { endPort: random.pick(NUMBERS) } : {}),
  };
}
