// End to end: policies and labels change a thousand times a second while datagrams run on all pairs, new connections and old ones,
// IPv4 and IPv6. Every set of manifests allows one port, denies another and differs on a third, each time by another rule and
// another label: what all sets allow is never dropped, what all deny never passes. An audited policy in each of them says the opposite, and changes nothing.
import { spawn } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, pod, policy, withMode } from './cluster.ts';
import { idle } from './programs.ts';

const names = ['a', 'b', 'c', 'd'];
const ports = { always: 7001, never: 7002, sometimes: 7003 } as const;
type Kind = keyof typeof ports;
const changesMade = 10_000;
const changesPerSecond = 1_000;

const udp = (...kinds: Kind[]): object => ({ toPorts: [{ ports: kinds.map((kind) => ({ port: String(ports[kind]), protocol: 'UDP' })) }] });
const version = (v: string): object => ({ matchLabels: { v } });

/** `v`: a label that all workloads wear in this set. What a peer with the other label might do in it shows a mix of two sets. */
function set(v: string, other: string, sometimes: boolean): object[] {
  return [
    ...names.map((name) => pod(name, idle, { app: name, v })),
    policy('ingress', {
      endpointSelector: version(v),
      ingress: [{ fromEndpoints: [version(v)], ...udp('always', ...(sometimes ? ['sometimes' as const] : [])) }, { fromEndpoints: [version(other)], ...udp('never') }],
    }),
    policy('egress', {
      endpointSelector: version(v),
      egress: [{ toEndpoints: [version(v)], ...udp('always', 'sometimes') }, { toEndpoints: [version(other)], ...udp('never') }],
      egressDeny: [{ toEndpoints: [version(other)], ...udp('always') }],
    }),
    withMode('audit', policy(`opposite-${v}`, {
      endpointSelector: version(v),
      ingress: [{ fromEntities: ['all'], ...udp('never') }], ingressDeny: [{ fromEntities: ['all'], ...udp('always') }], egress: [{ toEntities: ['all'], ...udp('never') }],
    })),
  ];
}
const text = (objects: readonly object[]): string => objects.map((one) => stringify(one)).join('---\n');
const sets = [text(set('one', 'two', true)), text(set('two', 'one', false)), text(set('three', 'one', true))];

/** Replaces the file in turn by each of the sets, by rename, at a fixed pace, or as fast as a busy machine lets it; prints how many times and in how many seconds. */
const hammer = `
import json, os, sys, time
file, sets, most, rate = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
start, made = time.monotonic(), 0
while made < most:
    while made < min(most, (time.monotonic() - start) * rate):
        with open(file + '.new', 'w') as out: out.write(sets[made % len(sets)])
        os.rename(file + '.new', file)
        made += 1
    time.sleep(0.0005)
print(made, round(time.monotonic() - start, 1))
`;

/** Sends to every target on every port until told to stop, from one lasting socket and from fresh ones; then says what it sent and what it got. */
const traffic = `
import collections, json, select, socket, sys, threading, time
me, targets, ports = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
sent, got, stopping, done = collections.Counter(), collections.Counter(), threading.Event(), threading.Event()
def receive(kind, s):
    s.settimeout(0.1)
    while not done.is_set():
        try: got[(kind, s.recv(16).decode())] += 1
        except TimeoutError: pass
def listen(kind, port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    s.bind(('::', port))
    return threading.Thread(target=receive, args=(kind, s))
def send(family, sockets):
    for index, address in targets[family]:
        for kind, port in ports.items():
            for age, s in sockets.items():
                s.sendto(f'{me} {index} {family} {age}'.encode(), (address, port))
                sent[(kind, f'{me} {index} {family} {age}')] += 1
threads = [listen(kind, port) for kind, port in ports.items()]
for thread in threads: thread.start()
print('listening', flush=True); sys.stdin.readline()
number = {'ipv4': socket.AF_INET, 'ipv6': socket.AF_INET6}
lasting = {family: socket.socket(number[family], socket.SOCK_DGRAM) for family in number}
def stop(): sys.stdin.readline(); stopping.set()
threading.Thread(target=stop).start()
turn = 0
while not stopping.is_set():
    for family in number:
        if turn % 8: send(family, {'lasting': lasting[family]})
        else:
            with socket.socket(number[family], socket.SOCK_DGRAM) as fresh: send(family, {'fresh': fresh})
    turn += 1; time.sleep(0.004)
print('sent', flush=True); sys.stdin.readline(); time.sleep(0.5); done.set()
for thread in threads: thread.join()
table = lambda counter: [[kind, *way.split(), count] for (kind, way), count in counter.items()]
print(json.dumps({'sent': table(sent), 'got': table(got)}))
`;

