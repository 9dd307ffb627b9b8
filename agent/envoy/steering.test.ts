// The way through Envoy is made, found again by the next agent, and taken away: rules, routes, interfaces, links. In a namespace of its own.
import { closeSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Hooks, removePins } from '../datapath/hooks.ts';
import { loadDatapath, type Datapath } from '../datapath/maps.ts';
import { instanceOf } from '../instance.ts';
import { detectAttachMode } from '../kernel/attach.ts';
import { links, setUp } from '../kernel/link.ts';
import { Netlink } from '../kernel/netlink.ts';
import { inNetns, isNetns, makeNetns, removeNetns } from '../kernel/netns.ts';
import { ensureMounts } from '../node/check.ts';
import { buildBpf, objectPath } from '../../bpf/build.ts';
import { proxyInterfaces, removeSteering, startSteering, type Steering } from './steering.ts';

const path = '/run/netns/weir-test-steering';
const instance = instanceOf('steering-test');
let datapath: Datapath;
let netlink: Netlink;

const within = <Result>(work: () => Result): Result => inNetns(path, work);
const ip = (...words: string[]): string => within(() => execFileSync('ip', words, { encoding: 'utf8' }));
const clean = (): void => {
  removePins(instance.pinDir);
  rmSync(instance.pinDir, { recursive: true, force: true });
  if (isNetns(path)) removeNetns(path);
};
const start = (mtu = 1_400, of = instance): Steering => within(() => {
  const hooks = new Hooks(netlink, detectAttachMode(datapath.object.programs.get('from_proxy')!), datapath.object, of);
  return startSteering({ instance: of, netlink, datapath, hooks, mtu, ports: { first: 22_000, count: 8, dns: 22_007 } });
});
/** All that it leaves in the namespace. */
const left = () => ({
  rules: [4, 6].map((family) => ip(`-${family}`, 'rule').split('\n').filter((line) => /fwmark/.test(line)).length),
  tables: [4, 6].map((family) => ip(`-${family}`, 'route', 'show', 'table', 'all').split('\n').filter((line) => /default.*table 14\d+/.test(line)).length),
  interfaces: proxyInterfaces(instance).filter((name) => ip('-br', 'link').includes(name)).length,
  pins: ['find_listener', 'proxy_listens'].filter((name) => existsSync(join(instance.pinDir, 'sockets', name))).length,
});
const none = { rules: [0, 0], tables: [0, 0], interfaces: 0, pins: 0 };
const all = { rules: [3, 3], tables: [3, 3], interfaces: 2, pins: 1 };

beforeAll(() => {
  buildBpf();
  clean();
  ensureMounts();
  mkdirSync(instance.pinDir, { recursive: true });
  makeNetns(path);
  datapath = loadDatapath(objectPath);
  netlink = within(() => new Netlink());
  within(() => { setUp(netlink, links(netlink).find(({ loopback }) => loopback)!.index, 'lo'); });
});
afterAll(() => {
  closeSync(netlink.fd);
  datapath.object.close();
  clean();
});

test('made, found again by the next agent with another MTU, taken away', () => {
  expect(left()).toEqual(none);
  const { marks } = start();
  const first = datapath.proxies.get(0);
  expect(left()).toEqual(all);
  expect(new Set([marks.downstream, marks.egressDone, marks.bothDone, first!.to_proxy]).size).toBe(4);
  const again = start(1_350);
  expect(datapath.proxies.get(0)).toEqual(first);
  expect(links(netlink).filter(({ name }) => proxyInterfaces(instance).includes(name)).map(({ mtu, up }) => [mtu, up])).toEqual([[1_350, true], [1_350, true]]);
  expect(left()).toEqual(all);
  again.stop();
  expect([left(), datapath.proxies.get(0)!.ifindex]).toEqual([none, 0]);
  again.stop();
});

test('only its own devices are set otherwise', () => {
  const settings = (): string[] => within(() => ['all', 'default', 'lo'].flatMap((name) => ['forwarding', 'rp_filter', 'src_valid_mark', 'accept_local'].map((key) => readFileSync(`/proc/sys/net/ipv4/conf/${name}/${key}`, 'utf8'))));
  const before = settings();
  const steering = start();
  expect(settings()).toEqual(before);
  steering.stop();
  expect(settings()).toEqual(before);
});

test('left by an agent that died', () => {
  start();
  within(() => { removeSteering(netlink, instance); });
  expect({ ...left(), pins: 0 }).toEqual(none);
});

test('instances do not meet; a table of another is not taken', () => {
  const one = start();
  const second = instanceOf('steering-test-2');
  mkdirSync(second.pinDir, { recursive: true });
  const two = start(1_400, second);
  expect(Object.values(one.marks).filter((mark) => Object.values(two.marks).includes(mark))).toEqual([]);
  expect(left().rules).toEqual([6, 6]);
  two.stop();
  removePins(second.pinDir);
  rmSync(second.pinDir, { recursive: true, force: true });
  expect(left()).toEqual(all);
  const table = ip('rule').split('\n').map((line) => /lookup (14\d+)/.exec(line)?.[1]).find((found) => found !== undefined)!;
  one.stop();
  ip('link', 'add', 'stranger', 'type', 'veth', 'peer', 'name', 'strange2');
  ip('link', 'set', 'stranger', 'up');
  const tables = [0, 1, 2].map((index) => String(Number(table) - 2 + index)).concat(String(Number(table) + 1), String(Number(table) + 2));
  for (const number of tables) ip('route', 'add', 'default', 'dev', 'stranger', 'table', number);
  expect(() => start()).toThrow('the routing table of instance steering-test is in use, for interface stranger');
});
