// A merged policy as rows of the kernel's maps: written, read back, compared. Layout: bpf/lib/types.h, struct policy and below.
import type { Datapath } from '../datapath/maps.ts';
import { action, limit } from '../../bpf/types.gen.ts';
import type { MergedPolicy } from './image.ts';

/** Where a policy stands in the maps. */
export interface Placement {
  readonly id: number;
  readonly column: number;
  readonly words: number;
  readonly firstInterval: number;
  readonly intervals: number;
  readonly firstStep: number;
  readonly steps: number;
}

const noStep = 0xffffffff;
const stepBytes = 16;

export const stepsOf = (policy: MergedPolicy): number => policy.intervals.reduce((sum, interval) => sum + interval.steps.length, 0);

const defaultAction = (policy: MergedPolicy): number => (policy.defaultAction === 'allow' ? action.ACTION_ALLOW : action.ACTION_DEFAULT_DENY);

function encode(policy: MergedPolicy, firstStep: number): { intervals: Uint32Array; steps: Uint8Array } {
  const intervals = new Uint32Array(policy.intervals.length * 2);
  const steps = new DataView(new ArrayBuffer(stepsOf(policy) * stepBytes));
  let next = 0;
  policy.intervals.forEach((interval, index) => {
    intervals[index * 2] = interval.lower;
    intervals[index * 2 + 1] = interval.steps.length === 0 ? noStep : firstStep + next;
    interval.steps.forEach((step, order) => {
      const at = next * stepBytes;
      steps.setBigUint64(at, step.mask, true);
      steps.setUint16(at + 8, step.word, true);
      steps.setUint8(at + 10, step.action === 'deny' ? action.ACTION_DENY : action.ACTION_ALLOW);
      steps.setUint8(at + 11, order === interval.steps.length - 1 ? 1 : 0);
      next += 1;
    });
  });
  return { intervals, steps: new Uint8Array(steps.buffer) };
}

const stepMemory = (datapath: Datapath, at: Placement): Uint8Array => new Uint8Array(datapath.steps.buffer, at.firstStep * stepBytes, at.steps * stepBytes);

/** Only where no program reads: rows in force are never written to. */
export function writePolicy(datapath: Datapath, policy: MergedPolicy, at: Placement): void {
  const rows = encode(policy, at.firstStep);
  datapath.intervals.set(rows.intervals, at.firstInterval * 2);
  stepMemory(datapath, at).set(rows.steps);
  datapath.policies.set(at.id, { first_interval: at.firstInterval, intervals: at.intervals, column: at.column, default_action: defaultAction(policy) });
}

/** Whether `writePolicy` would change nothing. */
export function holdsPolicy(datapath: Datapath, policy: MergedPolicy, at: Placement): boolean {
  if (at.words !== policy.words || at.intervals !== policy.intervals.length || at.steps !== stepsOf(policy)) return false;
  if (datapath.policies.get(at.id)?.default_action !== defaultAction(policy)) return false;
  const rows = encode(policy, at.firstStep);
  const intervals = datapath.intervals.subarray(at.firstInterval * 2, (at.firstInterval + at.intervals) * 2);
  return intervals.every((word, index) => word === rows.intervals[index]) && stepMemory(datapath, at).every((byte, index) => byte === rows.steps[index]);
}

/** What a policy in the kernel occupies, as far as programs read it. Throws when its rows lead out of the maps. */
export function readPlacement(datapath: Datapath, id: number): Placement {
  const row = datapath.policies.get(id);
  if (row === undefined || row.intervals === 0 || row.first_interval + row.intervals > limit.MAX_INTERVALS) throw new Error(`policy ${id} of the kernel has no rows`);
  let firstStep = Infinity;
  let end = 0;
  let words = 0;
  for (let index = row.first_interval; index < row.first_interval + row.intervals; index += 1) {
    const first = datapath.intervals[index * 2 + 1]!;
    if (first === noStep) continue;
    let step = first;
    for (let last = false; !last; step += 1) {
      if (step >= limit.MAX_STEPS) throw new Error(`policy ${id} of the kernel has steps without an end`);
      words = Math.max(words, datapath.steps.getUint16(step * stepBytes + 8, true) + 1);
      last = datapath.steps.getUint8(step * stepBytes + 11) === 1;
    }
    firstStep = Math.min(firstStep, first);
    end = Math.max(end, step);
  }
  const steps = end === 0 ? 0 : end - firstStep;
  return { id, column: row.column, words, firstInterval: row.first_interval, intervals: row.intervals, firstStep: steps === 0 ? 0 : firstStep, steps };
}
