// End to end: an agent whose maps have another layout or size than those that run takes their connections over, or refuses and leaves
// everything as it was. The version before is the checkout's own with changed layouts.
import { readdirSync } from 'node:fs';
import { afterEach, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, node as address, pod, policy, traces } from './cluster.ts';
import { idle, server } from './programs.ts';
import { Denied, endStreams, Stream } from './streams.ts';
import { compileOther, withObject, type Changes } from './versions.ts';

const undo: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  endStreams();
  for (const step of undo.splice(0).reverse()) await step();
});

const door = 8080;
const files = {
  'pods.yaml': [pod('server', server(door)), pod('client', idle), pod('intruder', idle)],
  'policy.yaml': policy('only-client', {
    endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port: String(door), protocol: 'TCP' }] }] }],
  }),
};

interface Connection { readonly source: string; readonly destination: string; readonly destinationPort: number; readonly state: string; readonly packets: number; readonly revoked: boolean }

async function running(name: string, changes: Changes | undefined) {
  const cluster = Cluster.make(name, files);
  undo.push(() => cluster.close());
  const other = changes === undefined ? undefined : compileOther(changes);
  if (other !== undefined) undo.push(other.remove);
  if (other === undefined) await cluster.up();
  else await withObject(other.path, () => cluster.up());
  const shims = (): Record<string, number> => Object.fromEntries(cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').map((row) => [row.key, row.shimPid]));
  const { ipv4, ipv6 } = cluster.address('default/server');
  await cluster.until('the server listens', () => cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: door }])[0] === 'open');
  const before = { shims: shims(), endpoints: cluster.json('db', 'show', 'endpoints'), identities: cluster.json('bpf', 'ipcache') };
  const streams = [ipv4, ipv6].map((address) => new Stream(before.shims['default/client']!, address, door));
  const denied = new Denied(before.shims['default/intruder']!, [ipv4, ipv6], door);
  await sleep(1_000);
  /** Of the streams, which live all the time. */
  const established = (): Connection[] => cluster.json<Connection[]>('bpf', 'ct').filter((row) => row.destinationPort === door && row.state === 'ESTABLISHED' && !row.revoked);
  const unharmed = async (): Promise<void> => {
    for (const stream of streams) {
      const end = await stream.stop();
      expect(end).toMatchObject({ wrong: 0, error: '', echoed: end.sent });
      expect(end.sent).toBeGreaterThan(10 << 20);
    }
    const attempts = await denied.stop();
    expect(attempts.open).toBe(0);
    expect(attempts.tried).toBeGreaterThan(20);
  };
  return { cluster, other, before, shims, established, unharmed };
}

const ended = async (cluster: Cluster): Promise<void> => {
  await cluster.stop();
  expect(traces(cluster.instance)).toEqual([]);
};

const upgrades: readonly { name: string; instance: string; changes: Changes | undefined; args: readonly string[]; most: number }[] = [
  { name: 'fields that came, went and moved', instance: 'upmoved', args: [], most: 262_144, changes: [
    ['	__be16 port[2];\n	__u8 protocol;\n	__u8 leg;		/* 1: from Envoy on; 0: all others */\n	__u8 pad[2];\n};\n\nenum ct_state', '	__u8 protocol;\n	__u8 leg;\n	__u8 pad[2];\n	__be16 port[2];\n};\n\nenum ct_state'],
    ['struct ct_entry {\n', 'struct ct_entry {\n	__u64 colour;\n'],
    ['	__u32 seen;		/* last packet, ticks */\n	__u32 recorded;		/* last record, ticks */\n	__u64 packets;\n', '	__u64 packets;\n	__u32 recorded;\n	__u32 seen;\n'],
    ['struct nat_value {\n', 'struct nat_value {\n	__u32 colour;\n'],
    ['struct endpoint {\n	struct addr ipv4;\n', 'struct endpoint {\n	__u32 colour;\n	struct addr ipv4;\n'],
  ] },
  { name: 'a table of another size', instance: 'upsize', args: ['--conntrack-entries', '4096'], most: 4_096, changes: undefined },
];

test.each(upgrades)('$name: connections go on, what is denied stays denied', async ({ instance, changes, args, most }) => {
  const { cluster, before, shims, established, unharmed } = await running(instance, changes);
  const counted = established().map(({ packets }) => packets);
  expect(counted).toHaveLength(2);
  await cluster.stop('SIGKILL');
  await cluster.up(args);
  await cluster.until('it says so', () => /takes over 3 endpoints and \d+ connections from an agent whose maps were others/.test(cluster.log), 5_000);
  await cluster.until('it has changed over', () => !readdirSync(cluster.instance.pinDir).some((name) => name.startsWith('next-')), 5_000);
  await sleep(1_000);
  const after = established();
  expect(after).toHaveLength(2);
  // Not opened anew: they count on from where they were.
  expect(Math.min(...after.map(({ packets }) => packets))).toBeGreaterThan(Math.min(...counted));
  await unharmed();
  expect({ shims: shims(), endpoints: cluster.json('db', 'show', 'endpoints') }).toEqual({ shims: before.shims, endpoints: before.endpoints });
  expect(cluster.json<{ prefix: string; identity: number }[]>('bpf', 'ipcache').map(({ prefix, identity }) => [prefix, identity]).sort())
    .toEqual((before.identities as { prefix: string; identity: number }[]).map(({ prefix, identity }) => [prefix, identity]).sort());
  const { connections } = cluster.json<{ connections: { held: number; most: number } }>('status');
  expect([connections.most, connections.held > 0]).toEqual([most, true]);
  // Four shares: of three endpoints, and one to spare.
  expect(cluster.json<{ endpoint: string; held: number; quota: number; refused: number }[]>('bpf', 'quota').map(({ endpoint, held, quota, refused }) => [endpoint, held > 0, quota, refused]).sort())
    .toEqual(['client', 'intruder', 'server'].map((name) => [`default/${name}`, name === 'client', most / 4, 0]));
  // As an agent of this version from now on.
  await cluster.stop('SIGKILL');
  await cluster.up(args);
  await cluster.until('it says so', () => cluster.log.includes('takes over 3 endpoints from an agent that had died'), 5_000);
  await ended(cluster);
}, 120_000);

