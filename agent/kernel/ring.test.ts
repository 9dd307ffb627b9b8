// The kernel's ring read in runs and one by one: every record once, in order, over its end, at most as many as asked for.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadDatapath, type Datapath } from '../datapath/maps.ts';
import { buildBpf, objectPath } from '../../bpf/build.ts';
import { frame } from '../../bpf/testing/packet.ts';
import { counter, limit } from '../../bpf/types.gen.ts';
import { testRun } from './bpf.ts';
import { openRing, type Ring } from './ring.ts';

const slot = 152;
const capacity = Math.floor(limit.RING_BYTES / slot);
/** Of an interface without an endpoint: each is dropped, with a record. */
const packet = frame().mac('02:00:00:00:00:01').ipv4('10.0.0.1', '10.0.0.2').tcp(1, 2, 'S').bytes();

let datapath: Datapath;
let ring: Ring;
beforeEach(() => {
  buildBpf();
  datapath = loadDatapath(objectPath);
  ring = openRing(datapath.flows.fd, limit.RING_BYTES);
});
afterEach(() => {
  ring.close();
  datapath.object.close();
});

const produce = (count: number): void => { testRun(datapath.object.programs.get('from_workload')!, packet, 1, count); };
const timesOf = (slots: Uint8Array): bigint[] => {
  const view = new DataView(slots.buffer, slots.byteOffset, slots.byteLength);
  expect(slots.byteLength % slot).toBe(0);
  const places = Array.from({ length: slots.byteLength / slot }, (_, index) => index * slot);
  expect(places.every((at) => view.getUint32(at, true) === 144)).toBe(true);
  return places.map((at) => view.getBigUint64(at + 8, true));
};
const byRuns = (most: number): bigint[] => {
  const times: bigint[] = [];
  const taken = ring.drainRuns((slots) => { times.push(...timesOf(slots)); }, 144, most);
  expect(taken).toBe(times.length);
  return times;
};
const byOne = (most: number): bigint[] => {
  const times: bigint[] = [];
  ring.drain((view, offset, length) => { times.push(length === 144 ? view.getBigUint64(offset, true) : 0n); }, most);
  return times;
};
const ways = [{ name: 'in runs', read: byRuns }, { name: 'one by one', read: byOne }];

describe.each(ways)('records $name', ({ read }) => {
  test('as many as there are, no more than asked for', () => {
    expect(read(10)).toEqual([]);
    produce(25);
    expect([read(10).length, read(10).length, read(10).length, read(10).length]).toEqual([10, 10, 5, 0]);
  });

  test('twice around the ring: in order, each once, none lost', () => {
    const step = 2_000;
    let last = 0n;
    let count = 0;
    for (; count < 2.2 * capacity; count += step) {
      produce(step);
      const times = read(step + 1);
      expect(times).toHaveLength(step);
      expect(times.every((time, index) => time > (index === 0 ? last : times[index - 1]!))).toBe(true);
      last = times.at(-1)!;
    }
    expect(datapath.counter(counter.COUNTER_RECORDS_LOST)).toBe(0n);
  });

  test('a full ring: what fitted, and the rest counted', () => {
    produce(capacity + 1_000);
    let count = 0;
    for (let got = read(10_000).length; got > 0; got = read(10_000).length) count += got;
    expect(BigInt(count) + datapath.counter(counter.COUNTER_RECORDS_LOST)).toBe(BigInt(capacity + 1_000));
    produce(5);
    expect(read(10)).toHaveLength(5);
  });
});
