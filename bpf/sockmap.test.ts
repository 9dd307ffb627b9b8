// Which sockets are joined, and which of their messages go over: real sockets of one network namespace, conntrack rows as packets would have
// left them.
import { closeSync, openSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { sockmapCounts, sockmapModes, whyNoSockmap, type SockmapMode } from '../agent/datapath/sockmap.ts';
import { mappedBytes } from '../agent/ipcache/address.ts';
import { attachToMap, attachType, linkCreate, mapKeys, mapUpdate } from '../agent/kernel/bpf.ts';
import { loadObject, type LoadedObject } from '../agent/kernel/object.ts';
import { sockmapPath } from './build.ts';
import { SocketWorld, type Python } from './testing/sockets.ts';
import { action, ct_flag, ct_service, ct_state, drop_reason, type CtEntry } from './types.gen.ts';

const names = { workload: `weir-join-${process.pid}-a`, foreign: `weir-join-${process.pid}-b` } as const;
const families = [{ family: 'IPv4', a: '10.1.0.1', b: '10.1.0.2', bind: '0.0.0.0' }, { family: 'IPv6', a: 'fd01::1', b: 'fd01::2', bind: '::' }, { family: 'IPv4 to a socket of both', a: '10.1.0.1', b: '10.1.0.2', bind: '::' }] as const;
const here = 7;
const port = 8080;
const judged = { bits: 0n, policy: 0, interval: 0, word: 0, action: action.ACTION_ALLOW };
const allowed: CtEntry = {
  counted_packets: 0n, counted_bytes: 0n, seen: 0, recorded: 0, packets: 3n, bytes: 200n, egress: judged, ingress: judged, generation: 0, source_identity: 0, destination_identity: 0,
  policy_key: 0, owner: 0, ifindex: [here, here], origin: 0, state: ct_state.CT_ESTABLISHED, reason: 0, flags: 0,
  frontend: { word: new Uint8Array(16) }, frontend_port: 0, service: 0, device: 0, socket: [0n, 0n], unread: [0, 0], proxy_port: 0,
};
const proxied = { flags: ct_flag.CT_SERVICE, service: ct_service.CT_PROXIED, proxy_port: 20_001 };

let world: SocketWorld;
let object: LoadedObject;
let link: number;
const pythons = new Map<string, Python>();

const run = whyNoSockmap() === undefined ? test : test.skip;

beforeAll(async () => {
  if (whyNoSockmap() !== undefined) return;
  const addresses = families.flatMap(({ a, b }) => [a, b]).filter((one, index, all) => all.indexOf(one) === index);
  world = new SocketWorld(`join-${process.pid}`, { [names.workload]: addresses, [names.foreign]: addresses });
  world.clients.add(`/run/netns/${names.workload}`, here, true);
  object = loadObject(sockmapPath, { share: world.datapath.object.maps });
  attachToMap(object.programs.get('sockmap_send')!, object.maps.get('sockets')!.fd, attachType.skMsgVerdict, 'sockmap_send');
  const folder = openSync(world.cgroup, 'r');
  link = linkCreate(object.programs.get('sockmap_join')!, folder, attachType.sockOps, 'sockmap_join');
  closeSync(folder);
  for (const name of Object.values(names)) pythons.set(name, await world.python(name, 'import socket\nsocket.setdefaulttimeout(2)\n'));
});
afterAll(async () => {
  if (whyNoSockmap() !== undefined) return;
  closeSync(link);
  object.close();
  await world.close();
});

const joined = (): number => mapKeys(object.maps.get('sockets')!.fd, object.maps.get('sockets')!.keySize, 100, 'sockets').length;
const ticks = (secondsAgo: number): number => Number(BigInt.asUintN(32, (process.hrtime.bigint() - BigInt(secondsAgo) * 1_000_000_000n) >> 20n));
let nextPort = 20_000;

interface Row {
  readonly name: string;
  readonly row?: Partial<CtEntry> | null;
  /** A row under the same ends, from Envoy on. */
  readonly secondLeg?: Partial<CtEntry>;
  readonly mode?: SockmapMode;
  readonly unmarked?: boolean;
  readonly netns?: string;
  /** Of the row once both sockets are connected. */
  readonly later?: Partial<CtEntry>;
  /** Sockets that are joined, and messages of four that go over. */
  readonly finds: readonly [number, number];
}
const rows: readonly Row[] = [
  { name: 'a connection of two workloads', finds: [2, 4] },
  { name: 'one that nobody tracks', row: null, finds: [0, 0] },
  { name: 'revoked', row: { reason: drop_reason.DROP_POLICY_DENIED }, finds: [0, 0] },
  { name: 'the other end is elsewhere', row: { ifindex: [here, 0] }, finds: [0, 0] },
  { name: 'the row is of other workloads', row: { ifindex: [here + 1, here + 2] }, finds: [0, 0] },
  { name: 'the same addresses in a network namespace of others', netns: names.foreign, finds: [0, 0] },
  { name: 'a service by packets', row: { flags: ct_flag.CT_SERVICE }, finds: [0, 0] },
  { name: 'DNS', row: { flags: ct_flag.CT_DNS }, finds: [0, 0] },
  { name: 'L7 rules of egress', row: { egress: { ...judged, action: action.ACTION_PROXY } }, finds: [0, 0] },
  { name: 'L7 rules of ingress', row: { ingress: { ...judged, action: action.ACTION_PROXY } }, finds: [0, 0] },
  { name: 'to Envoy, whose rules are gone', row: proxied, finds: [0, 0] },
  { name: 'from Envoy on', row: null, secondLeg: {}, finds: [0, 0] },
  { name: 'from Envoy on, and a row of the same ends is left', secondLeg: {}, finds: [0, 0] },
  { name: 'from Envoy to Envoy, and a row of the same ends is left', secondLeg: proxied, finds: [0, 0] },
  { name: 'not asked for', mode: 'off', finds: [0, 0] },
  { name: 'not marked', unmarked: true, finds: [0, 0] },
  { name: 'not marked, and all are asked for', unmarked: true, mode: 'all', finds: [2, 4] },
  { name: 'judged in another generation', later: { generation: 1 }, finds: [2, 0] },
  { name: 'revoked later', later: { reason: drop_reason.DROP_POLICY_DENIED }, finds: [2, 0] },
  { name: 'to Envoy later', later: proxied, finds: [2, 0] },
  { name: 'an RST was seen', later: { state: ct_state.CT_CLOSING }, finds: [2, 0] },
  { name: 'a flow record is due', later: { recorded: ticks(6) }, finds: [2, 0] },
  { name: 'the other socket is not known', later: { socket: [0n, 0n] }, finds: [2, 0] },
  { name: 'where the other socket was stands another', later: { socket: [4096n, 4096n] }, finds: [2, 0] },
];

run.each(families.flatMap((family) => rows.map((row) => ({ ...family, ...row }))))('$family: $name', async ({ a, b, bind, row = {}, secondLeg, mode = 'marked', unmarked, netns = names.workload, later, finds }) => {
  const python = pythons.get(netns)!;
  const source = nextPort;
  nextPort += 1;
  world.clients.add(`/run/netns/${names.workload}`, here, unmarked !== true);
  mapUpdate(object.maps.get('sockmap_controls')!.fd, new Uint8Array(4), new Uint8Array(new Uint32Array([sockmapModes[mode]]).buffer), 'sockmap_controls');
  // The lower address stands first.
  const key = { addr: [a, b].map((one) => ({ word: mappedBytes(one) })), port: Uint8Array.from([source >> 8, source & 255, port >> 8, port & 255]), protocol: 6, leg: 0 };
  const now = { seen: ticks(0), recorded: ticks(0) };
  if (row !== null) world.datapath.conntrack.set(key, { ...allowed, ...now, ...row });
  if (secondLeg !== undefined) world.datapath.conntrack.set({ ...key, leg: 1 }, { ...allowed, ...now, ...secondLeg });
  const before = sockmapCounts(world.datapath);
  await python.run(`
l = socket.create_server(('${bind}', ${port}), family=socket.${bind === '0.0.0.0' ? 'AF_INET' : 'AF_INET6'}${bind === '::' ? ', dualstack_ipv6=True' : ''})
c = socket.create_connection(('${b}', ${port}), source_address=('${a}', ${source})); s, _ = l.accept(); l.close(); s.settimeout(2)`);
  const held = joined();
  if (later !== undefined) world.datapath.conntrack.set(key, { ...world.datapath.conntrack.get(key)!, ...later });
  expect(await python.run("result = ''\nfor _ in range(2):\n  for x, y in ((c, s), (s, c)): x.sendall(b'word'); result += y.recv(9).decode()")).toBe('word'.repeat(4));
  expect([held, Number(sockmapCounts(world.datapath).messages - before.messages)]).toEqual(finds);
  await python.run('c.close(); s.close()');
  expect(joined()).toBe(0);
});