type Count = readonly [kind: Kind, from: string, to: string, family: string, age: string, count: number];
interface Report { readonly sent: readonly Count[]; readonly got: readonly Count[] }

class Sender {
  readonly #child;
  #out = '';
  constructor(shimPid: number, ...words: string[]) {
    this.#child = spawn('nsenter', [`--net=/proc/${shimPid}/ns/net`, 'python3', '-u', '-c', traffic, ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout.on('data', (data: Buffer) => { this.#out += data.toString(); });
  }
  async says(word: string): Promise<void> { while (!this.#out.includes(word)) { if (this.#child.exitCode !== null) throw new Error(this.#out); await sleep(20); } }
  next(): void { this.#child.stdin.write('\n'); }
  async report(): Promise<Report> { await this.says('}'); return JSON.parse(this.#out.slice(this.#out.indexOf('{'))) as Report; }
  kill(): void { this.#child.kill('SIGKILL'); }
}

let cluster: Cluster;
const senders: Sender[] = [];
beforeAll(async () => { cluster = await Cluster.start('hammer', { 'all.yaml': sets[0]! }); }, 120_000);
afterAll(async () => { for (const sender of senders) sender.kill(); await cluster.close(); });

test(`${changesMade} changes, ${changesPerSecond} a second: nothing passes that all sets deny, nothing drops that all allow`, async () => {
  const addresses = names.map((name) => cluster.address(`default/${name}`));
  const shims = new Map(cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').map((row) => [row.key, row.shimPid]));
  const generation = (): number => cluster.json<{ generation: number }>('status').generation;
  for (const [index, name] of names.entries()) {
    const targets = Object.fromEntries((['ipv4', 'ipv6'] as const).map((family) => [family, addresses.flatMap((address, to) => (to === index ? [] : [[to, address[family]]]))]));
    senders.push(new Sender(shims.get(`default/${name}`)!, String(index), JSON.stringify(targets), JSON.stringify(ports)));
  }
  /** Nobody goes on before all are there: what is sent to one who does not listen yet is lost. */
  const each = async (word: string): Promise<void> => {
    for (const sender of senders) await sender.says(word);
    for (const sender of senders) sender.next();
  };
  const first = generation();
  await each('listening');
  const hand = spawn('python3', ['-c', hammer, `${cluster.dir}/all.yaml`, JSON.stringify(sets), String(changesMade), String(changesPerSecond)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  hand.stdout.on('data', (data: Buffer) => { said += data.toString(); });
  await new Promise((resolve) => { hand.once('close', resolve); });
  for (const sender of senders) sender.next();
  await each('sent');
  const reports: Report[] = [];
  for (const sender of senders) reports.push(await sender.report());
  const flips = generation() - first;
  const [changes, seconds] = said.split(' ').map(Number);

  const sum = (side: 'sent' | 'got', kind: Kind): Record<string, number> => {
    const found: Record<string, number> = {};
    for (const [what, from, to, family, age, count] of reports.flatMap((report) => report[side])) if (what === kind) found[`${from}>${to} ${family} ${age}`] = count;
    return found;
  };
  const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((all, one) => all + one, 0);
  console.log(`${changes} changes in ${seconds} s, ${flips} generations; allowed by all: ${total(sum('sent', 'always'))} sent, ${total(sum('got', 'always'))} arrived; `
    + `denied by all: ${total(sum('sent', 'never'))} sent, ${total(sum('got', 'never'))} arrived; by some: ${total(sum('sent', 'sometimes'))} sent, ${total(sum('got', 'sometimes'))} arrived`);
  expect(changes).toBe(changesMade);
  expect(Object.keys(sum('sent', 'always'))).toHaveLength(4 * 3 * 2 * 2);
  expect(sum('got', 'always')).toEqual(sum('sent', 'always'));
  expect(sum('got', 'never')).toEqual({});
  // The sets did take turns in the kernel.
  expect(total(sum('got', 'sometimes'))).toBeGreaterThan(0);
  expect(total(sum('got', 'sometimes'))).toBeLessThan(total(sum('sent', 'sometimes')));
  expect(flips).toBeGreaterThan(sets.length);
}, 120_000);
