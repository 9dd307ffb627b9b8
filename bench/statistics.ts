// Medians over interleaved rounds: the machine is shared and noisy, so what is compared runs in turn and ratios are taken round by round.

export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError('no values');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** The median of what each round says of `values` against `base`. */
export const ratio = (values: readonly number[], base: readonly number[]): number => median(values.map((value, round) => value / base[round]!));

/** What one subject leaves to be done, such as records to be read, is not paid for by the next. */
const pauseMs = 60;
const pause = (): void => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs); };

/** Runs every subject once a round, in turn the other way round, so that no subject always follows the same one. */
export function interleave<Subject, Result = number>(subjects: readonly Subject[], rounds: number, measure: (subject: Subject) => Result, between = pause): Map<Subject, Result[]> {
  const found = new Map(subjects.map((subject): [Subject, Result[]] => [subject, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const subject of round % 2 === 0 ? subjects : [...subjects].reverse()) {
      between();
      found.get(subject)!.push(measure(subject));
    }
  }
  return found;
}
