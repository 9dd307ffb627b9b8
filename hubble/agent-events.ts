// What became of the agent itself: start, policies, endpoints, ipcache. The last events in a ring of fixed size, read by
// GetAgentEvents as GetFlows reads flows. main.ts hands in the events.
import type { Call } from './grpc/call.ts';
import { timestampOfMs, compareTimes } from './time.ts';
import type { AgentEvent, GetAgentEventsResponse, GetEventsRequest } from './types.ts';

/** Events that are kept. */
const capacity = 1_023;

export class AgentEvents {
  readonly #nodeName: string;
  readonly #now: () => number;
  readonly #kept: GetAgentEventsResponse[] = [];
  #next = 0;
  #waiting = new Set<() => void>();
  /** Events that were overwritten before a reader took them, for all readers: the API has no way to tell it them. */
  missed = 0;

  constructor(nodeName: string, now: () => number = Date.now) {
    this.#nodeName = nodeName;
    this.#now = now;
  }

  get next(): number { return this.#next; }
  get oldest(): number { return Math.max(0, this.#next - capacity); }

  add(event: AgentEvent): void {
    this.#kept[this.#next % capacity] = { agent_event: event, node_name: this.#nodeName, time: timestampOfMs(this.#now()) };
    this.#next += 1;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Of `oldest` to `next`. */
  at(number: number): GetAgentEventsResponse { return this.#kept[number % capacity]!; }

  wait(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => { this.#waiting.delete(wake); };
  }
}

type EventsCall = Call<GetEventsRequest, GetAgentEventsResponse>;

/** As query.ts says it for flows: a time outranks a number. */
function startOf(events: AgentEvents, { number, first, follow, since }: GetEventsRequest): number {
  if (since != null) {
    for (let at = events.oldest; at < events.next; at += 1) if (compareTimes(events.at(at).time!, since) >= 0) return at;
    return events.next;
  }
  if (first === true) return events.oldest;
  const wanted = Number(number ?? 0);
  if (wanted === 0) return follow === true ? events.next : events.oldest;
  return Math.max(events.oldest, events.next - wanted);
}

export function streamAgentEvents(events: AgentEvents, call: EventsCall): void {
  const { request } = call;
  let position = startOf(events, request);
  const last = request.follow === true ? Infinity : request.first === true && Number(request.number ?? 0) > 0 ? Math.min(events.next, position + Number(request.number)) : events.next;
  let stopWaiting = (): void => undefined;
  let stopped = false;
  const run = (): void => {
    while (!stopped) {
      if (position < events.oldest) {
        events.missed += events.oldest - position;
        position = events.oldest;
      }
      if (position >= last) { call.end(); return; }
      if (position >= events.next) { stopWaiting = events.wait(() => { setImmediate(run); }); return; }
      const response = events.at(position);
      if (request.until != null && compareTimes(response.time!, request.until) > 0) { call.end(); return; }
      position += 1;
      if (!call.write(response)) { call.whenDrained(run); return; }
    }
  };
  call.whenOver(() => { stopped = true; stopWaiting(); });
  run();
}
