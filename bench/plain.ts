// What weir is measured against: two network namespaces behind a third that routes between their veth pairs, with nothing
// in between or with an nftables ruleset of so many rules.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { lastPort, port, type Pair } from './peer.ts';

const ip = (...words: string[]): void => { execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] }); };
const ends = ['client', 'server'] as const;
const address = (end: 0 | 1, family: 4 | 6): string => (family === 4 ? `10.77.${end}.2` : `fd77:${end}::2`);
const router = (end: 0 | 1, family: 4 | 6): string => (family === 4 ? `10.77.${end}.1` : `fd77:${end}::1`);

/** The program is on this machine; `nft` is of no use to weir itself. */
export const hasNft = (): boolean => { try { execFileSync('nft', ['--version'], { stdio: 'ignore' }); return true; } catch { return false; } };

/** Established connections first, as such rulesets are written; of the others, the one that lets the client in is the last. */
export function ruleset(rules: number): string {
  const others = Array.from({ length: rules - 2 }, (_, index) => `    ip saddr 172.${16 + (index >> 16)}.${(index >> 8) & 255}.${index & 255} tcp dport ${1000 + (index % 100)} accept`);
  const own = [`ip saddr ${address(0, 4)} ip daddr ${address(1, 4)}`, `ip6 saddr ${address(0, 6)} ip6 daddr ${address(1, 6)}`];
  return ['table inet bench {', '  chain forward {', '    type filter hook forward priority 0; policy drop;', '    ct state established,related accept',
    ...others, ...own.flatMap((match) => ['tcp', 'udp'].map((kind) => `    ${match} ${kind} dport ${port}-${lastPort} accept`)), '  }', '}', ''].join('\n');
}

export class PlainPair implements Pair {
  readonly label: string;
  readonly client: string;
  readonly server: string;
  readonly to = { ipv4: address(1, 4), ipv6: address(1, 6) };
  /** Path of the network namespace between them. */
  readonly router: string;
  readonly #name: string;

  constructor(name: string, rules?: number) {
    this.label = rules === undefined ? 'plain' : `nft ${rules}`;
    this.#name = `weir-${name}`;
    this.router = `/run/netns/${this.#name}`;
    this.client = `/run/netns/${this.#name}-client`;
    this.server = `/run/netns/${this.#name}-server`;
    this.close();
    ip('netns', 'add', this.#name);
    ends.forEach((end, index) => { this.#attach(end, index as 0 | 1); });
    const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
    execFileSync('nsenter', [`--net=${this.router}`, 'sysctl', '-q', '-w', ...forwarding]);
    if (rules !== undefined) execFileSync('nsenter', [`--net=${this.router}`, 'nft', '-f', '-'], { input: ruleset(rules) });
  }

  #attach(end: string, index: 0 | 1): void {
    const netns = `${this.#name}-${end}`;
    ip('netns', 'add', netns);
    ip('link', 'add', end, 'netns', this.#name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    for (const [where, device, own] of [[this.#name, end, router], [netns, 'eth0', address]] as const) {
      ip('-n', where, 'address', 'add', `${own(index, 4)}/24`, 'dev', device);
      ip('-n', where, 'address', 'add', `${own(index, 6)}/64`, 'dev', device, 'nodad');
      ip('-n', where, 'link', 'set', 'dev', device, 'up');
    }
    for (const family of [4, 6] as const) ip('-n', netns, 'route', 'add', 'default', 'via', router(index, family));
  }

  close(): void {
    for (const name of [this.#name, `${this.#name}-client`, `${this.#name}-server`]) if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
  }
}
