// A loaded datapath for packet tables: endpoints and policies by name, frames in, verdicts, frames and records out.
// `lo` (ifindex 1) stands for the interface on which a frame is seen, so no interface has to be made.
import { loadDatapath, type Datapath } from '../../agent/datapath/maps.ts';
import { testRun } from '../../agent/kernel/bpf.ts';
import { openRing, type Ring } from '../../agent/kernel/ring.ts';
import { mappedBytes, ipcacheKey } from '../../agent/ipcache/address.ts';
import { buildBpf, objectPath } from '../build.ts';
import { limit, type FlowRecord } from '../types.gen.ts';

/** What a tc program returns (linux/pkt_cls.h); `next`: as the programs after it say. */
export const verdictName = { 0: 'pass', 2: 'drop', 7: 'redirect', '-1': 'next' } as const;
export const here = 1;

export interface Outcome { readonly verdict: string; readonly packet: Uint8Array; readonly records: readonly FlowRecord[] }

export interface TestEndpoint { readonly ifindex: number; readonly ipv4: string; readonly ipv6: string; readonly mac: string; readonly ingress?: number; readonly egress?: number; readonly identity?: number; readonly classId?: number }

export interface TestStep { readonly mask: bigint; readonly word?: number; readonly action: number }
export interface TestPolicy { readonly defaultAction: number; readonly column?: number; readonly intervals: readonly { readonly lower: number; readonly steps: readonly TestStep[] }[] }

export class Bench {
  readonly datapath: Datapath;
  readonly #ring: Ring;
  #intervals = 0;
  #steps = 0;

  constructor() {
    buildBpf();
    this.datapath = loadDatapath(objectPath);
    this.#ring = openRing(this.datapath.flows.fd, limit.RING_BYTES);
  }

  run(program: 'from_workload' | 'to_workload' | 'from_netdev' | 'from_overlay', frame: Uint8Array): Outcome {
    this.records();
    const { result, packet } = testRun(this.datapath.object.programs.get(program)!, frame, here);
    return { verdict: verdictName[result as keyof typeof verdictName] ?? String(result), packet, records: this.records() };
  }

  records(): FlowRecord[] {
    const found: FlowRecord[] = [];
    this.#ring.drain((view, offset) => { found.push(this.datapath.flowRecord.decode(view, offset)); }, 100_000);
    return found;
  }

  prefix(prefix: string, identity: number, options: { classId?: number; ifindex?: number; flags?: number; node?: string } = {}): void {
    const peer = { identity, class_id: options.classId ?? 0 };
    this.datapath.ipcache.set(ipcacheKey(prefix), { peer: [peer, peer], since: 0, ifindex: options.ifindex ?? 0, flags: options.flags ?? 0, node: { word: options.node === undefined ? new Uint8Array(16) : mappedBytes(options.node) } });
  }

  endpoint(end: TestEndpoint): void {
    const ingress = end.ingress ?? 0;
    const egress = end.egress ?? 0;
    this.datapath.endpoints.set(end.ifindex, {
      ipv4: { word: mappedBytes(end.ipv4) }, ipv6: { word: mappedBytes(end.ipv6) }, id: end.ifindex, since: 0,
      ingress_policy: [ingress, ingress], egress_policy: [egress, egress],
      mac: bytes(end.mac), host_mac: bytes('02:00:00:00:00:fe'),
    });
    this.prefix(`${end.ipv4}/32`, end.identity ?? 1000 + end.ifindex, { ifindex: end.ifindex, classId: end.classId ?? 0 });
    this.prefix(`${end.ipv6}/128`, end.identity ?? 1000 + end.ifindex, { ifindex: end.ifindex, classId: end.classId ?? 0 });
  }

  /** A device that leads outside, with the addresses that masquerading gives; absent: none of that family. */
  netdev(ifindex: number, addresses: { ipv4?: string; ipv6?: string }): void {
    const word = (address: string | undefined): { word: Uint8Array } => ({ word: address === undefined ? new Uint8Array(16) : mappedBytes(address) });
    this.datapath.netdevs.set(ifindex, { ipv4: word(addresses.ipv4), ipv6: word(addresses.ipv6) });
  }

  /** Writes a merged policy as agent/policy/image.ts lays it out. */
  policy(id: number, options: TestPolicy): void {
    const { intervals, steps } = this.datapath;
    const first = this.#intervals;
    for (const { lower, steps: tried } of options.intervals) {
      intervals.set([lower, tried.length === 0 ? 0xffffffff : this.#steps], this.#intervals * 2);
      this.#intervals += 1;
      tried.forEach((step, index) => {
        const at = this.#steps * 16;
        steps.setBigUint64(at, step.mask, true);
        steps.setUint16(at + 8, step.word ?? 0, true);
        steps.setUint8(at + 10, step.action);
        steps.setUint8(at + 11, index === tried.length - 1 ? 1 : 0);
        this.#steps += 1;
      });
    }
    this.datapath.policies.set(id, { first_interval: first, intervals: options.intervals.length, column: options.column ?? 0, default_action: options.defaultAction });
  }

  close(): void {
    this.#ring.close();
    this.datapath.object.close();
  }
}

const bytes = (mac: string): Uint8Array => Uint8Array.from(mac.split(':').map((part) => parseInt(part, 16)));
