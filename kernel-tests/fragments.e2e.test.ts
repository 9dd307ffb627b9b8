// End to end: UDP datagrams of 8,000 bytes, in fragments on every link of 1,500 bytes, there and back under policy, IPv4 and IPv6.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { bound, idle, server } from './programs.ts';

const udp = (port: string): object => ({ toPorts: [{ ports: [{ port, protocol: 'UDP' }] }] });
const files = {
  'pods.yaml': [pod('echo', server(8080, 9090)), pod('client', idle), pod('locked', idle)],
  'policies.yaml': [
    policy('echo', { endpointSelector: { matchLabels: { app: 'echo' } }, ingress: [udp('8080')], ingressDeny: [{ fromEntities: ['host'], ...udp('9090') }] }),
    policy('locked', { endpointSelector: { matchLabels: { app: 'locked' } }, egress: [udp('8080')] }),
  ],
};

interface Echo { /** What came back is what was sent, and nothing when nothing came. */ readonly whole: boolean | null; /** IP fragments that the sender's kernel made. */ readonly made: number }

/** Sends datagrams of `size` bytes to each target and prints what became of them. */
const sender = (size: number, targets: readonly { to: string; port: number }[]): string[] => ['python3', '-c', `
import json, os, socket, sys
def made():
    with open('/proc/self/net/snmp') as v4, open('/proc/self/net/snmp6') as v6:
        names, values = [line.split() for line in v4 if line.startswith('Ip:')]
        six = dict(line.split() for line in v6)
    return int(dict(zip(names, values))['FragCreates']) + int(six['Ip6FragCreates'])
def echo(to, port):
    before, data = made(), os.urandom(${size})
    with socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.7)
        s.connect((to, port))
        s.send(data)
        try: whole = s.recv(65536) == data
        except TimeoutError: whole = None
    return {'whole': whole, 'made': made() - before}
print(json.dumps([echo(**target) for target in json.loads(sys.argv[1])]))
`, JSON.stringify(targets)];

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('fragments', files);
  cluster.background('outside', ...server(8080, 9090));
  cluster.background('node', ...bound(Object.values(node), 8080, 9090));
  await cluster.until('the outside listens', () => cluster.probe('node', [{ kind: 'udp', to: outside.ipv4, port: 9090 }])[0] === 'open');
  await cluster.until('the host listens', () => cluster.probe('node', [{ kind: 'udp', to: node.ipv6, port: 9090 }])[0] === 'open');
  await cluster.until('the workload listens', () => cluster.probe('node', [{ kind: 'udp', to: cluster.end('default/echo').ipv4, port: 8080 }])[0] === 'open');
}, 120_000);
afterAll(async () => { await cluster.close(); });

interface Row { readonly name: string; readonly from: string; readonly to: 'echo' | 'node' | 'outside'; readonly port: number; readonly passes: boolean }
const rows: readonly Row[] = [
  { name: 'workload to workload', from: 'default/client', to: 'echo', port: 8080, passes: true },
  { name: 'workload to workload, a port that ingress does not allow', from: 'default/client', to: 'echo', port: 9090, passes: false },
  { name: 'workload to the host', from: 'default/client', to: 'node', port: 9090, passes: true },
  { name: 'workload to the outside, under the address of the node', from: 'default/client', to: 'outside', port: 9090, passes: true },
  { name: 'locked workload to workload', from: 'default/locked', to: 'echo', port: 8080, passes: true },
  { name: 'locked workload to the host', from: 'default/locked', to: 'node', port: 8080, passes: true },
  { name: 'locked workload to the host, a port that egress does not allow', from: 'default/locked', to: 'node', port: 9090, passes: false },
  { name: 'locked workload to the outside', from: 'default/locked', to: 'outside', port: 8080, passes: true },
  { name: 'locked workload to the outside, a port that egress does not allow', from: 'default/locked', to: 'outside', port: 9090, passes: false },
  { name: 'the host to its workload', from: 'node', to: 'echo', port: 8080, passes: true },
  { name: 'the host to its workload, denied by a rule', from: 'node', to: 'echo', port: 9090, passes: false },
];

const sizes = [{ size: 1400, ipv4: 0, ipv6: 0 }, { size: 8000, ipv4: 6, ipv6: 6 }, { size: 60_000, ipv4: 41, ipv6: 42 }];

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  const addressOf = (to: Row['to']): string => (to === 'outside' ? outside : to === 'node' ? node : cluster.end('default/echo'))[family];
  const send = (from: string, size: number, mine: readonly Row[]): Echo[] => {
    const command = sender(size, mine.map(({ to, port }) => ({ to: addressOf(to), port })));
    const { out, error } = from === 'node' ? cluster.on('node', ...command) : cluster.exec(from, ...command);
    if (out === '') throw new Error(error);
    return JSON.parse(out) as Echo[];
  };

  test.each(sizes.flatMap((one) => [...new Set(rows.map((row) => row.from))].map((from) => [one.size, from, one[family]] as const)))('%d bytes from %s', (size, from, made) => {
    const mine = rows.filter((row) => row.from === from);
    const echoes = send(from, size, mine);
    // The host's own stack hears of the drop at the first piece and makes no more.
    const expected = mine.map((row) => [row.name, { whole: row.passes ? true : null, made: row.passes || from !== 'node' ? made : 0 }]);
    expect(Object.fromEntries(mine.map((row, index) => [row.name, echoes[index]]))).toEqual(Object.fromEntries(expected));
  });
});

test('every piece that is dropped is told, for the reason of the policy', () => {
  const flows = cluster.weir('observe', '-o', 'jsonpb', '--verdict', 'DROPPED', '--last', '1000').out.trim().split('\n').map((line) => (JSON.parse(line) as { flow: { drop_reason_desc?: string } }).flow);
  expect(new Set(flows.map((flow) => flow.drop_reason_desc))).toEqual(new Set(['POLICY_DENIED', 'POLICY_DENY']));
});
