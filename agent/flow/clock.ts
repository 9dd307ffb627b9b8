// The kernel's record times (CLOCK_MONOTONIC) as wall-clock time. The offset is measured again and again, so that a clock that is
// set reaches the flows; flows from before keep the offset they had, so that a flow says the same time whenever it is asked for.

interface Step { readonly fromNs: bigint; readonly offset: bigint }

/** Less than this is how finely Date tells, or slow correction. */
const leastStepNs = 2_000_000n;
const mostSteps = 64;

export class WallClock {
  readonly #now: () => number;
  readonly #monotonic: () => bigint;
  /** The latest first. */
  #steps: Step[] = [];

  constructor(now: () => number = Date.now, monotonic: () => bigint = process.hrtime.bigint) {
    this.#now = now;
    this.#monotonic = monotonic;
    this.measure();
  }

  measure(): void {
    const fromNs = this.#monotonic();
    const offset = BigInt(Math.round(this.#now())) * 1_000_000n - fromNs;
    const moved = offset - (this.#steps[0]?.offset ?? 0n);
    if (this.#steps.length > 0 && moved < leastStepNs && moved > -leastStepNs) return;
    this.#steps = [{ fromNs, offset }, ...this.#steps].slice(0, mostSteps);
  }

  /** Nanoseconds since 1970; a double has not enough digits for it. */
  toUnixNs = (ktimeNs: bigint): bigint => {
    const step = this.#steps.find(({ fromNs }) => ktimeNs >= fromNs) ?? this.#steps.at(-1)!;
    return ktimeNs + step.offset;
  };
}
