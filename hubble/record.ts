// A flow record as bytes: where its fields stand (struct flow_record, bpf/lib/types.h; record.test.ts compares with the compiled
// object), so that filters read single fields, and the whole of it as numbers.
import type { FlowRecord, Judgement } from '../bpf/types.gen.ts';

/** Offsets from the record's first byte. */
export const field = {
  time: 0, saddr: 8, daddr: 24, egress: 40, ingress: 64, packets: 88, bytes: 96, sport: 104, dport: 106,
  sourceIdentity: 108, destinationIdentity: 112, generation: 116, ifindex: 120, smac: 124, dmac: 130,
  protocol: 136, tcpFlags: 137, event: 138, reason: 139, direction: 140, isReply: 141, observationPoint: 142,
} as const;
/** Offsets from a judgement's first byte. */
export const judgementField = { bits: 0, policy: 8, interval: 12, word: 16, action: 18 } as const;

export const recordBytes = 144;
/** The kernel's ring has a header before each record (its length, then a page number); it is copied along. */
export const headerBytes = 8;
export const slotBytes = headerBytes + recordBytes;

export function decodeRecord(view: DataView, at: number): FlowRecord {
  const copy = (offset: number, length: number): Uint8Array => new Uint8Array(view.buffer, view.byteOffset + at + offset, length).slice();
  const u32 = (offset: number): number => view.getUint32(at + offset, true);
  const u64 = (offset: number): bigint => view.getBigUint64(at + offset, true);
  const byte = (offset: number): number => view.getUint8(at + offset);
  const judgement = (offset: number): Judgement => ({
    bits: u64(offset + judgementField.bits), policy: u32(offset + judgementField.policy), interval: u32(offset + judgementField.interval),
    word: view.getUint16(at + offset + judgementField.word, true), action: byte(offset + judgementField.action),
  });
  return {
    time_ns: u64(field.time), saddr: { word: copy(field.saddr, 16) }, daddr: { word: copy(field.daddr, 16) },
    egress: judgement(field.egress), ingress: judgement(field.ingress), packets: u64(field.packets), bytes: u64(field.bytes),
    sport: view.getUint16(at + field.sport, false), dport: view.getUint16(at + field.dport, false),
    source_identity: u32(field.sourceIdentity), destination_identity: u32(field.destinationIdentity), generation: u32(field.generation),
    ifindex: u32(field.ifindex), smac: copy(field.smac, 6), dmac: copy(field.dmac, 6), protocol: byte(field.protocol), tcp_flags: byte(field.tcpFlags),
    event: byte(field.event), reason: byte(field.reason), direction: byte(field.direction), is_reply: byte(field.isReply),
    observation_point: byte(field.observationPoint),
  };
}

/** A record's time as a number: exact to the microsecond for centuries of uptime, which is enough to compare. */
export const timeAt = (words: Uint32Array, at: number): number => words[(at + field.time) >>> 2]! + words[((at + field.time) >>> 2) + 1]! * 2 ** 32;
