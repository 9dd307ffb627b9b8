// End to end: a good neighbour. What a machine had before weir it has unchanged while weir runs and after it; traffic that is not
// weir's passes as before; the host reaches its workloads unless a rule denies it.
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { bound, idle, server } from './programs.ts';

/** What the machine keeps to itself: everything that its users could have set. One text per kind. */
const machine = `
import json, os, subprocess
def run(*words):
    try: return subprocess.run(words, capture_output=True, text=True).stdout
    except FileNotFoundError: return ''
found = {}
for name, words in {
    'links': 'ip -o -d link', 'addresses': 'ip -o address', 'rules': 'ip -4 rule', 'rules6': 'ip -6 rule', 'routes': 'ip -4 route show table all', 'routes6': 'ip -6 route show table all',
    'neighbours': 'ip neighbour show nud permanent', 'nftables': 'nft list ruleset', 'qdiscs': 'tc qdisc', 'xfrm': 'ip xfrm policy',
}.items(): found[name] = run(*words.split())
moving = ('kernel/random/', 'fs/', 'kernel/ns_last_pid', 'kernel/pty/nr', 'net/netfilter/nf_conntrack_count')
for folder, _, files in os.walk('/proc/sys'):
    for file in files:
        path = os.path.join(folder, file)
        if path[len('/proc/sys/'):].startswith(moving): continue
        try:
            with open(path) as value: found.setdefault('sysctls', []).append(path + ' ' + value.read().strip())
        except (OSError, UnicodeDecodeError): pass
found['sysctls'] = '\\n'.join(sorted(found['sysctls']))
with open('/proc/self/mounts') as mounts: found['mounts'] = ''.join(line for line in mounts if ' nsfs ' not in line)
with open('/etc/hosts') as hosts: found['hosts'] = hosts.read()
print(json.dumps(found))
`;
const kinds = ['links', 'addresses', 'rules', 'rules6', 'routes', 'routes6', 'neighbours', 'nftables', 'qdiscs', 'xfrm', 'sysctls', 'mounts', 'hosts'];
type Machine = Readonly<Record<string, string>>;
const stateOf = (cluster: Cluster): Machine => {
  const found = JSON.parse(cluster.on('node', 'python3', '-c', machine).out) as Record<string, string>;
  // Times that run.
  return Object.fromEntries(Object.entries(found).map(([kind, text]) => [kind, text.replaceAll(/ (expires|valid_lft|preferred_lft) \S+/g, '')]));
};

const files = {
  'pods.yaml': [pod('server', server(8080, 9090)), pod('client', idle)],
  'policies.yaml': [
    policy('closed', { endpointSelector: {}, ingress: [{}], egress: [{}] }),
    policy('not-the-host', { endpointSelector: { matchLabels: { app: 'server' } }, ingressDeny: [{ fromEntities: ['host'], toPorts: [{ ports: [{ port: '9090', protocol: 'ANY' }] }] }] }),
  ],
};

/** A container of somebody else's, routed by the node: addresses behind it that no one knows but the node and the outside. */
const guest = { ipv4: '203.0.113.2', ipv6: '2001:db8:77::2' };
const guestNetns = 'weir-neighbour-guest';
function addGuest(cluster: Cluster): void {
  execFileSync('ip', ['netns', 'add', guestNetns]);
  const steps: readonly (readonly ['node' | 'outside' | 'guest', string])[] = [
    ['node', `ip link add guest type veth peer name eth0 netns ${guestNetns}`],
    ['node', 'ip link set guest up'], ['guest', 'ip link set eth0 up'], ['guest', 'ip link set lo up'],
    ['node', 'ip address add 203.0.113.1/24 dev guest'], ['guest', 'ip address add 203.0.113.2/24 dev eth0'],
    ['node', 'ip address add 2001:db8:77::1/64 dev guest nodad'], ['guest', 'ip address add 2001:db8:77::2/64 dev eth0 nodad'],
    ['guest', 'ip route add default via 203.0.113.1'], ['guest', 'ip route add default via 2001:db8:77::1'],
    ['outside', `ip route add 203.0.113.0/24 via ${node.ipv4}`], ['outside', `ip route add 2001:db8:77::/64 via ${node.ipv6}`],
    ['node', 'ip rule add pref 100 fwmark 7 lookup 77'], ['node', 'ip -6 rule add pref 100 fwmark 7 lookup 77'], ['node', 'ip route add 192.0.2.0/24 via 203.0.113.2 table 77'],
    ['node', 'nft add table inet mine'], ['node', 'nft add chain inet mine forward { type filter hook forward priority 0 ; policy accept ; }'],
    ['node', 'nft add rule inet mine forward ip daddr 192.0.2.1 drop'],
    ['node', 'sysctl -q -w net.ipv4.ip_forward=1'], ['node', 'sysctl -q -w net.ipv6.conf.all.forwarding=1'],
  ];
  for (const [where, words] of steps) {
    if (where === 'guest') execFileSync('nsenter', [`--net=/run/netns/${guestNetns}`, ...words.split(' ')]);
    else expect([words, cluster.on(where, ...words.split(' '))]).toMatchObject([words, { code: 0 }]);
  }
}

