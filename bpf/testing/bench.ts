// A loaded datapath for packet tables: endpoints and policies by name, frames in, verdicts, frames and records out.
// `lo` (ifindex 1) stands for the interface on which a frame is seen, so no interface has to be made.
import { ticksNow, ticksOf } from '../../agent/datapath/ticks.ts';
import { setQuota } from '../../agent/datapath/usage.ts';
import { loadDatapath, type Datapath } from '../../agent/datapath/maps.ts';
import { testRun } from '../../agent/kernel/bpf.ts';
import { withMemory } from '../../agent/kernel/map.ts';
import { openRing, type Ring } from '../../agent/kernel/ring.ts';
import { mappedBytes, ipcacheKey } from '../../agent/ipcache/address.ts';
import { linesOf, stepsOf, writePolicy } from '../../agent/policy/kernel-rows.ts';
import { buildBpf, objectPath } from '../build.ts';
import { action, limit, type FlowRecord } from '../types.gen.ts';

/** What a tc program returns (linux/pkt_cls.h); `next`: as the programs after it say. */
export const verdictName = { 0: 'pass', 2: 'drop', 7: 'redirect', '-1': 'next' } as const;
export const here = 1;

/** A time of conntrack (enum of TICK_SHIFT in lib/types.h) so many seconds ago. */
export const ticksAgo = (seconds: number): number => ticksNow() - Math.round(ticksOf(seconds));

export interface Outcome { readonly verdict: string; readonly packet: Uint8Array; readonly mark: number; readonly records: readonly FlowRecord[] }

export interface TestEndpoint { readonly ifindex: number; readonly ipv4: string; readonly ipv6: string; readonly mac: string; readonly ingress?: number; readonly egress?: number; readonly identity?: number; readonly classId?: number }

export interface TestStep { readonly mask: bigint; readonly word?: number; readonly action: number }
export interface TestPolicy { readonly defaultAction: number; readonly column?: number; readonly intervals: readonly { readonly lower: number; readonly steps: readonly TestStep[] }[] }

export class Bench {
  readonly datapath: Datapath;
  readonly #ring: Ring;
  #lines = 0;
  #steps = 1;

  /** `object`: with more programs than the shipped ones. `pinDir`: where its maps outlive it. */
  constructor({ object = objectPath, ...options }: { readonly connections?: number; readonly object?: string; readonly pinDir?: string } = {}) {
    buildBpf();
    this.datapath = loadDatapath(object, options);
    setQuota(this.datapath.usage, this.datapath.connections);
    this.#ring = openRing(this.datapath.flows.fd, limit.RING_BYTES);
  }

  run(program: 'from_workload' | 'to_workload' | 'from_netdev' | 'to_netdev' | 'from_overlay' | 'from_proxy', frame: Uint8Array, mark = 0): Outcome { return this.runOn(program, frame, here, mark); }

  runOn(program: string, frame: Uint8Array, ifindex: number, before = 0): Outcome {
    this.records();
    const { result, packet, mark } = testRun(this.datapath.object.programs.get(program)!, frame, ifindex, 1, before);
    return { verdict: verdictName[result as keyof typeof verdictName] ?? String(result), packet, mark, records: this.records() };
  }

  /** As `run`, for very many: records are left in the ring. */
  verdict(program: 'from_workload', frame: Uint8Array): string {
    const { result } = testRun(this.datapath.object.programs.get(program)!, frame, here);
    return verdictName[result as keyof typeof verdictName] ?? String(result);
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
      ingress_policy: [ingress, ingress], egress_policy: [egress, egress], ingress_audit: [0, 0], egress_audit: [0, 0],
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

  /** Writes a merged policy as agent/policy/image.ts lays it out; `column`: its first word in every class row. */
  policy(id: number, { defaultAction, column = 0, intervals: list }: TestPolicy): void {
    const name = (number: number): 'allow' | 'deny' | 'proxy' => (number === action.ACTION_DENY ? 'deny' : number === action.ACTION_PROXY ? 'proxy' : 'allow');
    const intervals = list.map(({ lower, steps }) => ({ lower, steps: steps.map((step) => ({ mask: step.mask, word: step.word ?? 0, action: name(step.action) })) }));
    const policy = { intervals, defaultAction: defaultAction === action.ACTION_ALLOW ? 'allow' as const : 'default-deny' as const };
    const [lines, steps] = [linesOf(intervals.length), stepsOf(policy)];
    writePolicy(this.datapath, policy, { id, firstBit: column * 64, bits: 0, firstLine: this.#lines, lines, firstStep: this.#steps, steps });
    this.#lines += lines;
    this.#steps += steps;
  }

  /** A word of a class's row. */
  classWord(classId: number, word: number, value: bigint): void {
    const line = Math.floor(word / limit.LINE_WORDS) * limit.MAX_CLASSES + classId;
    withMemory(this.datapath.classRows, line + 1, (memory) => { new BigUint64Array(memory)[line * limit.LINE_WORDS + (word % limit.LINE_WORDS)] = value; });
  }

  close(): void {
    this.#ring.close();
    this.datapath.object.close();
  }
}

const bytes = (mac: string): Uint8Array => Uint8Array.from(mac.split(':').map((part) => parseInt(part, 16)));
