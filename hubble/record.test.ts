// The offsets of record.ts against the struct as clang laid it out.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Btf, elfSection } from '../agent/kernel/btf.ts';
import { codecOf } from '../agent/kernel/codec.ts';
import { buildBpf, objectPath } from '../bpf/build.ts';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { decodeRecord, headerBytes, recordBytes, timeAt } from './record.ts';
import { ip4, recordOf, slotsOf } from './testing.ts';

/** Every field differs from every other. */
const full: FlowRecord = {
  time_ns: 0x0102030405060708n, saddr: { word: ip4(1, 2, 3, 4) }, daddr: { word: Uint8Array.from({ length: 16 }, (_, index) => 200 + index) },
  egress: { bits: 0x1112131415161718n, policy: 0x21222324, interval: 0x25262728, word: 0x2930, action: 3 },
  ingress: { bits: 0x3132333435363738n, policy: 0x41424344, interval: 0x45464748, word: 0x4950, action: 2 },
  packets: 0x5152535455565758n, bytes: 0x6162636465666768n, sport: 0x7172, dport: 0x7374, source_identity: 0x81828384, destination_identity: 0x85868788,
  generation: 0x91929394, ifindex: 0x95969798, smac: Uint8Array.of(1, 2, 3, 4, 5, 6), dmac: Uint8Array.of(11, 12, 13, 14, 15, 16),
  protocol: 0xa1, tcp_flags: 0xa2, event: 0xa3, reason: 0xa4, direction: 0xa5, is_reply: 0xa6, observation_point: 0xa7,
};

describe('a record as bytes', () => {
  let codec: ReturnType<typeof codecOf<FlowRecord>>;
  beforeAll(() => {
    buildBpf();
    codec = codecOf<FlowRecord>(new Btf(elfSection(readFileSync(objectPath), '.BTF')).struct('flow_record'));
  });

  test.each([{ name: 'every field', record: full }, { name: 'a plain one', record: recordOf() }])('$name: as the compiled object lays it out', ({ record }) => {
    const slot = slotsOf(record);
    expect(codec.size).toBe(recordBytes);
    expect(codec.encode(record)).toEqual(slot.slice(headerBytes));
    expect(decodeRecord(new DataView(slot.buffer), headerBytes)).toEqual(record);
  });

  test('time as a number', () => {
    const slot = slotsOf(recordOf({ time_ns: 123_456_789_012_345n }));
    expect(timeAt(new Uint32Array(slot.buffer), headerBytes)).toBe(123_456_789_012_345);
  });
});
