// Which of Envoy's sockets a connection comes to: real sockets in a network namespace of their own, rows of conntrack by hand, and processes
// that listen as Envoy's main thread does.
import { closeSync, mkdirSync, openSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mappedBytes } from '../agent/ipcache/address.ts';
import { attachType, linkCreate } from '../agent/kernel/bpf.ts';
import { inNetns, isNetns, makeNetns, removeNetns } from '../agent/kernel/netns.ts';
import { links, setUp } from '../agent/kernel/link.ts';
import { Netlink } from '../agent/kernel/netlink.ts';
import { cgroupRoot, ensureMounts } from '../agent/node/check.ts';
import { Bench } from './testing/bench.ts';
import { Python } from './testing/sockets.ts';
import { ct_flag, ct_service, limit, type Judgement } from './types.gen.ts';

const netns = '/run/netns/weir-proxy-workers';
const ports = { first: 24_000, count: 16, dns: 24_015 } as const;
const asked = 80;
const families = [{ family: 'IPv4', address: '127.0.0.1' }, { family: 'IPv6', address: '::1' }] as const;
const workers = limit.PROXY_WORKERS;
const prelude = `
import socket
def listen(port, count):
  made = []
  for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    for _ in range(count):
      s = socket.socket(family)
      s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
      s.bind((address, port))
      s.listen(8)
      s.setblocking(False)
      made.append(s)
  return made
def accepted(made):
  found = []
  for index, s in enumerate(made):
    try: c, _ = s.accept()
    except (BlockingIOError, OSError): continue
    c.close()
    found.append(index)
  return found
def dial(address, port, source):
  c = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
  c.settimeout(3)
  c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  c.bind((address, source))
  try: c.connect((address, port))
  except OSError as e: return e.errno or 0
  finally: c.close()
`;

let bench: Bench;
let client: Python;
/** In the cgroup whose listeners are known. */
let envoys: readonly [Python, Python];
const cgroup = join(cgroupRoot()!, 'weir-test-proxy-workers');
const held: number[] = [];
let source = 30_000;
let port: number = ports.first;

beforeAll(async () => {
  ensureMounts();
  if (isNetns(netns)) removeNetns(netns);
  makeNetns(netns);
  mkdirSync(cgroup, { recursive: true });
  bench = new Bench();
  const netlink = inNetns(netns, () => new Netlink());
  setUp(netlink, links(netlink).find(({ loopback }) => loopback)!.index, 'lo');
  closeSync(netlink.fd);
  for (const [path, program, type] of [[cgroup, 'proxy_listens', attachType.sockOps], [netns, 'find_listener', attachType.skLookup]] as const) {
    const fd = openSync(path, 'r');
    held.push(linkCreate(bench.datapath.object.programs.get(program)!, fd, type, program));
    closeSync(fd);
  }
  bench.datapath.proxies.set(0, { ifindex: 1, to_proxy: 1, downstream: 4, egress_done: 5, both_done: 6, first_port: ports.first, ports: ports.count, mac: new Uint8Array(6), dns_port: ports.dns });
  client = new Python(netns, cgroupRoot()!, prelude);
  envoys = [new Python(netns, cgroup, prelude), new Python(netns, cgroup, prelude)];
  for (const python of [client, ...envoys]) await python.ready();
});
afterAll(async () => {
  for (const python of [client, ...envoys]) await python.close();
  for (const link of held) closeSync(link);
  bench.close();
  removeNetns(netns);
  rmdirSync(cgroup);
});
beforeEach(() => { port = port + 1 === ports.dns ? ports.first : port + 1; });

const nobody: Judgement = { bits: 0n, policy: 0, interval: 0, word: 0, action: 0 };
const listen = async (which: 0 | 1, count: number, at: number = port): Promise<void> => { await envoys[which].run(`made = listen(${at}, ${count})`); };
const hangUp = async (which: 0 | 1): Promise<void> => { await envoys[which].run('for s in made: s.close()\nmade = []'); };

