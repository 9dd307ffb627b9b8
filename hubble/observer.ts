// The observer: takes flows and losses from the agent, keeps the last ones, and tells how many there were.
// serve.ts puts it on a socket; the agent's own screen subscribes here.
import { Ring } from './ring.ts';
import { timestampOfMs } from './time.ts';
import { lostEventSource, verdict, type Flow, type GetNamespacesResponse, type ServerStatusResponse } from './types.ts';
import { Namespaces, Rate } from './seen.ts';
export { serveHubble } from './serve.ts';

export interface ObserverOptions {
  /** Flows that are kept. */
  readonly capacity?: number;
  readonly nodeName: string;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
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
  readonly lost: Readonly<Record<LostSource, number>>;
}

export const defaultCapacity = 4095;

export class Observer {
  readonly nodeName: string;
  readonly version: string;
  readonly now: () => number;
  readonly ring: Ring;
  readonly #startedMs: number;
  readonly #subscribers = new Set<(flow: Flow) => void>();
  readonly #namespaces: Namespaces;
  readonly #rate: Rate;
  readonly #lost: Record<LostSource, number> = { PERF_EVENT_RING_BUFFER: 0, OBSERVER_EVENTS_QUEUE: 0 };
  #lastDrop: Flow | undefined;

  constructor({ capacity = defaultCapacity, nodeName, version, clock = Date.now }: ObserverOptions) {
    this.nodeName = nodeName;
    this.version = version;
    this.now = clock;
    this.ring = new Ring(capacity);
    this.#startedMs = clock();
    this.#namespaces = new Namespaces(clock);
    this.#rate = new Rate(clock);
  }

  record(flow: Flow): void {
    this.ring.addFlow(flow);
    this.#rate.count();
    this.#namespaces.see(flow.source);
    this.#namespaces.see(flow.destination);
    if (flow.verdict === verdict.dropped) this.#lastDrop = flow;
    for (const tell of this.#subscribers) tell(flow);
  }

  /** Events that were lost on their way here; every reader learns of them, in order with the flows. */
  lost(source: LostSource, count: number): void {
    if (count <= 0) return;
    this.#lost[source] += count;
    const now = timestampOfMs(this.now());
    this.ring.addLoss({ lost_events: { source: sources[source], num_events_lost: count, first: now, last: now }, node_name: this.nodeName, time: now });
  }

  /** Every flow from now on, in the same turn; the result ends it. For readers inside the process. */
  subscribe(tell: (flow: Flow) => void): () => void {
    this.#subscribers.add(tell);
    return () => { this.#subscribers.delete(tell); };
  }

  /** Among those kept. */
  find(uuid: string): Flow | undefined {
    for (let number = this.ring.next - 1; number >= this.ring.oldest; number -= 1) {
      const flow = this.ring.at(number)!.flow;
      if (flow?.uuid === uuid) return flow;
    }
    return undefined;
  }

  lastDrop(): Flow | undefined { return this.#lastDrop; }

  get stats(): ObserverStats {
    const { capacity, flows, seenFlows, overwritten } = this.ring;
    return { capacity, kept: flows, seen: seenFlows, overwritten, perSecond: this.#rate.perSecond(), lost: { ...this.#lost } };
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
