// What clients of services were told, from the maps of one agent into those of the next. Connections: kernel-tests/upgrade.e2e.test.ts.
import { mkdirSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import type { Backend, SockPeer, Translation, TranslationKey } from '../../bpf/types.gen.ts';
import { mappedBytes } from '../ipcache/address.ts';
import { codecOf } from '../kernel/codec.ts';
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

test('a version that had no Services', async () => {
  for (const name of ['backends', 'translations', 'sock_peers']) unlinkSync(join(pinDir, name));
  expect(await copyRows(pinDir, after, [])).toEqual({ connections: 0, nat: 0, lost: 0 });
});
