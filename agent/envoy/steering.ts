// The way of connections through Envoy: marks, routes by them, the device that both directions come in at (bpf/from_proxy.c), and the
// programs that find Envoy's listeners. Marks, tables and interfaces are by the instance's name. All of it outlives the agent.
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Datapath } from '../datapath/maps.ts';
import type { Hooks } from '../datapath/hooks.ts';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { createVeth, deleteLink, links, setMtu, setUp, silence, withoutNeighbours, type Link } from '../kernel/link.ts';
import { tolerate, type Netlink } from '../kernel/netlink.ts';
import { addDefaultRoute, addRule, deleteDefaultRoute, deleteRule, outputsOf, type DefaultRoute, type Family, type Rule } from '../kernel/rule.ts';

export interface Marks {
  /** Of listeners: what they accept inherits it. */
  readonly downstream: number;
  /** Of Envoy's own connections: what is judged already. */
  readonly egressDone: number;
  readonly bothDone: number;
}

export interface SteeringOptions {
  readonly instance: Instance;
  /** In the network namespace where Envoy is, as the calling thread. */
  readonly netlink: Netlink;
  readonly datapath: Pick<Datapath, 'proxies' | 'proxyListeners'>;
  readonly hooks: Pick<Hooks, 'attachProxy' | 'attachFind' | 'attachListens' | 'detachProxySockets'>;
  /** As workloads have it: Envoy sends in their place. */
  readonly mtu: number;
  /** Those that Envoy's listeners have. */
  readonly ports: { readonly first: number; readonly count: number; /** One of them: the proxy of DNS by TCP. */ readonly dns: number };
}

export interface Steering {
  readonly marks: Marks;
  /** Whether somebody listens, as the kernel sees it. */
  readonly listening: (port: number) => { readonly ipv4: boolean; readonly ipv6: boolean };
  /** Which sockets do: other ones, another text; '' unless there is one of each family. */
  readonly sockets: (port: number) => string;
  /** To be called before Envoy listens, and before the proxy of DNS does. `cgroup`: path of the one that it is in. */
  readonly attachListenHook: (cgroup: string) => void;
  readonly attachDnsListenHook: (cgroup: string) => void;
  /** Takes all of it away: connections through Envoy end, new ones are refused. */
  readonly stop: () => void;
}

const families: readonly Family[] = [4, 6];
/** Where Envoy is: that of the calling thread. */
export const ownNetns = '/proc/thread-self/ns/net';
const inet = { ipv4: 2, ipv6: 10 } as const;
/** Before those of others: nobody else's packets bear these marks. */
const priority = 101;
/** Bits of a mark and of a table's number. `from`: all three of Envoy's own. */
const kinds = { toProxy: 1, from: 4, downstream: 4, egressDone: 5, bothDone: 6 } as const;

/** Envoy's packets go out at the first, and come in at the second. */
export const proxyInterfaces = (instance: Instance): readonly [string, string] => [`${instance.interfacePrefix}px0`, `${instance.interfacePrefix}px1`];

/** 12 bits of the name, away from those that kube-proxy, Cilium and Tailscale use. */
function numbersOf({ name }: Instance) {
  const digest = createHash('sha256').update(name).digest().readUInt16BE(0) >>> 4;
  const mark = (kind: keyof typeof kinds): number => (digest >>> 4) * 2 ** 24 + (digest & 15) * 16 + kinds[kind];
  const table = 0x57000000 + digest * 16;
  return {
    marks: { downstream: mark('downstream'), egressDone: mark('egressDone'), bothDone: mark('bothDone') },
    toProxy: mark('toProxy'), from: mark('from'), fromMask: 0xfffffffc,
    tables: { up: table + 1, out: table + 2, back: table + 3 },
  };
}

