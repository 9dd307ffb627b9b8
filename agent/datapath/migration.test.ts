// What clients of services were told, from the maps of one agent into those of the next. Connections: kernel-tests/upgrade.e2e.test.ts.
import { mkdirSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import type { Affinity, AffinityKey, Backend, SockPeer, Translation, TranslationKey } from '../../bpf/types.gen.ts';
import { mappedBytes } from '../ipcache/address.ts';
import { codecOf } from '../kernel/codec.ts';
import { mapLookup, mapUpdate } from '../kernel/bpf.ts';
import { BpfMap } from '../kernel/map.ts';
import { serviceMaps } from '../service/maps.ts';
import { loadDatapath, type Datapath } from './maps.ts';
import { copyRows } from './migration.ts';

const pinDir = `/sys/fs/bpf/weir/test-migration-${process.pid}`;
let before: Datapath;
let after: Datapath;
beforeAll(() => {
  mkdirSync(pinDir, { recursive: true });
  before = loadDatapath(objectPath, { pinDir });
  after = loadDatapath(objectPath, { maxEntries: { sock_peers: 1 } });
});
afterAll(() => {
  before.object.close();
  after.object.close();
  rmSync(pinDir, { recursive: true });
});

const word = (address: string) => ({ word: mappedBytes(address) });
const translations = ({ object }: Datapath) => new BpfMap(object.maps.get('translations')!, codecOf<TranslationKey>(object.btf.struct('translation_key')), codecOf<Translation>(object.btf.struct('translation')));
const affinities = ({ object }: Datapath) => new BpfMap(object.maps.get('affinities')!, codecOf<AffinityKey>(object.btf.struct('affinity_key')), codecOf<Affinity>(object.btf.struct('affinity')));
const backend: Backend = { addr: word('10.0.0.1'), port: 8080, protocol: 6, state: 0, connections: 7 };
const asked: TranslationKey = { client: word('10.0.0.2'), frontend: word('10.218.0.1'), client_port: 40_000, frontend_port: 80, protocol: 6 };
const told: Translation = { addr: backend.addr, port: 8080, backend: 3 };
const peer: SockPeer = { frontend: asked.frontend, backend: backend.addr, frontend_port: 80, backend_port: 8080, protocol: 6, service: 1, number: 3, ifindex: 7 };

test('backends keep their numbers, connections and sockets their backends; what finds no room is counted', async () => {
  serviceMaps(before.object).backends.set(3, backend);
  translations(before).set(asked, told);
  before.sockPeers.set({ cookie: 5n, slot: 0 }, peer);
  expect(await copyRows(pinDir, after, [])).toEqual({ connections: 0, nat: 0, lost: 0 });
  expect([serviceMaps(after.object).backends.get(3), translations(after).get(asked), after.sockPeers.get({ cookie: 5n, slot: 0 })]).toEqual([backend, told, peer]);
  before.sockPeers.set({ cookie: 6n, slot: 0 }, peer);
  expect(await copyRows(pinDir, after, [])).toEqual({ connections: 0, nat: 0, lost: 1 });
});

const clients: { name: string; key: AffinityKey }[] = [
  { name: 'a client outside, IPv4', key: { client: word('203.0.113.9'), service: 4, by_socket: 0 } },
  { name: 'a client outside, IPv6', key: { client: word('2001:db8:9::9'), service: 4, by_socket: 0 } },
  { name: 'the sockets of a network namespace', key: { client: word('::17'), service: 5, by_socket: 1 } },
];
test.each(clients)('an affinity of $name is kept with its age; what it did since is not overwritten', async ({ key }) => {
  affinities(before).set(key, { backend: 3, seen: 1_000 });
  await copyRows(pinDir, after, []);
  expect(affinities(after).get(key)).toEqual({ backend: 3, seen: 1_000 });
  affinities(after).set(key, { backend: 3, seen: 2_000 });
  await copyRows(pinDir, after, []);
  expect(affinities(after).get(key)).toEqual({ backend: 3, seen: 2_000 });
});

test.each([{ led: 0 }, { led: 1 }])('whether a service led to a process of the node: $led', async ({ led }) => {
  const [from, to] = [before, after].map(({ object }) => object.maps.get('node_backends')!);
  const word4 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
  mapUpdate(from!.fd, word4(0), word4(led), from!.name);
  await copyRows(pinDir, after, []);
  const found = new Uint8Array(4);
  mapLookup(to!.fd, word4(0), found, to!.name);
  expect(found).toEqual(word4(led));
});

test('a version that had no Services', async () => {
  for (const name of ['backends', 'translations', 'sock_peers', 'affinities', 'node_backends']) unlinkSync(join(pinDir, name));
  expect(await copyRows(pinDir, after, [])).toEqual({ connections: 0, nat: 0, lost: 0 });
});
