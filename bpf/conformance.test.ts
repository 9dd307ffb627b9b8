// The policy cases through the shipped program: compiled, written to the maps as the agent writes them, judged by real frames.
// No difference to the offline engine, in both families; all cases follow each other in one kernel, each a new generation.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { EndpointRow } from '../agent/endpoint/tables.ts';
import { RESERVED, type ReservedName } from '../agent/identity/reserved.ts';
import { ipcacheKey } from '../agent/ipcache/address.ts';
import type { IpcacheRow } from '../agent/ipcache/tables.ts';
import { endpointOf, judge, makeWorld, sidesOf, type CaseFlow, type CaseParty, type PolicyCase, type World } from '../agent/policy/offline.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { action, type FlowRecord } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { frame } from './testing/packet.ts';

const read = (name: string): PolicyCase[] =>
  readFileSync(new URL(`../agent/policy/testdata/${name}`, import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as PolicyCase);

const files = ['surprises.jsonl', 'cnp-l34.jsonl', 'knp.jsonl'];
const elsewhere = 100;
/** Judged by no policy: neighbour discovery and listener reports (RFC 4861, RFC 3810). */
const discovery = new Set([130, 131, 132, 133, 134, 135, 136, 137, 143]);
type Family = 4 | 6;

let bench: Bench;
let reconciler: PolicyReconciler;
beforeAll(() => {
  bench = new Bench();
  reconciler = new PolicyReconciler(bench.datapath);
});
afterAll(() => { bench.close(); });

const podAddress = (id: number, family: Family): string => (family === 4 ? `10.200.0.${id}` : `fd00:200::${id.toString(16)}`);
const entityAddress = (name: ReservedName, family: Family): string => (family === 4 ? `10.201.0.${RESERVED[name]}` : `fd00:201::${RESERVED[name].toString(16)}`);

function rowsOf(world: World): { endpoints: EndpointRow[]; prefixes: IpcacheRow[] } {
  const endpoints = [...world.pods].map(([key, pod]): EndpointRow => ({
    id: pod.id, key, namespace: pod.namespace, name: key, uid: `${key} ${reconciler.generation}`, labels: [], identity: pod.identity, ipv4: podAddress(pod.id, 4), ipv6: podAddress(pod.id, 6),
    interfaceName: key, ifindex: elsewhere + pod.id, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:fe', namedPorts: [], state: 'ready',
  }));
  const row = (prefix: string, identity: number, ifindex = 0): IpcacheRow => ({ prefix, identity, ifindex, host: false, origin: 'policy' });
  const outside = world.ipv6 ? [row('0.0.0.0/0', RESERVED['world-ipv4']), row('::/0', RESERVED['world-ipv6'])] : [row('0.0.0.0/0', RESERVED.world), row('::/0', RESERVED.world)];
  const named = [...world.image.prefixes].map(([prefix, identity]) => row(prefix, identity));
  const entities = (Object.keys(RESERVED) as ReservedName[]).flatMap((name) => [row(`${entityAddress(name, 4)}/32`, RESERVED[name]), row(`${entityAddress(name, 6)}/128`, RESERVED[name])]);
  const pods = endpoints.flatMap((end) => [row(`${end.ipv4}/32`, end.identity, end.ifindex), row(`${end.ipv6}/128`, end.identity, end.ifindex)]);
  return { endpoints, prefixes: [...new Map([...outside, ...named, ...entities, ...pods].map((one) => [one.prefix, one])).values()] };
}

function addressOf(world: World, party: CaseParty, family: Family): string {
  if (typeof party === 'string') return podAddress(endpointOf(world, party)!.id, family);
  return 'ip' in party ? party.ip : entityAddress(party.entity as ReservedName, family);
}

let port = 10_000;
/** The record that the program writes for the first packet of this flow. */
function send(world: World, flow: CaseFlow, family: Family): FlowRecord {
  port = port >= 60_000 ? 10_000 : port + 1;
  const base = frame().ip(addressOf(world, flow.from, family), addressOf(world, flow.to, family));
  const packet = flow.protocol === 'TCP' ? base.tcp(port, flow.port!, 'S') : flow.protocol === 'UDP' ? base.udp(port, flow.port!)
    : flow.protocol === 'SCTP' ? base.sctp(port, flow.port!) : base.icmp(flow.icmpType!, { id: port });
  const source = endpointOf(world, flow.from);
  if (source === undefined) return withEndpoint(elsewhere + endpointOf(world, flow.to)!.id, [], () => bench.run('to_workload', packet.bytes()).records.at(-1)!);
  const own = [podAddress(source.id, 4), podAddress(source.id, 6)];
  return withEndpoint(elsewhere + source.id, own, () => bench.run('from_workload', packet.bytes()).records[0]!);
}

/** `lo` stands for the interface of this endpoint while `work` runs. */
function withEndpoint<Result>(ifindex: number, addresses: readonly string[], work: () => Result): Result {
  const { endpoints, ipcache, conntrack } = bench.datapath;
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

function familiesOf(flow: CaseFlow): Family[] {
  const fixed = [flow.from, flow.to].find((party): party is { ip: string } => typeof party === 'object' && 'ip' in party);
  if (flow.protocol === 'ICMP') return [4];
  if (flow.protocol === 'ICMPv6') return [6];
  return fixed === undefined ? [4, 6] : fixed.ip.includes(':') ? [6] : [4];
}

describe.each(files)('%s', (file) => {
  test('every flow is judged in the kernel as the case says and as the offline engine says', async () => {
    const wrong: string[] = [];
    let judged = 0;
    for (const one of read(file)) {
      const world = makeWorld(one);
      const { endpoints, prefixes } = rowsOf(world);
      await reconciler.apply(world.image, prefixes, endpoints);
      one.flows.forEach((flow, index) => {
        if (flow.protocol === 'ICMPv6' && discovery.has(flow.icmpType!)) return;
        for (const family of familiesOf(flow)) {
          const record = send(world, flow, family);
          const kernel = sidesOf(flow).map((side) => record[side].action);
          const offline = sidesOf(flow).map((side) => action[`ACTION_${judge(world, flow, side).action.toUpperCase().replace('-', '_')}` as keyof typeof action]);
          const verdict = kernel.every(allowed) ? 'allowed' : 'denied';
          judged += 1;
          if (verdict !== flow.verdict || kernel.join() !== offline.join()) wrong.push(`${one.id} flow ${index} IPv${family}: kernel ${kernel} offline ${offline} case ${flow.verdict}`);
        }
      });
    }
    expect(wrong).toEqual([]);
    expect(judged).toBeGreaterThan(100);
  }, 300_000);
});

