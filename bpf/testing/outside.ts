// A network namespace with a way out, for what asks the kernel's routes: workloads send on `lo`, `out` leads outside.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { bytesOf } from '../../agent/ipcache/address.ts';
import { addAddress, addRoute, createVeth, links, setUp } from '../../agent/kernel/link.ts';
import { inNetns, withNetlinkIn } from '../../agent/kernel/netns.ts';

export const node = { ipv4: '198.51.100.2', ipv6: '2001:db8:51::2' };
const gateway = { ipv4: '198.51.100.1', ipv6: '2001:db8:51::1' };
const any = { ipv4: new Uint8Array(4), ipv6: new Uint8Array(16) };

export class Outside {
  /** ifindex of the device that leads outside. */
  readonly device: number;
  /** Of its other end. */
  readonly peer: number;
  readonly #name: string;

  /** `name`: of the test file, as several run at once. */
  constructor(name: string) {
    this.#name = `weir-bpf-${name}`;
    this.close();
    execFileSync('ip', ['netns', 'add', this.#name]);
    [this.device, this.peer] = withNetlinkIn(this.#path, (netlink) => {
      createVeth(netlink, { name: 'out', mtu: 1500, peer: { name: 'far' } });
      const index = new Map(links(netlink).map((link) => [link.name, link.index]));
      for (const end of ['lo', 'far', 'out']) setUp(netlink, index.get(end)!, end);
      const out = index.get('out')!;
      addAddress(netlink, out, bytesOf(node.ipv4), 24, 'out');
      addAddress(netlink, out, bytesOf(node.ipv6), 64, 'out');
      addRoute(netlink, { destination: any.ipv4, prefixLength: 0, output: out, gateway: bytesOf(gateway.ipv4) }, 'default route');
      addRoute(netlink, { destination: any.ipv6, prefixLength: 0, output: out, gateway: bytesOf(gateway.ipv6) }, 'default route');
      return [out, index.get('far')!] as const;
    });
    // bpf_fib_lookup refuses a device that does not forward (net/core/filter.c, bpf_ipv4_fib_lookup).
    this.within(() => { for (const family of ['ipv4', 'ipv6']) writeFileSync(`/proc/sys/net/${family}/conf/lo/forwarding`, '1'); });
  }

  within<Result>(work: () => Result): Result { return inNetns(this.#path, work); }

  close(): void {
    const known = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n').some((line) => line.split(' ')[0] === this.#name);
    if (known) execFileSync('ip', ['netns', 'delete', this.#name]);
  }

  get #path(): string { return `/run/netns/${this.#name}`; }
}
