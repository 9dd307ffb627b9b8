// The observer: takes records, flows and losses from the agent, keeps the last ones, and tells how many there were.
// serve.ts puts it on a socket; the agent's own screen subscribes here.
import { flow_event } from '../bpf/types.gen.ts';
import type { ProxyAccess } from './access.ts';
import { AccessRows, type ProxyRules } from './access-row.ts';
import { Entries } from './entries.ts';
import { endpointOf, toFlow, type Lookups } from './flow.ts';
import { Fold, type Tell } from './fold.ts';
import { Redaction, type RedactOptions } from './redact.ts';
import { decodeRecord, field, recordBytes, timeAt } from './record.ts';
import { RequestRing } from './requests/ring.ts';
import { endNameOf } from './requests/table.ts';
import { Ring } from './ring.ts';
import { timestampOfMs } from './time.ts';
import { lostEventSource, verdict, type Flow, type GetNamespacesResponse, type ServerStatusResponse } from './types.ts';
import { Namespaces, Rate, SeenIdentities } from './seen.ts';
import { numberOfUuid } from './uuid.ts';
export { serveHubble } from './serve.ts';

export interface ObserverOptions {
  /** Flows that are kept. */
  readonly capacity?: number;
  readonly nodeName: string;
  readonly version: string;
  /** Names for what records hold as numbers; who hands in ready flows only needs none. */
  readonly lookups?: Lookups;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
  /** CLOCK_MONOTONIC, as records have it. */
  readonly monotonicNs?: () => bigint;
  readonly redact?: RedactOptions;
}

/** Where events were lost before they reached the observer. */
const sources = { PERF_EVENT_RING_BUFFER: lostEventSource.kernelRing, OBSERVER_EVENTS_QUEUE: lostEventSource.observerQueue } as const;
export type LostSource = keyof typeof sources;

export interface ObserverStats {
  readonly capacity: number;
  readonly kept: number;
  readonly seen: number;
  /** Flows that were pushed out of the ring by later ones; readers who wanted them were told. */
  readonly overwritten: number;
  readonly perSecond: number;
  /** Names that kept records may have lost. */
  readonly forgottenNames: number;
  /** Records that came in too many kinds at once for the subscribers. */
  readonly untold: number;
  readonly lost: Readonly<Record<LostSource, number>>;
}

/** One less than a power of two, as Hubble's. 152 bytes each: 2.4 MiB. */
export const defaultCapacity = 16_383;

/** Records of a run whose namespaces are noted. */
const namedOfRun = 256;

const noNames: Lookups = {
  endpoint: () => undefined, identityLabels: () => [], policies: () => [], changedNs: () => 0, forgotten: () => 0, toUnixNs: (ns) => ns, nodeName: '',
};

export class Observer {
  readonly nodeName: string;
  readonly version: string;
  readonly now: () => number;
  readonly ring: Ring;
  readonly entries: Entries;
  /** What `access` told of HTTP, in numbers. */
  readonly requests: RequestRing;
  readonly #startedMs: number;
  readonly #subscribers = new Set<Tell>();
  readonly #fold: Fold;
  readonly #accesses: AccessRows;
  readonly #monotonicNs: () => bigint;
  readonly #namespaces: Namespaces;
  readonly #identities: SeenIdentities;
  readonly #rate: Rate;
  readonly #lost: Record<LostSource, number> = { PERF_EVENT_RING_BUFFER: 0, OBSERVER_EVENTS_QUEUE: 0 };
  /** A flow, or a copy of the record until its names might be forgotten. */
  #lastDrop: Flow | { readonly number: number; readonly record: Uint8Array } | undefined;

  /** Throws RequestError. */
  constructor({ capacity = defaultCapacity, nodeName, version, lookups = noNames, clock = Date.now, monotonicNs = process.hrtime.bigint, redact = {} }: ObserverOptions) {
    this.nodeName = nodeName;
    this.version = version;
    this.now = clock;
    this.ring = new Ring(capacity);
    this.entries = new Entries(this.ring, lookups);
    this.requests = new RequestRing(clock, (address) => endNameOf(endpointOf(address, lookups.identity?.(address) ?? 0, Number(monotonicNs()), lookups), address));
    this.#startedMs = clock();
    this.#accesses = new AccessRows(this.ring, lookups, new Redaction(redact));
    this.#monotonicNs = monotonicNs;
    this.#fold = new Fold(this.entries, clock);
    this.#namespaces = new Namespaces(clock);
    this.#identities = new SeenIdentities(this.entries, this.#namespaces, clock);
    this.#rate = new Rate(clock);
  }

