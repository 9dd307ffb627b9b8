// BPF ring -> observer: runs of records are copied on a timer whose interval follows the rate; nothing is decoded. What the kernel
// could not write is counted there and told here, so that nothing is lost silently.
import { openRing } from '../kernel/ring.ts';
import type { Datapath } from '../datapath/maps.ts';
import { counter, limit } from '../../bpf/types.gen.ts';

/** One drain takes at most so many records, so that the agent stays responsive under a flood. */
const batch = 4_096;
/** The next drain is to find about so many. */
const wanted = 4_096;
const leastMs = 10;
/** The ring holds what 1 M records/s write in this time. */
const mostMs = 50;
const upkeepMs = 1_000;

export interface FlowSink {
  /** Records of the ring, each behind its header; to be copied. */
  readonly records: (slots: Uint8Array) => void;
  readonly lost: (count: number) => void;
  /** Called before each drain: what is read now happened before, or in the time since the last one. */
  readonly before: () => void;
  /** About once a second. */
  readonly upkeep: () => void;
}

/** The result ends it. */
export function readFlows(datapath: Datapath, sink: FlowSink): () => void {
  const ring = openRing(datapath.flows.fd, limit.RING_BYTES);
  const { size } = datapath.flowRecord;
  let known = datapath.counter(counter.COUNTER_RECORDS_LOST);
  let upkeptAt = 0;
  let drainedAt = performance.now();
  let next: NodeJS.Timeout | NodeJS.Immediate;
  let stopped = false;
  const upkeep = (now: number): void => {
    if (now - upkeptAt < upkeepMs) return;
    upkeptAt = now;
    const total = datapath.counter(counter.COUNTER_RECORDS_LOST);
    if (total > known) sink.lost(Number(total - known));
    known = total;
    sink.upkeep();
  };
  const turn = (): void => {
    sink.before();
    const taken = ring.drainRuns(sink.records, size, batch);
    const now = performance.now();
    upkeep(now);
    if (stopped) return;
    if (taken === batch) next = setImmediate(turn);
    else next = setTimeout(turn, Math.min(mostMs, Math.max(leastMs, wanted * (now - drainedAt) / Math.max(1, taken))));
    drainedAt = now;
  };
  next = setImmediate(turn);
  return () => {
    stopped = true;
    clearTimeout(next as NodeJS.Timeout);
    clearImmediate(next as NodeJS.Immediate);
    ring.close();
  };
}
