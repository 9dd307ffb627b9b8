// Recorded policy cases as packets: a case's pods, entities and prefixes get addresses in both families, and a flow of it is a frame
// through the shipped programs.
import type { EndpointRow } from '../../agent/endpoint/tables.ts';
import { RESERVED, type ReservedName } from '../../agent/identity/reserved.ts';
import { ipcacheKey } from '../../agent/ipcache/address.ts';
import type { IpcacheRow } from '../../agent/ipcache/tables.ts';
import { endpointOf, judge, sidesOf, type CaseFlow, type CaseParty, type World } from '../../agent/policy/offline.ts';
import { action, type FlowRecord } from '../types.gen.ts';
import { here, type Bench } from './bench.ts';
import { frame } from './packet.ts';

const elsewhere = 100;
export type Family = 4 | 6;

const podAddress = (id: number, family: Family): string => (family === 4 ? `10.${200 + (id >> 16)}.${(id >> 8) & 255}.${id & 255}` : `fd00:200::${id.toString(16)}`);
const entityAddress = (name: ReservedName, family: Family): string => (family === 4 ? `10.210.0.${RESERVED[name]}` : `fd00:210::${RESERVED[name].toString(16)}`);

/** `uid`: tells the pods of this world from those before; `local`: how many of its pods are on this node. */
export function rowsOf(world: World, uid: string, local = Infinity): { endpoints: EndpointRow[]; prefixes: IpcacheRow[] } {
  const pods = [...world.pods].map(([key, pod]): EndpointRow => ({
    id: pod.id, key, namespace: pod.namespace, name: key, uid: `${key} ${uid}`, labels: [], identity: pod.identity, ipv4: podAddress(pod.id, 4), ipv6: podAddress(pod.id, 6),
    interfaceName: key, ifindex: elsewhere + pod.id, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:fe', namedPorts: [], state: 'ready',
  }));
  const endpoints = pods.slice(0, local);
  const row = (prefix: string, identity: number, ifindex = 0): IpcacheRow => ({ prefix, identity, ifindex, host: false, origin: 'policy' });
  const outside = world.ipv6 ? [row('0.0.0.0/0', RESERVED['world-ipv4']), row('::/0', RESERVED['world-ipv6'])] : [row('0.0.0.0/0', RESERVED.world), row('::/0', RESERVED.world)];
  const named = [...world.image.prefixes].map(([prefix, identity]) => row(prefix, identity));
  const entities = (Object.keys(RESERVED) as ReservedName[]).flatMap((name) => [row(`${entityAddress(name, 4)}/32`, RESERVED[name]), row(`${entityAddress(name, 6)}/128`, RESERVED[name])]);
  const own = pods.flatMap((end, index) => [`${end.ipv4}/32`, `${end.ipv6}/128`].map((prefix) => row(prefix, end.identity, index < local ? end.ifindex : 0)));
  return { endpoints, prefixes: [...new Map([...outside, ...named, ...entities, ...own].map((one) => [one.prefix, one])).values()] };
}

function addressOf(world: World, party: CaseParty, family: Family): string {
  if (typeof party === 'string') return podAddress(endpointOf(world, party)!.id, family);
  return 'ip' in party ? party.ip : entityAddress(party.entity as ReservedName, family);
}

let port = 10_000;
/** The record that the program writes for the first packet of this flow, sent by its source where that is a pod of this node. */
export function send(bench: Bench, world: World, flow: CaseFlow, family: Family): FlowRecord {
  port = port >= 60_000 ? 10_000 : port + 1;
  const base = frame().ip(addressOf(world, flow.from, family), addressOf(world, flow.to, family));
  const packet = flow.protocol === 'TCP' ? base.tcp(port, flow.port!, 'S') : flow.protocol === 'UDP' ? base.udp(port, flow.port!)
    : flow.protocol === 'SCTP' ? base.sctp(port, flow.port!) : base.icmp(flow.icmpType!, { id: port });
  const source = endpointOf(world, flow.from);
  if (source === undefined || bench.datapath.endpoints.get(elsewhere + source.id) === undefined) {
    return withEndpoint(bench, elsewhere + endpointOf(world, flow.to)!.id, [], () => bench.run('to_workload', packet.bytes()).records.at(-1)!);
  }
  const own = [podAddress(source.id, 4), podAddress(source.id, 6)];
  return withEndpoint(bench, elsewhere + source.id, own, () => bench.run('from_workload', packet.bytes()).records[0]!);
}

/** `lo` stands for the interface of this endpoint while `work` runs. */
function withEndpoint<Result>({ datapath: { endpoints, ipcache, conntrack } }: Bench, ifindex: number, addresses: readonly string[], work: () => Result): Result {
  endpoints.set(here, endpoints.get(ifindex)!);
  const keys = addresses.map((address) => ipcacheKey(`${address}/${address.includes(':') ? 128 : 32}`));
  const before = keys.map((key) => ipcache.get(key)!);
  keys.forEach((key, index) => { ipcache.set(key, { ...before[index]!, ifindex: here }); });
  try {
    return work();
  } finally {
    keys.forEach((key, index) => { ipcache.set(key, before[index]!); });
    endpoints.delete(here);
    for (const [key] of conntrack.entries()) conntrack.delete(key);
  }
}

const allowed = (value: number): boolean => value === action.ACTION_NONE || value === action.ACTION_ALLOW;

export function familiesOf(flow: CaseFlow): Family[] {
  const fixed = [flow.from, flow.to].find((party): party is { ip: string } => typeof party === 'object' && 'ip' in party);
  if (flow.protocol === 'ICMP') return [4];
  if (flow.protocol === 'ICMPv6') return [6];
  return fixed === undefined ? [4, 6] : fixed.ip.includes(':') ? [6] : [4];
}

/** What is wrong with the kernel's answer to a flow of the world in force; undefined: it is the case's and the offline engine's. */
export function differs(bench: Bench, world: World, flow: CaseFlow, family: Family): string | undefined {
  const record = send(bench, world, flow, family);
  const kernel = sidesOf(flow).map((side) => record[side].action);
  const offline = sidesOf(flow).map((side) => action[`ACTION_${judge(world, flow, side).action.toUpperCase().replace('-', '_')}` as keyof typeof action]);
  const verdict = kernel.every(allowed) ? 'allowed' : 'denied';
  return verdict === flow.verdict && kernel.join() === offline.join() ? undefined : `IPv${family}: kernel ${kernel} offline ${offline} case ${flow.verdict}`;
}
