// From the port ranges of a merged policy's rules to disjoint intervals, each with its ordered steps.
import type { Interval, Step, StepAction } from './image.ts';

/** Keys: (protocol << 16) | port, both ends included. */
export interface KeyRange { readonly low: number; readonly high: number }

export const LAST_KEY = 0xffffff;
export const keyOf = (protocol: number, port: number): number => (protocol << 16) | port;

/** The union of ranges: sorted, disjoint, not touching. */
export function mergeRanges(ranges: readonly KeyRange[]): KeyRange[] {
  const merged: { low: number; high: number }[] = [];
  for (const { low, high } of [...ranges].sort((a, b) => a.low - b.low)) {
    const last = merged.at(-1);
    if (last !== undefined && low <= last.high + 1) last.high = Math.max(last.high, high);
    else merged.push({ low, high });
  }
  return merged;
}

interface SteppedBit { readonly action: StepAction; readonly ranges: readonly KeyRange[]; readonly peers?: readonly unknown[]; readonly builtIn?: true }

/**
 * The ranges of bit n are `bits[n].ranges`, merged. Deny steps come first, then those of DNS rules, of L7 rules, then allow steps; what is
 * built in stands before L7 rules.
 */
export function makeIntervals(bits: readonly SteppedBit[]): Interval[] {
  const toggles = new Map<number, number[]>([[0, []]]);
  const toggle = (key: number, bit: number): void => {
    const at = toggles.get(key);
    if (at === undefined) toggles.set(key, [bit]);
    else at.push(bit);
  };
  bits.forEach(({ ranges }, bit) => {
    for (const { low, high } of ranges) {
      toggle(low, bit);
      if (high < LAST_KEY) toggle(high + 1, bit);
    }
  });
  const words = Math.ceil(bits.length / 64);
  const none = (): bigint[] => new Array<bigint>(words).fill(0n);
  const masks = { deny: none(), dns: none(), proxy: none(), allow: none() };
  const [named, builtIn] = [none(), none()];
  bits.forEach((one, bit) => {
    if ((one.peers ?? []).length > 0) named[bit >> 6]! |= 1n << BigInt(bit & 63);
    if (one.builtIn === true) builtIn[bit >> 6]! |= 1n << BigInt(bit & 63);
  });
  const intervals: Interval[] = [];
  for (const [lower, changed] of [...toggles].sort(([a], [b]) => a - b)) {
    for (const bit of changed) masks[bits[bit]!.action][bit >> 6]! ^= 1n << BigInt(bit & 63);
    const proxied = masks.proxy.some((mask) => mask !== 0n);
    const first = masks.allow.map((mask, word) => (proxied ? mask & builtIn[word]! : 0n));
    const others = masks.allow.map((mask, word) => mask & ~first[word]!);
    const steps = [
      ...stepsOf(masks.deny, 'deny', named), ...stepsOf(first, 'allow', named), ...stepsOf(masks.dns, 'dns', named),
      ...stepsOf(masks.proxy, 'proxy', named), ...stepsOf(others, 'allow', named),
    ];
    const last = intervals.at(-1);
    if (last === undefined || !sameSteps(last.steps, steps)) intervals.push({ lower, steps });
  }
  return intervals;
}

const stepsOf = (masks: readonly bigint[], action: StepAction, named: readonly bigint[]): Step[] =>
  masks.flatMap((mask, word) => (mask === 0n ? [] : [{ word, mask, action, ...((mask & named[word]!) === 0n ? {} : { named: true as const }) }]));

const sameSteps = (a: readonly Step[], b: readonly Step[]): boolean =>
  a.length === b.length && a.every((step, index) => {
    const other = b[index]!;
    return step.mask === other.mask && step.word === other.word && step.action === other.action;
  });
