// Envoy for packet tables: marks and ports, listeners in the kernel's table, and policies whose TCP 80 is for it.
import { createServer, type Server } from 'node:net';
import { mapUpdate } from '../../agent/kernel/bpf.ts';
import { codecOf } from '../../agent/kernel/codec.ts';
import { action, type ProxyListener } from '../types.gen.ts';
import type { Bench } from './bench.ts';

export const marks = { toProxy: 0x101, downstream: 0x104, egressDone: 0x105, bothDone: 0x106 } as const;
export const proxyMac = '02:00:00:00:50:01';
export const proxyPort = { egress: 15_001, ingress: 15_002, dns: 15_015 } as const;
/** Numbers of merged policies. */
export const proxied = { egress: 21, ingress: 22 } as const;
const tcp = 6 << 16;
export const classes = [0, 1, 2] as const;

/** `device`: of the veth. */
export function steer({ datapath }: Bench, device: number): void {
  datapath.proxies.set(0, {
    ifindex: device, to_proxy: marks.toProxy, downstream: marks.downstream, egress_done: marks.egressDone, both_done: marks.bothDone,
    first_port: 15_000, ports: 16, mac: Uint8Array.from(proxyMac.split(':').map((part) => parseInt(part, 16))), dns_port: proxyPort.dns,
  });
}

/** Sockets that listen anywhere stand for a proxy's: the table has them by their number. The result ends them. */
export async function standIn({ datapath: { object: { maps, btf } } }: Bench, ports: readonly number[]): Promise<() => Promise<void>> {
  const codec = codecOf<ProxyListener>(btf.struct('proxy_listener'));
  const servers: Server[] = [];
  for (const [host, family] of [['127.0.0.1', 2], ['::1', 10]] as const) {
    const server = createServer();
    await new Promise<void>((resolve) => { server.listen(0, host, resolve); });
    servers.push(server);
    const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
    for (const port of ports) mapUpdate(maps.get('proxy_listeners')!.fd, codec.encode({ port, family }), new Uint8Array(BigUint64Array.of(BigInt(fd)).buffer), 'proxy_listeners');
  }
  return async () => { for (const server of servers) await new Promise<void>((resolve) => { server.close(() => { resolve(); }); }); };
}

export class TestProxy {
  readonly #bench: Bench;
  #hangUp = (): Promise<void> => Promise.resolve();

  /** `device`: of the veth; TCP 80 of both policies goes to it, for peers of every class. */
  constructor(bench: Bench, device: number) {
    this.#bench = bench;
    steer(bench, device);
    for (const id of Object.values(proxied)) {
      bench.policy(id, { defaultAction: action.ACTION_ALLOW, intervals: [{ lower: 0, steps: [] }, { lower: tcp + 80, steps: [{ mask: 1n, action: action.ACTION_PROXY }] }, { lower: tcp + 81, steps: [] }] });
    }
    for (const classId of classes) bench.classWord(classId, 0, 1n);
    this.ports(true);
  }

  /** The rows of proxy_ports. */
  ports(there: boolean): void {
    for (const direction of ['egress', 'ingress'] as const) {
      for (const classId of classes) {
        const key = { bits: 1n, policy: proxied[direction], interval: 1, class_id: classId };
        if (there) this.#bench.datapath.proxyPorts.set(key, proxyPort[direction]);
        else this.#bench.datapath.proxyPorts.delete(key);
      }
    }
  }

  async listen(): Promise<void> { this.#hangUp = await standIn(this.#bench, Object.values(proxyPort)); }

  async hangUp(): Promise<void> { await this.#hangUp(); }

  /** Nothing in conntrack is of the row before. */
  forget(): void { for (const [key] of this.#bench.datapath.conntrack.entries()) this.#bench.datapath.conntrack.delete(key); }
}
