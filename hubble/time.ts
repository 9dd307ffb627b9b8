// Protobuf timestamps: from and to nanoseconds, and their order.
import type { Timestamp } from './types.ts';

const billion = 1_000_000_000n;

export const timestampOfNs = (ns: bigint): Timestamp => ({ seconds: Number(ns / billion), nanos: Number(ns % billion) });

export const timestampOfMs = (ms: number): Timestamp => ({ seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });

/** Negative when `a` is earlier. */
export const compareTimes = (a: Timestamp, b: Timestamp): number =>
  Number(a.seconds) - Number(b.seconds) || (a.nanos ?? 0) - (b.nanos ?? 0);