let cluster: Cluster;
let before: Machine;
let during: Machine;
beforeAll(async () => {
  cluster = Cluster.make('neighbour', files);
  addGuest(cluster);
  cluster.background('outside', ...server(8080));
  cluster.background('node', ...bound(Object.values(node), 8080));
  await cluster.until('the outside listens', () => cluster.probe('node', [{ kind: 'tcp', to: outside.ipv4, port: 8080 }])[0] === 'open');
  await cluster.until('link-local addresses are settled', () => cluster.on('node', 'ip', 'address', 'show', 'tentative').out === '');
  before = stateOf(cluster);
  await cluster.up();
  await cluster.until('the workload listens', () => cluster.probe('node', [{ kind: 'tcp', to: cluster.end('default/server').ipv4, port: 8080 }])[0] === 'open');
  during = stateOf(cluster);
}, 120_000);
afterAll(async () => {
  execFileSync('ip', ['netns', 'delete', guestNetns]);
  await cluster.close();
});

describe('while it runs', () => {
  const own = (): RegExp => {
    const { ipv4, ipv6 } = cluster.json<{ ranges: { ipv4: string; ipv6: string } }>('status').ranges;
    const start = (prefix: string): string => prefix.replace(/[.:0]*\/.*$/, '').replaceAll('.', '\\.');
    return new RegExp(`${cluster.instance.interfacePrefix}|${start(ipv4)}[.:]|${start(ipv6)}:|${cluster.instance.stateDir}|/weir-cgroup2`);
  };

  test.each(kinds)('%s: nothing of the machine is gone or changed, and what is new is its own', (kind) => {
    const had = new Set(before[kind]!.split('\n'));
    const has = new Set(during[kind]!.split('\n'));
    expect([...had].filter((line) => !has.has(line))).toEqual([]);
    const ours = own();
    expect([...has].filter((line) => !had.has(line) && !ours.test(line))).toEqual([]);
  });

  interface Row { readonly name: string; readonly from: 'node' | 'outside' | 'guest'; readonly to: 'node' | 'outside' | 'guest' }
  const rows: readonly Row[] = [
    { name: 'the host reaches the outside', from: 'node', to: 'outside' },
    { name: 'the outside reaches the host', from: 'outside', to: 'node' },
    { name: 'a guest of the host, routed, reaches the outside', from: 'guest', to: 'outside' },
    { name: 'the outside reaches the guest, where nobody listens', from: 'outside', to: 'guest' },
  ];
  test.each(rows.flatMap((row) => (['ipv4', 'ipv6'] as const).map((family) => [family, row.name, row] as const)))('%s: %s, under a policy that denies everything', (family, _, row) => {
    const to = (row.to === 'outside' ? outside : row.to === 'node' ? node : guest)[family];
    // Ports of the range from which masqueraded connections get theirs belong to others too.
    const script = `
import json, socket, subprocess, sys
to, family = sys.argv[1], socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
said = [subprocess.run(['ping', '-n', '-c', '1', '-W', '1', to], capture_output=True).returncode]
for port in (0, 61000, 61500, 65535):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.settimeout(1); s.bind(('', port))
            try:
                s.connect((to, 8080))
                if kind == socket.SOCK_DGRAM: s.send(b'x')
                s.recv(100); said.append('open')
            except ConnectionRefusedError: said.append('refused')
            except TimeoutError: said.append('silent')
print(json.dumps(said))
`;
    const command = ['python3', '-c', script, to];
    const out = row.from === 'guest' ? execFileSync('nsenter', [`--net=/run/netns/${guestNetns}`, ...command], { encoding: 'utf8' }) : cluster.on(row.from, ...command).out;
    expect(JSON.parse(out)).toEqual([0, ...new Array<string>(8).fill(row.to === 'guest' ? 'refused' : 'open')]);
  });

  test.each(['ipv4', 'ipv6'] as const)('%s: the host reaches its workloads although they admit nobody, unless a rule denies it', (family) => {
    const to = cluster.end('default/server')[family];
    expect(cluster.probe('node', [{ kind: 'tcp', to, port: 8080 }, { kind: 'udp', to, port: 8080 }, { kind: 'ping', to }, { kind: 'tcp', to, port: 9090 }, { kind: 'udp', to, port: 9090 }]))
      .toEqual(['open', 'open', 'open', 'silent', 'silent']);
    expect(cluster.probe('default/client', [{ kind: 'tcp', to, port: 8080 }])).toEqual(['silent']);
  });
});

test('afterwards the machine is as it was', async () => {
  await cluster.stop();
  expect(stateOf(cluster)).toEqual(before);
});
