// Services as sockets see them: asked for by workloads and by processes of the node, under policy, without the agent, and when their backends go.
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, node, pod, policy } from './cluster.ts';
import { server, type Answer, type Probe } from './programs.ts';

const nodePort = 30_080;
const ports = (['TCP', 'UDP'] as const).map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 80, targetPort: 8080, nodePort }));
const service = (name: string, app: string, type: string): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' },
  spec: { type, selector: { app }, ipFamilyPolicy: 'RequireDualStack', ports: ports.map(({ nodePort: _, ...port }) => (type === 'NodePort' ? { ...port, nodePort } : port)) },
});
/** Connects, tells whom it sees, and what becomes of the connection. */
const holder = (to: string): string[] => ['python3', '-u', '-c', `
import socket, sys, time
while True:
    try: s = socket.create_connection((sys.argv[1], 80)); break
    except OSError: time.sleep(0.1)
print('peer', s.getpeername()[0], s.recv(100).decode().split()[0], flush=True)
try: print('end', s.recv(100), flush=True)
except OSError as e: print('errno', e.errno, flush=True)
time.sleep(100000)
`, to];
const binder = ['python3', '-c', `
import socket
s = socket.socket()
try: s.bind(('0.0.0.0', ${nodePort})); print('bound')
except OSError as e: print('errno', e.errno)
`];

let cluster: Cluster;
let addresses: { readonly [name: string]: readonly string[] };
beforeAll(async () => {
  cluster = await Cluster.start('svc-sock', {
    'pods.yaml': [pod('client', server(9)), pod('stranger', server(9)), pod('web-a', server(8080), { app: 'web' }), pod('web-b', server(8080), { app: 'web' })],
    'lone.yaml': pod('lone', server(8080)),
    'services.yaml': [service('web', 'web', 'NodePort'), service('lone', 'lone', 'ClusterIP'), service('empty', 'nobody', 'ClusterIP')],
    // Of backends and their ports: of services policy knows nothing.
    'policy.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } },
      ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }, { matchLabels: { app: 'holder' } }], toPorts: [{ ports: ports.map(({ protocol }) => ({ port: '8080', protocol })) }] }] }),
  });
  const rows = (): { name: string; clusterIps: string[] }[] => cluster.json('db', 'show', 'services');
  await cluster.until('services have backends', () => backends() === 8);
  addresses = Object.fromEntries(rows().map(({ name, clusterIps }) => [name, clusterIps]));
});
afterAll(async () => { await cluster.close(); });

const backends = (): number => cluster.json<{ pod?: string }[]>('db', 'show', 'backends').filter(({ pod }) => pod?.startsWith('default/web-') === true).length;

const asked = (to: readonly string[], port: number): Probe[] => to.flatMap((address) => (['tcp', 'udp'] as const).map((kind) => ({ kind, to: address, port })));
interface Row { readonly name: string; readonly from: string; readonly to: () => Probe[]; readonly answer: Answer }
const rows: readonly Row[] = [
  { name: 'a workload asks for a ClusterIP', from: 'default/client', to: () => asked(addresses['web']!, 80), answer: 'open' },
  { name: 'the node asks for a ClusterIP', from: 'node', to: () => asked(addresses['web']!, 80), answer: 'open' },
  { name: 'a workload asks for a NodePort', from: 'default/client', to: () => asked([node.ipv4, node.ipv6], nodePort), answer: 'open' },
  { name: 'the node asks for its own NodePort', from: 'node', to: () => asked([node.ipv4, node.ipv6], nodePort), answer: 'open' },
  { name: 'a workload that is its own backend', from: 'default/lone', to: () => asked(addresses['lone']!, 80), answer: 'open' },
  { name: 'a workload whom the backends let not in', from: 'default/stranger', to: () => asked(addresses['web']!, 80), answer: 'silent' },
  { name: 'a service without backends', from: 'default/client', to: () => asked(addresses['empty']!, 80), answer: 'refused' },
  { name: 'a service without backends, from the node', from: 'node', to: () => asked(addresses['empty']!, 80), answer: 'refused' },
];
test.each(rows)('$name: $answer', ({ from, to, answer }) => {
  const probes = to();
  expect(probes).toHaveLength(4);
  expect(cluster.probe(from, probes)).toEqual(probes.map(() => answer));
});

