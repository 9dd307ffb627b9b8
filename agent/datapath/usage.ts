// Quota and use of the conntrack table by endpoint, in the memory that the programs count in (struct usage).
import { limit } from '../../bpf/types.gen.ts';

const rowBytes = 16;
const at = { connections: 0, quota: 4, refused: 8 } as const;
/** However many endpoints there are, one may have this part of the table: then not all of them can at the same time. */
const leastPart = 16;

export interface Usage { readonly connections: number; readonly quota: number; readonly refused: number }

/** With up to 15 endpoints all quotas fit at once, and none can be kept from its own by the others. */
export const fairQuota = (entries: number, endpoints: number): number => Math.floor(Math.max(entries / (endpoints + 1), entries / leastPart));

export function setQuota(usage: DataView, quota: number): void {
  for (let id = 0; id < limit.MAX_ENDPOINTS; id += 1) usage.setUint32(id * rowBytes + at.quota, quota, true);
}

export const usageOf = (usage: DataView, id: number): Usage => ({
  connections: usage.getInt32(id * rowBytes + at.connections, true),
  quota: usage.getUint32(id * rowBytes + at.quota, true),
  refused: Number(usage.getBigUint64(id * rowBytes + at.refused, true)),
});

/** Over all endpoints, with those that are gone until the sweeper has been there. */
export function heldOf(usage: DataView): number {
  let held = 0;
  for (let id = 0; id < limit.MAX_ENDPOINTS; id += 1) held += usage.getInt32(id * rowBytes + at.connections, true);
  return held;
}

/** One connection more: programs may be counting meanwhile. */
export function charge(usage: DataView, id: number): void { Atomics.add(new Int32Array(usage.buffer), (id * rowBytes + at.connections) / 4, 1); }
