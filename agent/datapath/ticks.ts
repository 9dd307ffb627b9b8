// The clock of connection tracking: units of 2^20 ns of CLOCK_MONOTONIC in 32 bits (bpf/lib/types.h, TICK_SHIFT); it turns over after 52 days.
const tickNs = 1n << 20n;

export const ticksNow = (): number => Number(BigInt.asUintN(32, process.hrtime.bigint() / tickNs));

export const ticksOf = (seconds: number): number => seconds * 1e9 / Number(tickNs);

/** Ticks from `seen` to `now`; below 0: a packet came meanwhile. */
export const ticksSince = (seen: number, now: number): number => (now - seen) | 0;
