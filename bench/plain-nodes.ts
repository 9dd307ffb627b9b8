// What two nodes are measured against: two namespaces that route, joined by a bridge as weir's nodes are, with a workload's namespace behind each;
// between them plain routes or a VXLAN device of the kernel's own.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Pair } from './peer.ts';

const ip = (...words: string[]): void => { execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] }); };
const ends = ['client', 'server'] as const;
const own = (end: number, family: 4 | 6): string => (family === 4 ? `10.78.${end}.2` : `fd78:${end}::2`);
const router = (end: number, family: 4 | 6): string => (family === 4 ? `10.78.${end}.1` : `fd78:${end}::1`);
const range = (end: number, family: 4 | 6): string => (family === 4 ? `10.78.${end}.0/24` : `fd78:${end}::/64`);
const node = (end: number, family: 4 | 6): string => (family === 4 ? `10.79.0.${end + 1}` : `fd79::${end + 1}`);
const inner = (end: number, family: 4 | 6): string => (family === 4 ? `10.80.0.${end + 1}` : `fd80::${end + 1}`);
const length = (family: 4 | 6): number => (family === 4 ? 24 : 64);
const families = [4, 6] as const;
const tunnelBytes = 50;

export class PlainNodes implements Pair {
  readonly label: string;
  readonly client: string;
  readonly server: string;
  readonly to = { ipv4: own(1, 4), ipv6: own(1, 6) };
  readonly #machine: string;
  readonly #vxlan: boolean;

  constructor(name: string, tunnel: 'vxlan' | 'disabled') {
    this.#vxlan = tunnel === 'vxlan';
    this.label = this.#vxlan ? 'plain VXLAN' : 'plain routes';
    this.#machine = `weir-${name}`;
    this.client = `/run/netns/${this.#machine}-client`;
    this.server = `/run/netns/${this.#machine}-server`;
    this.close();
    ip('netns', 'add', this.#machine);
    ip('-n', this.#machine, 'link', 'add', 'bridge', 'type', 'bridge');
    ip('-n', this.#machine, 'link', 'set', 'bridge', 'up');
    ends.forEach((_, index) => { this.#addNode(index); });
  }

  #node(end: number): string { return `${this.#machine}-node${end + 1}`; }

  #addNode(end: number): void {
    const netns = this.#node(end);
    const workload = `${this.#machine}-${ends[end]!}`;
    for (const one of [netns, workload]) {
      ip('netns', 'add', one);
      ip('-n', one, 'link', 'set', 'lo', 'up');
    }
    ip('link', 'add', `node${end + 1}`, 'netns', this.#machine, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    ip('-n', this.#machine, 'link', 'set', `node${end + 1}`, 'master', 'bridge', 'up');
    const mtu = String(1_500 - (this.#vxlan ? tunnelBytes : 0));
    ip('link', 'add', 'inside', 'netns', netns, 'mtu', mtu, 'type', 'veth', 'peer', 'name', 'eth0', 'mtu', mtu, 'netns', workload);
    for (const family of families) {
      for (const [where, device, address] of [[netns, 'eth0', node], [netns, 'inside', router], [workload, 'eth0', own]] as const) ip('-n', where, 'address', 'add', `${address(end, family)}/${length(family)}`, 'dev', device, ...(family === 6 ? ['nodad'] : []));
    }
    for (const [where, device] of [[netns, 'eth0'], [netns, 'inside'], [workload, 'eth0']] as const) ip('-n', where, 'link', 'set', 'dev', device, 'up');
    if (this.#vxlan) this.#addTunnel(end);
    for (const family of families) {
      ip('-n', workload, 'route', 'add', 'default', 'via', router(end, family));
      ip('-n', netns, 'route', 'add', range(1 - end, family), 'via', this.#vxlan ? inner(1 - end, family) : node(1 - end, family));
    }
    execFileSync('nsenter', [`--net=/run/netns/${netns}`, 'sysctl', '-q', '-w', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  }

  #addTunnel(end: number): void {
    const netns = this.#node(end);
    ip('-n', netns, 'link', 'add', 'tunnel', 'mtu', String(1_500 - tunnelBytes), 'type', 'vxlan', 'id', '7', 'local', node(end, 4), 'remote', node(1 - end, 4), 'dstport', '8472');
    for (const family of families) ip('-n', netns, 'address', 'add', `${inner(end, family)}/${length(family)}`, 'dev', 'tunnel', ...(family === 6 ? ['nodad'] : []));
    ip('-n', netns, 'link', 'set', 'tunnel', 'up');
  }

  close(): void {
    for (const name of [this.#machine, ...ends.map((end) => `${this.#machine}-${end}`), this.#node(0), this.#node(1)]) if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
  }
}