/** What no hook of a socket sees: the datagram goes as a raw packet, its answer to the socket whose port it named. */
const raw = `
import socket, struct, sys
to = sys.argv[1]
six = ':' in to
family = socket.AF_INET6 if six else socket.AF_INET
own = socket.socket(family, socket.SOCK_DGRAM); own.bind(('::' if six else '0.0.0.0', 0)); own.settimeout(2)
sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
if six: sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 6)
sender.sendto(struct.pack('!HHHH', own.getsockname()[1], 80, 13, 0) + b'hello', (to, 0))
data, who = own.recvfrom(100)
print(*who[:2])
`;
test('raw packets to a ClusterIP are translated on their way, and answered from there', () => {
  const shim = cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ key }) => key === 'default/client')!.shimPid;
  const said = addresses['web']!.map((to) => { const { stdout, stderr } = spawnSync('nsenter', [`--net=/proc/${shim}/ns/net`, 'python3', '-c', raw, to], { encoding: 'utf8' }); return stdout.trim() || stderr; });
  expect(said).toEqual(addresses['web']!.map((address) => `${address} 80`));
});

test('no packet of a workload had a service as its destination', () => {
  const destinations = cluster.json<{ destination: string; destinationPort: number }[]>('bpf', 'ct');
  expect(destinations.some(({ destinationPort }) => destinationPort === 8080)).toBe(true);
  expect(destinations.filter(({ destination }) => Object.values(addresses).flat().includes(destination))).toEqual([]);
});

test('a process of the node does not get a NodePort, a workload may have that port', () => {
  expect(cluster.on('node', ...binder).out).toMatch(/^errno (98|1)\n$/);
  expect(cluster.exec('default/client', ...binder).out).toBe('bound\n');
});

test('connections begin without the agent, and go on with the next one', async () => {
  await cluster.stop('SIGKILL');
  const probes = asked(addresses['web']!, 80);
  expect(cluster.probe('node', probes)).toEqual(probes.map(() => 'open'));
  await cluster.up();
  expect(cluster.probe('default/client', probes)).toEqual(probes.map(() => 'open'));
});

test('whose backend goes is told: a workload and a process of the node', async () => {
  const [address] = addresses['web'] as [string];
  cluster.write('pods.yaml', [pod('client', server(9)), pod('stranger', server(9)), pod('web-a', server(8080), { app: 'web' })]);
  await cluster.until('one backend is left', () => backends() === 4);
  cluster.write('holder.yaml', pod('holder', holder(address)));
  const ofNode = cluster.background('node', ...holder(address));
  let told = '';
  ofNode.stdout!.on('data', (data: Buffer) => { told += data.toString(); });
  const logs = (): string => cluster.weir('workload', 'logs', 'default/holder').out;
  await cluster.until('both are connected', () => logs().includes('peer') && told.includes('peer'));
  // Not of the service any more, though it lives.
  cluster.write('pods.yaml', [pod('client', server(9)), pod('stranger', server(9)), pod('web-a', server(8080), { app: 'webless' })]);
  await cluster.until('both are told', () => logs().includes('errno') && told.includes('errno'), 10_000);
  expect(told).toBe(`peer ${address} from\nerrno 103\n`);
  expect(logs().match(/(peer|errno) .*/g)).toEqual([`peer ${address} from`, 'errno 103']);
  expect(cluster.json<{ services: { reset: { TCP: number } } }>('status').services.reset.TCP).toBe(2);
});
