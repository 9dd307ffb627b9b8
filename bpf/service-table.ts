// Every feature of Services at every hook, by family and protocol: the test that shows it, or why there is none. `node bpf/service-table.ts` writes
// SERVICES.md from it; service-table.test.ts holds each name against the tests that there are.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const hooks = ['socket', 'tc', 'XDP'] as const;
export const families = ['IPv4', 'IPv6'] as const;
export const protocols = ['TCP', 'UDP'] as const;
type Hook = (typeof hooks)[number];
export type Protocol = (typeof protocols)[number];

/** `name`: the whole name, with F for the family and P for the protocol; without them the one test is about all of them. */
export interface Shown { readonly file: string; readonly name: string }
export interface Missing { readonly reason: string }
export type Cell = Shown | Missing;
type Cells = Cell | Readonly<Record<Protocol, Cell>>;
interface Feature { readonly feature: string; readonly cells: Readonly<Record<Hook, Cells>> }

const test = (file: string) => (name: string): Shown => ({ file, name });
const socket = test('bpf/socket.test.ts');
const asks = (name: string): Shown => socket(`a socket asks for a service P, F: ${name}`);
const tc = test('bpf/service.test.ts');
const nodePort = test('bpf/service_nodeport.test.ts');
const here = (name: string): Shown => nodePort(`a client outside asks a NodePort, the backend is here F P: ${name}`);
const elsewhere = (name: string): Shown => nodePort(`the backend is on another node F P: ${name}`);
const ofNode = (name: string): Shown => test('bpf/service_node.test.ts')(`a client outside asks a service F P: ${name}`);
const dsr = test('bpf/service_dsr.test.ts');
const xdp = (name: string): Shown => test('bpf/xdp.test.ts')(`an established connection F P: ${name}`);
const untouched = (name: string): Shown => test('bpf/xdp.test.ts')(`goes on to tc, untouched F P: ${name}`);
const sockets = test('kernel-tests/services-sockets.e2e.test.ts');
const outside = (name: string): Shown => test('kernel-tests/services-nodeport.e2e.test.ts')(`one node ${name}`);
const derived = (name: string): Shown => test('agent/service/derive.test.ts')(`where it is reached ${name}`);
const no = (reason: string): Missing => ({ reason });

const workloads = no('workloads have no device that XDP sees');
const passed = untouched('a connection that nobody opened');
const client = no('a client outside has no socket here');
const chosen = no('tc opens the connection and chooses');
const connected = no('a socket is connected: its packets are those of a direct connection');

