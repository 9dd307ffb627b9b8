// End to end: frames as devices really make them. Jumbo frames, segments for the device to cut (GSO), checksums that the device
// is to fill in or has checked, VLAN tags; between workloads, host and outside, IPv4 and IPv6.
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { frame, tag, type Frame } from '../bpf/testing/packet.ts';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { bound, idle, server } from './programs.ts';

const mtu = 9_000;
const files = {
  'pods.yaml': [pod('echo', server(8080)), pod('client', idle)],
  'policy.yaml': policy('echo', { endpointSelector: { matchLabels: { app: 'echo' } }, ingress: [{ toPorts: [{ ports: [{ port: '8080', protocol: 'ANY' }] }] }] }),
};

let cluster: Cluster;
let shims: ReadonlyMap<string, number>;
beforeAll(async () => {
  cluster = Cluster.make('frames', files);
  cluster.on('node', 'ip', 'link', 'set', 'uplink', 'mtu', String(mtu));
  cluster.on('outside', 'ip', 'link', 'set', 'downlink', 'mtu', String(mtu));
  await cluster.up();
  cluster.background('outside', ...server(8080));
  cluster.background('node', ...bound(Object.values(node), 8080));
  shims = new Map(cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').map((row) => [row.key, row.shimPid]));
  for (const to of [outside.ipv4, node.ipv4, cluster.end('default/echo').ipv4]) {
    await cluster.until(`${to} listens`, () => cluster.probe('node', [{ kind: 'tcp', to, port: 8080 }])[0] === 'open');
  }
}, 120_000);
afterAll(async () => { await cluster.close(); });

/** As root in the network namespace of a workload: more than the workload itself may do. */
function inside(workload: string, script: string, ...words: string[]): unknown {
  const { stdout, stderr } = spawnSync('nsenter', [`--net=/proc/${shims.get(workload)!}/ns/net`, 'python3', '-c', script, ...words], { encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

/** SIOCETHTOOL: switches one offload of a device (linux/ethtool.h). */
const setOffload = `
import array, fcntl, json, socket, struct, sys
device, switches = sys.argv[1], json.loads(sys.argv[2])
commands = {'rx': 0x15, 'tx': 0x17, 'sg': 0x19, 'tso': 0x1f, 'gso': 0x24, 'gro': 0x2c}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for name, on in switches.items():
        value = array.array('B', struct.pack('II', commands[name], on))
        fcntl.ioctl(s, 0x8946, struct.pack('16sP', device.encode(), value.buffer_info()[0]))
print('true')
`;
type Switches = Readonly<Partial<Record<'rx' | 'tx' | 'sg' | 'tso' | 'gso' | 'gro', 0 | 1>>>;
function offloads(where: 'client' | 'node' | 'outside', switches: Switches): void {
  const words = [setOffload, where === 'client' ? 'eth0' : where === 'node' ? 'uplink' : 'downlink', JSON.stringify(switches)] as const;
  if (where === 'client') expect(inside('default/client', ...words)).toBe(true);
  else expect(cluster.on(where, 'python3', '-c', ...words)).toMatchObject({ code: 0 });
}

/** Sends 4 MB and one datagram of a given size to the echo server and tells what came back. */
const talk = `
import json, os, socket, sys, threading
to, size, plain = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'plain'
family = socket.AF_INET6 if ':' in to else socket.AF_INET
data = os.urandom(4 << 20)
def pieces():
    with open('/proc/self/net/snmp') as v4, open('/proc/self/net/snmp6') as v6:
        names, values = [line.split() for line in v4 if line.startswith('Ip:')]
        return int(dict(zip(names, values))['FragCreates']) + int(dict(line.split() for line in v6)['Ip6FragCreates'])
def left():
    with open('/proc/self/net/dev') as devices: row = next(line.split() for line in devices if line.strip().startswith('eth0:'))
    return int(row[9]), int(row[10])
start = left()
with socket.create_connection((to, 8080), timeout=10) as s:
    banner = b''
    while not banner.endswith(b'\\n'): banner += s.recv(1)
    back = bytearray()
    def receive():
        while len(back) < len(data): back.extend(s.recv(1 << 20))
    thread = threading.Thread(target=receive); thread.start(); s.sendall(data); thread.join()
end = left()
before = pieces()
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.settimeout(2); s.connect((to, 8080))
    if plain: s.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
    s.send(data[:size])
    try: datagram = s.recv(65536) == data[:size]
    except TimeoutError: datagram = None
print(json.dumps({'stream': bytes(back) == data, 'datagram': datagram, 'fragments': pieces() - before, 'carried': (end[0] - start[0]) / (end[1] - start[1])}))
`;
interface Talk { readonly stream: boolean; readonly datagram: boolean | null; readonly fragments: number; /** Bytes in a frame that left. */ readonly carried: number }

const ways = ['echo', 'node', 'outside'] as const;
const families = ['ipv4', 'ipv6'] as const;
const addressOf = (way: (typeof ways)[number], family: (typeof families)[number]): string =>
  (way === 'outside' ? outside : way === 'node' ? node : cluster.end('default/echo'))[family];
const every = families.flatMap((family) => ways.map((way) => ({ family, way })));

const states: readonly { readonly name: string; readonly client: Switches; readonly node: Switches; readonly outside: Switches; readonly segments: boolean; readonly plain?: boolean }[] = [
  { name: 'all that the devices do', client: { rx: 1, tx: 1, sg: 1, tso: 1, gso: 1, gro: 1 }, node: { rx: 1, tx: 1, tso: 1, gso: 1 }, outside: { rx: 1, tx: 1 }, segments: true },
  { name: 'segments cut before the device (no TSO)', client: { tso: 0, gso: 1 }, node: { tso: 0 }, outside: {}, segments: false },
  { name: 'checksums filled in on the way out, checked on the way in', client: { tx: 1, tso: 1 }, node: { tx: 0, rx: 0, tso: 0 }, outside: { tx: 0, rx: 0 }, segments: true },
  { name: 'no offload at all', client: { rx: 0, tx: 0, sg: 0, tso: 0, gso: 0, gro: 0 }, node: { rx: 0, tx: 0, tso: 0, gso: 0 }, outside: { rx: 0, tx: 0 }, segments: false },
  { name: 'a UDP checksum of zero, which only IPv4 allows', client: {}, node: {}, outside: {}, segments: false, plain: true },
];

describe.each(states)('$name', (state) => {
  beforeAll(() => { for (const where of ['client', 'node', 'outside'] as const) offloads(where, state[where]); });

  test.each(every)('$family to $way: 4 MB and a datagram of 8,900 bytes come back whole', ({ family, way }) => {
    const said = inside('default/client', talk, addressOf(way, family), '8900', state.plain === true && family === 'ipv4' ? 'plain' : 'summed') as Talk;
    expect(said).toMatchObject({ stream: true, datagram: true, fragments: 0 });
    if (state.segments) expect(said.carried).toBeGreaterThan(mtu);
    else expect(said.carried).toBeLessThanOrEqual(mtu + 14);
  });
});

/** Some kernels are built without 8021q. Asked of a veth: the loopback device never takes a VLAN. */
function kernelHasVlan(): boolean {
  const netns = 'weir-has-vlan';
  spawnSync('ip', ['netns', 'add', netns]);
  spawnSync('ip', ['-n', netns, 'link', 'add', 'name', 'near', 'type', 'veth', 'peer', 'name', 'far']);
  const { status } = spawnSync('ip', ['-n', netns, 'link', 'add', 'link', 'near', 'name', 'v', 'type', 'vlan', 'id', '5']);
  spawnSync('ip', ['netns', 'delete', netns]);
  return status === 0;
}

const hasVlan = kernelHasVlan();
describe('VLAN tags', () => {
  const json = (words: string): { address: string; lladdr: string }[] => {
    const { stdout } = spawnSync('nsenter', [`--net=/proc/${shims.get('default/client')!}/ns/net`, 'ip', '-j', ...words.split(' ')], { encoding: 'utf8' });
    return JSON.parse(stdout) as { address: string; lladdr: string }[];
  };
  const sendRaw = `
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(('eth0', 0))
    for one in sys.argv[1:]: s.send(bytes.fromhex(one))
print('true')
`;
  const told = (): number => cluster.weir('observe', '-o', 'jsonpb', '--drop-reason-desc', 'VLAN_FILTERED', '--last', '1000').out.split('\n').filter((line) => line !== '').length;

  test.each(families)('%s: a workload cannot tag its frames into another network; each is told', async (family) => {
    const mac = json('link show dev eth0')[0]!.address;
    const gateway = json('neigh show dev eth0')[0]!.lladdr;
    const client = cluster.end('default/client')[family];
    const echo = cluster.end('default/echo')[family];
    const build = (): Frame => frame().mac(mac, gateway).ip(client, echo).udp(1111, 8080, 'x');
    const frames = [build().vlan(5), build().vlan(5, tag.provider), build().vlan(5, tag.provider).vlan(6), build().vlan(0)];
    const before = told();
    expect(inside('default/client', sendRaw, ...frames.map((one) => Buffer.from(one.bytes()).toString('hex')))).toBe(true);
    await cluster.until('all are told', () => told() - before === frames.length, 5_000);
    // The same without a tag comes through: the frames were right but for the tag.
    const flows = (): string => cluster.weir('observe', '-o', 'compact', '--from-port', '1111', '--to-pod', 'default/echo', '--verdict', 'FORWARDED').out;
    expect(flows()).not.toContain(`${client}`);
    inside('default/client', sendRaw, Buffer.from(build().bytes()).toString('hex'));
    await cluster.until('the one without is forwarded', () => flows().includes('default/client:1111'), 5_000);
  });

  (hasVlan ? test : test.skip).each(families)(`%s: a VLAN of the machine itself on the same device is none of weir's business${hasVlan ? '' : ': this kernel has no VLAN devices'}`, (family) => {
    const [near, far] = family === 'ipv4' ? ['203.0.113.1/24', '203.0.113.2/24'] : ['2001:db8:77::1/64', '2001:db8:77::2/64'];
    for (const [where, device, address] of [['node', 'uplink', near], ['outside', 'downlink', far]] as const) {
      const name = `v-${family}`;
      const id = family === 'ipv4' ? '5' : '6';
      for (const words of [`link add link ${device} name ${name} type vlan id ${id}`, `address add ${address} dev ${name}${family === 'ipv6' ? ' nodad' : ''}`, `link set ${name} up`]) {
        expect(cluster.on(where, 'ip', ...words.split(' '))).toMatchObject({ code: 0 });
      }
    }
    const to = far!.split('/')[0]!;
    expect(cluster.probe('node', [{ kind: 'ping', to }, { kind: 'tcp', to, port: 8080 }])).toEqual(['open', 'open']);
  });
});