/** Says which pod answers. */
const teller = ['python3', '-uc', `import socket
s = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    c, _ = s.accept(); c.sendall(socket.gethostname().encode()); c.close()`];
/** The names of those who answered six times. */
const askSix = (to: string, port: number): string[] => ['python3', '-c', `import socket
def ask():
    s = socket.create_connection(('${to}', ${port}), timeout=2); return s.recv(100).decode()
print(*sorted({ask() for _ in range(6)}))`];

test('clients with affinity stay with their backends', async () => {
  const other = compileOther([['struct affinity {\n', 'struct affinity {\n	__u32 colour;\n']]);
  undo.push(other.remove);
  const tellers = Array.from({ length: 6 }, (_, index) => pod(`teller-${index}`, teller, { app: 'teller' }));
  const stay = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'stay' }, spec: { type: 'NodePort', selector: { app: 'teller' }, sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 7_000, nodePort: 30_070 }] } };
  const cluster = Cluster.make('upstay', { 'pods.yaml': [pod('a', idle), pod('b', idle), pod('c', idle), ...tellers], 'service.yaml': [{ ...stay, metadata: { name: 'before' }, spec: { ...stay.spec, type: 'ClusterIP', ports: [{ port: 80, targetPort: 7_000 }] } }, stay] });
  undo.push(() => cluster.close());
  await withObject(other.path, () => cluster.up());
  const to = (): string => cluster.json<{ key: string; clusterIps: string[] }[]>('db', 'show', 'services').find(({ key }) => key === 'default/stay')!.clusterIps[0]!;
  const ask = (): string[] => [...['a', 'b', 'c'].map((name) => cluster.exec(`default/${name}`, ...askSix(to(), 80))), cluster.on('node', ...askSix(to(), 80)), cluster.on('outside', ...askSix(address.ipv4, 30_070))].map(({ out, error }) => out.trim() || error);
  await cluster.until('all answer', () => cluster.json<{ pod?: string }[]>('db', 'show', 'backends').length === tellers.length && ask().every((name) => name.startsWith('teller-')));
  const before = ask();
  expect(before.map((names) => names.split(' ').length)).toEqual([1, 1, 1, 1, 1]);
  // The first service goes meanwhile: numbers are not those of a start from nothing.
  await cluster.stop('SIGKILL');
  cluster.write('service.yaml', stay);
  await cluster.up();
  await cluster.until('it has changed over', () => cluster.log.includes('whose maps were others') && !readdirSync(cluster.instance.pinDir).some((name) => name.startsWith('next-')), 5_000);
  expect(ask()).toEqual(before);
  await ended(cluster);
}, 120_000);

const refusals: readonly { name: string; instance: string; changes: Changes; says: RegExp }[] = [
  { name: 'a state that meant another', instance: 'upmeans', changes: [['	CT_CLOSING = 2,', '	CT_CLOSING = 7,']], says: /cannot be taken over: CT_CLOSING of enum ct_state was 7 and is 2/ },
  { name: 'a port of another size', instance: 'upwide', changes: [['struct nat_value {\n	struct addr addr;	/* what the local side becomes */\n	__be16 port;\n	__u8 leg;		/* of its connection */\n	__u8 pad;', 'struct nat_value {\n	struct addr addr;\n	__be32 port;\n	__u8 leg;\n	__u8 pad[3];']], says: /cannot be taken over: nat_value\.port had 4 bytes/ },
];

test.each(refusals)('$name: refused with words, and what runs goes on untouched', async ({ instance, changes, says }) => {
  const { cluster, other, before, shims, unharmed } = await running(instance, changes);
  await cluster.stop('SIGKILL');
  const pins = (): string[] => readdirSync(cluster.instance.pinDir).sort();
  const pinned = pins();
  await expect(cluster.up()).rejects.toThrow(says);
  expect(pins()).toEqual(pinned);
  await sleep(1_000);
  await withObject(other!.path, () => cluster.up());
  await cluster.until('the version before goes on', () => cluster.log.includes('takes over 3 endpoints from an agent that had died'), 5_000);
  await unharmed();
  expect({ shims: shims(), endpoints: cluster.json('db', 'show', 'endpoints') }).toEqual({ shims: before.shims, endpoints: before.endpoints });
  await ended(cluster);
}, 120_000);