export function startSteering({ instance, netlink, datapath, hooks, mtu, ports }: SteeringOptions): Steering {
  const { marks, toProxy, tables } = numbersOf(instance);
  const [outward, inward] = ensureDevices(netlink, instance, mtu, [tables.out, tables.back]);
  hooks.attachProxy({ ifindex: inward.index, name: inward.name });
  for (const family of families) {
    addDefaultRoute(netlink, { family, table: tables.back, kind: 'unicast', output: inward.index });
    addDefaultRoute(netlink, routeUp(netlink, instance, family));
    addDefaultRoute(netlink, { family, table: tables.out, kind: 'unicast', output: outward.index });
  }
  for (const rule of rulesOf(instance)) addRule(netlink, rule);
  datapath.proxies.set(0, {
    ifindex: inward.index, to_proxy: toProxy, downstream: marks.downstream, egress_done: marks.egressDone, both_done: marks.bothDone,
    first_port: ports.first, ports: ports.count, mac: inward.mac, dns_port: ports.dns,
  });
  hooks.attachFind(ownNetns);
  const socketOf = (port: number, family: number): bigint | undefined => datapath.proxyListeners.get({ port, family });
  return {
    marks,
    listening: (port) => ({ ipv4: socketOf(port, inet.ipv4) !== undefined, ipv6: socketOf(port, inet.ipv6) !== undefined }),
    sockets: (port) => {
      const [ipv4, ipv6] = [socketOf(port, inet.ipv4), socketOf(port, inet.ipv6)];
      return ipv4 === undefined || ipv6 === undefined ? '' : `${ipv4} ${ipv6}`;
    },
    attachListenHook: (cgroup) => { hooks.attachListens(cgroup); },
    attachDnsListenHook: (cgroup) => { hooks.attachListens(cgroup, 'dns_listens'); },
    stop: () => {
      datapath.proxies.set(0, { ifindex: 0, to_proxy: 0, downstream: 0, egress_done: 0, both_done: 0, first_port: 0, ports: 0, mac: new Uint8Array(6), dns_port: 0 });
      hooks.detachProxySockets();
      removeSteering(netlink, instance);
    },
  };
}

/** What an agent left of it, if it did. The other routes go with the interfaces. */
export function removeSteering(netlink: Netlink, instance: Instance): void {
  for (const rule of rulesOf(instance)) deleteRule(netlink, rule);
  for (const family of families) deleteDefaultRoute(netlink, routeUp(netlink, instance, family));
  deleteLink(netlink, proxyInterfaces(instance)[0]);
}

function ensureDevices(netlink: Netlink, instance: Instance, mtu: number, tables: readonly number[]): readonly [Link, Link] {
  const names = proxyInterfaces(instance);
  tolerate(['EEXIST'], () => { createVeth(netlink, { name: names[0], mtu, peer: { name: names[1] } }); });
  const all = links(netlink);
  const ends = names.map((name) => all.find((link) => link.name === name)!) as [Link, Link];
  const stranger = tables.flatMap((table) => outputsOf(netlink, table)).find((output) => !ends.some(({ index }) => index === output));
  if (stranger !== undefined) {
    throw new ConfigError(`the routing table of instance ${instance.name} is in use, for interface ${all.find(({ index }) => index === stranger)?.name ?? stranger}`, 'give the instance another name');
  }
  for (const { index, name } of ends) {
    silence(netlink, index, name);
    setMtu(netlink, index, mtu, name);
    withoutNeighbours(netlink, index, name);
    configure(name);
    setUp(netlink, index, name);
  }
  return ends;
}

/** Of weir's own devices alone. A packet for Envoy may have any source: the way back to it is looked up with its mark, see `ways`. */
function configure(name: string): void {
  const settings: Readonly<Record<string, string>> = {
    'ipv4/forwarding': '1', 'ipv4/src_valid_mark': '1', 'ipv4/rp_filter': '0', 'ipv6/disable_ipv6': '0', 'ipv6/accept_ra': '0', 'ipv6/forwarding': '1',
  };
  for (const [key, value] of Object.entries(settings)) {
    const [family, setting] = key.split('/');
    writeFileSync(`/proc/sys/net/${family}/conf/${name}/${setting}`, value);
  }
}

/** What is for Envoy goes up the stack. Its source leads back to where it came in at, which is what a reverse path filter asks, strict or not: such
 * a look-up comes from `lo`, and nothing is sent with this mark. */
function rulesOf(instance: Instance): Rule[] {
  const { toProxy, from, fromMask, tables } = numbersOf(instance);
  const exactly = { mark: toProxy, mask: 0xffffffff };
  return families.flatMap((family): Rule[] => [
    { family, priority, ...exactly, table: tables.back, input: 'lo' },
    { family, priority: priority + 1, ...exactly, table: tables.up },
    { family, priority: priority + 2, mark: from, mask: fromMask, table: tables.out },
  ]);
}

const routeUp = (netlink: Netlink, instance: Instance, family: Family): DefaultRoute =>
  ({ family, table: numbersOf(instance).tables.up, kind: 'local', output: links(netlink).find((link) => link.loopback)!.index });
