// The kernel's record times (CLOCK_MONOTONIC) as wall-clock time: the offset is measured again from time to time, so that
// a clock that is set reaches the flows.

/** Nanoseconds since 1970; a double has not enough digits for it. */
export function wallClock(now: () => number = Date.now, monotonic: () => bigint = process.hrtime.bigint, refreshMs = 10_000): (ktimeNs: bigint) => bigint {
  let offset = 0n;
  let measuredAt = -Infinity;
  return (ktimeNs) => {
    const wall = now();
    if (Math.abs(wall - measuredAt) >= refreshMs) {
      offset = BigInt(Math.round(wall)) * 1_000_000n - monotonic();
      measuredAt = wall;
    }
    return ktimeNs + offset;
  };
}
