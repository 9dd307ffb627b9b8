// A merged policy as rows of the kernel's maps: written, read back, compared. Layout: bpf/lib/types.h, struct policy and below.
import { isDeepStrictEqual } from 'node:util';
import type { Datapath } from '../datapath/maps.ts';
import { action, limit, type Bounds, type Policy, type Step } from '../../bpf/types.gen.ts';
import type { Interval, MergedPolicy } from './image.ts';

/** Where a policy stands in the maps. */
export interface Placement {
  readonly id: number;
  readonly firstBit: number;
  readonly bits: number;
  readonly firstLine: number;
  readonly lines: number;
  readonly firstStep: number;
  readonly steps: number;
}

/** What of a policy becomes rows. */
export type PolicyRows = Pick<MergedPolicy, 'intervals' | 'defaultAction'>;

const actionOf = { deny: action.ACTION_DENY, dns: action.ACTION_DNS, proxy: action.ACTION_PROXY, allow: action.ACTION_ALLOW } as const;

const top = 2 ** 31;
const fan = limit.LINE_BOUNDS + 1;

export const stepsOf = ({ intervals }: PolicyRows): number => intervals.reduce((sum, { steps }) => sum + Math.max(1, steps.length), 0);

/** Lines of bounds below the policy's own row. */
export const linesOf = (intervals: number): number =>
  Array.from({ length: levelsOf(intervals) }, (_, level) => Math.ceil(intervals / fan ** (level + 1))).reduce((sum, lines) => sum + lines, 0);

function levelsOf(intervals: number): number {
  let levels = 0;
  for (let most = limit.ROOT_BOUNDS + 1; most < intervals; most *= fan) levels += 1;
  return levels;
}

function encode({ intervals, defaultAction }: PolicyRows, at: Placement): { policy: Policy; lines: Bounds[]; steps: Step[] } {
  const levels = levelsOf(intervals.length);
  const bounds = (from: number, span: number, count: number): number[] => Array.from({ length: count }, (_, index) => top - (intervals[from + (index + 1) * span]?.lower ?? top));
  const lines: Bounds[] = [];
  const firstLines: number[] = [];
  for (let span = fan ** levels; span > 1; span /= fan) {
    firstLines.push(at.firstLine + lines.length);
    for (let from = 0; from < intervals.length; from += span) lines.push({ room: bounds(from, span / fan, limit.LINE_BOUNDS) });
  }
  const policy: Policy = {
    room: bounds(0, fan ** levels, limit.ROOT_BOUNDS), first_line: Array.from({ length: limit.POLICY_LEVELS }, (_, level) => firstLines[level] ?? 0),
    first_step: at.firstStep, first_bit: at.firstBit, intervals: intervals.length | (intervals.some(({ steps }) => steps.some(({ named }) => named)) ? limit.POLICY_NAMED : 0), levels,
    default_action: defaultAction === 'allow' ? action.ACTION_ALLOW : action.ACTION_DEFAULT_DENY,
  };
  return { policy, lines, steps: encodeSteps(intervals, at.firstStep) };
}

/** The first step of each interval, by its number; behind them all that follow. */
function encodeSteps(intervals: readonly Interval[], firstStep: number): Step[] {
  const firsts: Step[] = [];
  const more: Step[] = [];
  for (const { steps } of intervals) {
    if (steps.length === 0) firsts.push({ mask: 0n, next: 0, word: 0, action: 0, named: 0 });
    steps.forEach((step, order) => {
      const last = order === steps.length - 1;
      const next = last ? 0 : firstStep + intervals.length + more.length + (order === 0 ? 0 : 1);
      (order === 0 ? firsts : more).push({ mask: step.mask, next, word: step.word, action: actionOf[step.action], named: step.named ? 1 : 0 });
    });
  }
  return [...firsts, ...more];
}

/** Only where no program reads: rows in force are never written to. */
export function writePolicy(datapath: Datapath, policy: PolicyRows, at: Placement): void {
  const rows = encode(policy, at);
  rows.lines.forEach((line, index) => { datapath.bounds.set(at.firstLine + index, line); });
  rows.steps.forEach((step, index) => { datapath.steps.set(at.firstStep + index, step); });
  datapath.policies.set(at.id, rows.policy);
}

/** Whether `writePolicy` would change nothing. */
export function holdsPolicy(datapath: Datapath, policy: MergedPolicy, at: Placement): boolean {
  if (at.bits !== policy.rules.length || at.lines !== linesOf(policy.intervals.length) || at.steps !== stepsOf(policy)) return false;
  const rows = encode(policy, at);
  return isDeepStrictEqual(datapath.policies.get(at.id), rows.policy)
    && rows.lines.every((line, index) => isDeepStrictEqual(datapath.bounds.get(at.firstLine + index), line))
    && rows.steps.every((step, index) => isDeepStrictEqual(datapath.steps.get(at.firstStep + index), step));
}

/** Where interval `index` of a policy in the kernel begins. */
export function lowerOf(datapath: Datapath, row: Policy, index: number): number {
  if (index === 0) return 0;
  let [child, level] = [index, row.levels];
  for (; level > 0 && child % fan === 0; level -= 1) child /= fan;
  if (level === 0) return top - row.room[child - 1]!;
  return top - datapath.bounds.get(row.first_line[level - 1]! + Math.floor(child / fan))!.room[child % fan - 1]!;
}

/** The steps of interval `index` of a policy in the kernel, each with its place. Throws when they lead nowhere. */
export function stepsAt(datapath: Datapath, row: Policy, index: number): (Step & { readonly at: number })[] {
  const found: (Step & { at: number })[] = [];
  for (let at = row.first_step + index; at !== 0; at = found.at(-1)!.next) {
    const step = datapath.steps.get(at);
    if (step === undefined || found.length === limit.POLICY_STEPS) throw new Error('a policy of the kernel has steps without an end');
    found.push({ ...step, at });
  }
  return found;
}

/** What a policy in the kernel occupies, as far as programs read it. Throws when its rows lead out of the maps. */
export function readPlacement(datapath: Datapath, id: number): Placement {
  const row = datapath.policies.get(id);
  const count = row === undefined ? 0 : row.intervals & ~limit.POLICY_NAMED;
  if (row === undefined || row.default_action === 0 || row.levels !== levelsOf(count)) throw new Error(`policy ${id} of the kernel has no rows`);
  let end = row.first_step;
  let bits = 0;
  for (let index = 0; index < count; index += 1) {
    for (const { mask, word, at } of stepsAt(datapath, row, index)) {
      if (mask !== 0n) bits = Math.max(bits, word * 64 + mask.toString(2).length);
      end = Math.max(end, at + 1);
    }
  }
  const lines = linesOf(count);
  return { id, firstBit: row.first_bit, bits, firstLine: lines === 0 ? 0 : row.first_line[0]!, lines, firstStep: row.first_step, steps: end - row.first_step };
}
