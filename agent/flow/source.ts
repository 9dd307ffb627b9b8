// BPF ring -> records: drained on a timer that quickens while there is something to read. What the kernel could not write
// is counted there and told here, so that nothing is lost silently.
import { openRing } from '../kernel/ring.ts';
import type { Datapath } from '../datapath/maps.ts';
import { counter, limit, type FlowRecord } from '../../bpf/types.gen.ts';

/** One drain takes at most so many records, so that the agent stays responsive under a flood. */
const batch = 4_096;
const busyMs = 5;
const idleMs = 50;
const lossCheckMs = 1_000;

export interface FlowSource {
  readonly stop: () => void;
  /** Reads what is there now. */
  readonly drain: () => void;
}

export function readFlows(datapath: Datapath, record: (flow: FlowRecord) => void, lost: (count: bigint) => void): FlowSource {
  const ring = openRing(datapath.flows.fd, limit.RING_BYTES);
  let known = datapath.counter(counter.COUNTER_RECORDS_LOST);
  let checkedAt = 0;
  let timer: NodeJS.Timeout;
  const take = (): number => ring.drain((view, offset) => { record(datapath.flowRecord.decode(view, offset)); }, batch);
  const checkLoss = (now: number): void => {
    if (now - checkedAt < lossCheckMs) return;
    checkedAt = now;
    const total = datapath.counter(counter.COUNTER_RECORDS_LOST);
    if (total > known) lost(total - known);
    known = total;
  };
  const turn = (): void => {
    const taken = take();
    checkLoss(Date.now());
    timer = setTimeout(turn, taken === batch ? 0 : taken > 0 ? busyMs : idleMs);
  };
  timer = setTimeout(turn, 0);
  return {
    drain: () => { while (take() === batch); },
    stop: () => {
      clearTimeout(timer);
      ring.close();
    },
  };
}