/** Led to `port` for a workload: which sockets of each Envoy got it, by the order in which they began to listen in that family. */
async function reached(address: string, owner: number, at: number = port): Promise<readonly [number | undefined, number | undefined] | 'refused'> {
  source += 1;
  const addr = { word: mappedBytes(address) };
  const [own, theirs] = [source, asked].map((number) => Uint8Array.of(number >> 8, number & 255)) as [Uint8Array, Uint8Array];
  // Between equal addresses the ports order the ends (bpf/lib/ct_key.h), as the machine reads them.
  const origin = own[1]! > theirs[1]! || (own[1] === theirs[1] && own[0]! > theirs[0]!) ? 1 : 0;
  const key = { addr: [addr, addr], port: Uint8Array.from(origin === 1 ? [...theirs, ...own] : [...own, ...theirs]), protocol: 6, leg: 0 };
  bench.datapath.conntrack.set(key, {
    seen: 0, recorded: 0, packets: 0n, bytes: 0n, generation: 0, ifindex: [0, 0], origin, state: 0, reason: 0, flags: ct_flag.CT_SERVICE, egress: nobody, ingress: nobody,
    source_identity: 0, destination_identity: 0, policy_key: 0, owner, counted_packets: 0n, counted_bytes: 0n, frontend: { word: new Uint8Array(16) }, frontend_port: 0,
    service: ct_service.CT_PROXIED, device: 0, socket: [0n, 0n], unread: [0, 0], proxy_port: at,
  });
  const code = await client.run(`result = dial(${JSON.stringify(address)}, ${asked}, ${source})`);
  bench.datapath.conntrack.delete(key);
  if (code !== null) return 'refused';
  const found = await Promise.all(envoys.map(async (envoy) => (await envoy.run("result = accepted(globals().get('made', []))") as number[])));
  const ofFamily = async (envoy: Python): Promise<number> => Number(await envoy.run("result = len(globals().get('made', [])) // 2"));
  const counts = await Promise.all(envoys.map(ofFamily));
  return found.map(([index], which) => (index === undefined ? undefined : index % counts[which]!)) as unknown as readonly [number | undefined, number | undefined];
}

describe.each(families)('$family', ({ address }) => {
  test('each workload has the worker that its number says, or so many on from it', async () => {
    await listen(0, workers);
    for (const owner of [0, 1, 2, 3, 4, 6, 11]) expect([owner, await reached(address, owner)]).toEqual([owner, [owner % workers, undefined]]);
    for (const [owner, move] of [[1, 1], [3, 2], [2, 3]] as const) {
      bench.datapath.proxyMoves.set(owner, move);
      expect([owner, await reached(address, owner)]).toEqual([owner, [(owner + move) % workers, undefined]]);
      bench.datapath.proxyMoves.set(owner, 0);
    }
    await hangUp(0);
    expect(await reached(address, 1)).toBe('refused');
  });

  test('a proxy with fewer sockets: the first has those whose worker is missing', async () => {
    await listen(0, 1);
    for (const owner of [0, 1, 2, 3]) expect(await reached(address, owner)).toEqual([0, undefined]);
    await hangUp(0);
    await listen(0, 2);
    for (const [owner, worker] of [[0, 0], [1, 1], [2, 0], [3, 0]] as const) expect([owner, await reached(address, owner)]).toEqual([owner, [worker, undefined]]);
    await hangUp(0);
  });

  test('another Envoy that listens has all workers; when it goes, those of the one before listen anew', async () => {
    await listen(0, workers);
    await listen(1, workers);
    for (const owner of [0, 1, 2, 3]) expect([owner, await reached(address, owner)]).toEqual([owner, [undefined, owner]]);
    await hangUp(1);
    expect(await reached(address, 1)).toBe('refused');
    await hangUp(0);
    await listen(0, workers);
    for (const owner of [0, 1, 2, 3]) expect([owner, await reached(address, owner)]).toEqual([owner, [owner, undefined]]);
    await hangUp(0);
  });

  test('one of a version before, with one socket, is taken over from', async () => {
    await listen(0, 1);
    await listen(1, workers);
    for (const owner of [0, 1, 2, 3]) expect([owner, await reached(address, owner)]).toEqual([owner, [undefined, owner]]);
    await hangUp(0);
    for (const owner of [0, 1, 2, 3]) expect([owner, await reached(address, owner)]).toEqual([owner, [undefined, owner]]);
    await hangUp(1);
  });

  test('the same process that listens once more than it has workers: all anew', async () => {
    await listen(0, workers);
    await envoys[0].run(`before = made; made = listen(${port}, ${workers})`);
    for (const owner of [0, 1, 2, 3]) expect([owner, await reached(address, owner)]).toEqual([owner, [owner, undefined]]);
    await envoys[0].run('for s in before: s.close()');
    await hangUp(0);
  });

  test('DNS by TCP: the later socket has it, whoever listens', async () => {
    await listen(0, 1, ports.dns);
    await envoys[0].run(`before = made; made = listen(${ports.dns}, 1)`);
    for (const owner of [0, 1, 2, 3]) expect(await reached(address, owner, ports.dns)).toEqual([0, undefined]);
    await envoys[0].run('for s in before: s.close()');
    await hangUp(0);
  });
});