export const features: readonly Feature[] = [
  { feature: 'ClusterIP: a backend is asked', cells: { socket: asks('a backend answers, the service is shown'), tc: tc('a workload asks a ClusterIP F P: the backend gets it, checksums right; the flow names the backend'), XDP: workloads } },
  { feature: 'and answers from there', cells: { socket: asks('a backend answers, the service is shown'), tc: tc('a workload asks a ClusterIP F P: it is answered from there'), XDP: workloads } },
  { feature: 'all backends get some', cells: { socket: asks('connections go to all backends'), tc: tc('a workload asks a ClusterIP F P: all backends get some'), XDP: workloads } },
  { feature: 'a datagram to several services', cells: { socket: { TCP: no('a TCP socket has one peer'), UDP: socket('datagrams F: unconnected: the service is their source, and one backend answers all') }, tc: tc('a workload asks a ClusterIP F P: a connection keeps its backend among many'), XDP: workloads } },
  { feature: 'hairpin: a workload that is its own backend', cells: { socket: sockets('a workload that is its own backend: open'), tc: tc('a workload that is its own backend F P: gets it from the frontend\'s address, and its answer too; no policy says anything'), XDP: workloads } },
  { feature: 'ICMP errors', cells: { socket: connected, tc: tc('errors F P: what the backend says comes from the frontend'), XDP: no('ICMP is left to tc') } },
  { feature: 'fragments', cells: { socket: connected, tc: { TCP: no('TCP is segmented, not fragmented: DF is set'), UDP: tc('pieces F UDP: follow their first, there and back') }, XDP: { TCP: no('TCP is segmented, not fragmented: DF is set'), UDP: untouched('a piece') } } },
  { feature: 'sessionAffinity', cells: { socket: asks('session affinity keeps a client at one backend, until that takes no more'), tc: tc('which backend F P: with affinity a client stays, whatever it opens'), XDP: chosen } },
  { feature: 'its timeout', cells: { socket: no('the same function as in tc (backend_by_affinity)'), tc: tc('which backend F P: affinity lasts as long as its service says'), XDP: chosen } },
  { feature: 'Maglev', cells: { socket: no('any slot: a socket\'s client is here alone, nothing is to agree with other nodes'), tc: tc('which backend F P: by its Maglev table'), XDP: chosen } },
  { feature: 'internalTrafficPolicy: Local', cells: { socket: derived('a ClusterIP for this node only'), tc: derived('a ClusterIP for this node only'), XDP: workloads } },
  { feature: 'no backend', cells: { socket: asks('nobody behind it: refused'), tc: tc('refused F P: no backends'), XDP: passed } },
  { feature: 'policy sees the backend', cells: { socket: sockets('a workload whom the backends let not in: silent'), tc: tc('refused F P: a policy that denies the backend'), XDP: untouched('a connection judged in another generation') } },
  { feature: 'a backend that goes', cells: {
    socket: { TCP: sockets('whose backend goes is told: a workload and a process of the node'), UDP: socket('datagrams F: another backend when theirs is gone') },
    tc: { TCP: tc('a backend that goes F TCP: the connection is reset, a new one finds another'), UDP: tc('a backend that goes F UDP: another one takes over') }, XDP: passed,
  } },
  { feature: 'NodePort, the backend here', cells: { socket: sockets('the node asks for its own NodePort: open'), tc: here('it gets the client\'s own address; the flow is one from the world'), XDP: passed } },
  { feature: 'and its answer', cells: { socket: sockets('a workload asks for a NodePort: open'), tc: here('its answer leaves from the NodePort, and is not masqueraded'), XDP: no('answers come from a workload\'s veth') } },
  { feature: 'nobody else binds a NodePort', cells: { socket: socket('who is translated a process of the node binds a NodePort, P: errno 98'), tc: no('a bind is no packet'), XDP: no('a bind is no packet') } },
  { feature: 'LoadBalancer, ExternalIP', cells: { socket: derived('external IPs'), tc: here('the same at an address that no interface has'), XDP: passed } },
  { feature: 'loadBalancerSourceRanges', cells: { socket: asks('what has source ranges is left to packets'), tc: nodePort('refused F P: a client that is in no source range'), XDP: passed } },
  { feature: 'externalTrafficPolicy: Local', cells: { socket: no('it is about clients outside'), tc: outside('of local backends alone, 30085: open'), XDP: passed } },
  { feature: 'the backend on another node, SNAT', cells: { socket: asks('a backend answers, the service is shown'), tc: elsewhere('it goes there under this node\'s address'), XDP: xdp('from the client as by tc, one hop less, checksums right, to the next hop\'s MAC address') } },
  { feature: 'and its answer, un-SNAT', cells: { socket: client, tc: elsewhere('the answer goes to the client from the NodePort'), XDP: xdp('from the backend as by tc') } },
  { feature: 'by a tunnel', cells: { socket: connected, tc: elsewhere('by a tunnel'), XDP: untouched('with tunnels') } },
  { feature: 'every port of SNAT in use', cells: { socket: client, tc: nodePort('the backend is on another node F: with every port towards it in use, new connections are refused, others are safe'), XDP: passed } },
  { feature: 'DSR, the node that was asked', cells: { socket: client, tc: dsr('the node that was asked F P: sends it on under the client\'s address, with the frontend in an option'),
    XDP: { TCP: test('bpf/xdp.test.ts')('an established connection F TCP with DSR: under the client\'s own address'), UDP: no('each datagram carries the option, which tc puts in') } } },
  { feature: 'DSR, the backend\'s node', cells: { socket: client, tc: dsr('the backend\'s node F P: answers from the frontend, unmasqueraded'), XDP: no('what is for this node goes up to tc') } },
  { feature: 'a process of this node', cells: { socket: test('kernel-tests/services-node.e2e.test.ts')('one node the node asks, from node'), tc: ofNode('a process of the node gets it, under the client\'s own address; the flow is one from the world'), XDP: passed } },
  { feature: 'and its answer', cells: { socket: test('kernel-tests/services-node.e2e.test.ts')('one node a workload asks, from default/client'), tc: ofNode('its answer leaves from the NodePort'), XDP: no('XDP sees nothing that leaves') } },
];

/** Of all hooks, families and protocols. */
export const cellOf = (cells: Cells, protocol: Protocol): Cell => ('TCP' in cells ? cells[protocol] : cells);

export const nameOf = ({ name }: Shown, family: string, protocol: Protocol): string => name.replace(/\bF\b/, family).replace(/\bP\b/, protocol);

const said = (cell: Cell): string => ('reason' in cell ? `- (${cell.reason})` : `${cell.file.replace(/^.*\//, '').replace(/(\.e2e)?\.test\.ts$/, '$1')}: ${cell.name}`).replaceAll('|', '\\|');

export function tableText(): string {
  const rows = features.flatMap(({ feature, cells }) => hooks.map((hook) => {
    const [tcp, udp] = protocols.map((protocol) => said(cellOf(cells[hook], protocol)));
    return `| ${feature} | ${hook} | ${tcp} | ${tcp === udp ? 'the same' : udp} |`;
  }));
  return ['# Services: what shows each feature', '',
    'Written by `node bpf/service-table.ts`; `service-table.test.ts` finds each name among the tests, for IPv4 and IPv6 (F) and TCP and UDP (P). A name without F and P is one test that does all',
    'four, or is about what comes before any packet. A dash: there is nothing to show, and why. What passes from XDP to tc is shown as just that.', '',
    '| feature | hook | TCP, IPv4 and IPv6 | UDP, IPv4 and IPv6 |', '|---|---|---|---|', ...rows, ''].join('\n');
}

export const tablePath = fileURLToPath(new URL('SERVICES.md', import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(tablePath, tableText());