  /** Records as they stand in the kernel's ring, each behind its header. Copied. */
  records(slots: Uint8Array): void {
    const before = this.ring.next;
    this.ring.addRecords(slots);
    const from = Math.max(before, this.ring.oldest);
    this.#rate.count(this.ring.next - before);
    this.#note(from);
    for (const tell of this.#subscribers) this.#fold.tell(from, this.ring.next, tell);
  }

  /** A flow that is no record. */
  record(flow: Flow): void {
    this.ring.addFlow(flow);
    this.#rate.count(1);
    this.#namespaces.see(flow.source);
    this.#namespaces.see(flow.destination);
    // A name that was refused is no packet to explain.
    if (flow.verdict === verdict.dropped && flow.l7 == null) this.#lastDrop = flow;
    for (const tell of this.#subscribers) tell(flow, 1);
  }

  /** What a proxy did: its request and response, or its connection. `rules`: of its rule set; undefined: nobody knows it any more. */
  access(access: ProxyAccess, rules: ProxyRules | undefined, proxyPort = 0): void {
    const nowNs = this.#monotonicNs();
    // Logs come late: it ended some time ago, by the clock that the proxy tells time by.
    const agoNs = BigInt(Math.round(this.now())) * 1_000_000n - access.startUnixNs - access.durationNs;
    const first = this.ring.next;
    this.#rate.count(this.#accesses.add(access, rules, proxyPort, agoNs > 0n && agoNs < nowNs ? nowNs - agoNs : nowNs));
    this.requests.add(access);
    if (access.denied) for (const tell of this.#subscribers) this.#fold.tellOne(first, tell);
  }

  /** What is remembered of records beside themselves. A flood is not walked for it: of each run the first ones are asked for their names. */
  #note(from: number): void {
    const { ring } = this;
    this.#identities.see(from, Math.min(ring.next, from + namedOfRun));
    for (let number = ring.next - 1; number >= from; number -= 1) {
      const at = ring.recordAt(number);
      if (ring.bytes[at + field.event] !== flow_event.FLOW_DROP) continue;
      this.#lastDrop = { number, record: ring.bytes.slice(at, at + recordBytes) };
      return;
    }
  }

  /** Events that were lost on their way here; every reader learns of them, in order with the flows. */
  lost(source: LostSource, count: number): void {
    if (count <= 0) return;
    this.#lost[source] += count;
    const now = timestampOfMs(this.now());
    this.ring.addLoss({ lost_events: { source: sources[source], num_events_lost: count, first: now, last: now }, node_name: this.nodeName, time: now });
  }

  /**
   * Every flow from now on, in the same turn, for readers inside the process; the result ends it. Records that differ in time,
   * source port and sizes only come as one, with their number; forwarded replies do not come, nor what a proxy let through.
   */
  subscribe(tell: Tell): () => void {
    this.#subscribers.add(tell);
    return () => { this.#subscribers.delete(tell); };
  }

  /** Among those kept. */
  find(uuid: string): Flow | undefined {
    const number = numberOfUuid(uuid);
    if (number !== undefined && this.ring.isKept(number) && this.ring.isRow(number)) return this.entries.flow(number);
    return this.ring.flowMessage(uuid);
  }

  lastDrop(): Flow | undefined {
    const last = this.#lastDrop;
    if (last === undefined || !('record' in last)) return last;
    return toFlow(decodeRecord(new DataView(last.record.buffer), 0), this.entries.lookups, last.number);
  }

  /** When the oldest kept record was written (CLOCK_MONOTONIC), now if there is none: older names are asked for no more. */
  oldestNs(nowNs: number): number {
    if (this.#lastDrop !== undefined && 'record' in this.#lastDrop && this.#lastDrop.number < this.ring.oldest) this.#lastDrop = this.lastDrop();
    for (let number = this.ring.oldest; number < this.ring.next; number += 1) {
      const at = Math.max(this.ring.recordAt(number), this.ring.accessAt(number));
      if (at >= 0) return timeAt(this.ring.words, at);
    }
    return nowNs;
  }

  get stats(): ObserverStats {
    const { capacity, flows, seenFlows, overwritten } = this.ring;
    return { capacity, kept: flows, seen: seenFlows, overwritten, perSecond: this.#rate.perSecond(), untold: this.#fold.untold, forgottenNames: this.entries.lookups.forgotten(), lost: { ...this.#lost } };
  }

  status(): ServerStatusResponse {
    const { capacity, kept, seen, perSecond } = this.stats;
    return {
      num_flows: kept, max_flows: capacity, seen_flows: seen, uptime_ns: Math.round((this.now() - this.#startedMs) * 1e6),
      version: this.version, flows_rate: perSecond,
    };
  }

  namespaces(): GetNamespacesResponse { return { namespaces: this.#namespaces.list() }; }
}
