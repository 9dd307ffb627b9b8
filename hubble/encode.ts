// Record -> bytes of a GetFlowsResponse, without a flow between: what says the same for many records is copied (parts.ts), the rest
// is written byte by byte. encode.test.ts compares with what protobufjs makes of toFlow.
import type protobuf from 'protobufjs';
import { ipText } from './address.ts';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { encodeEndpoint } from './encode-endpoint.ts';
import { eventFields, flagBits, namedEndpoint, policyFields, protocolNumber, summaryOf, verdictOf, type Lookups } from './flow.ts';
import { Parts } from './parts.ts';
import { encode, flowMessage, getFlowsResponseMessage } from './proto.ts';
import { decodeRecord, field, judgementField, timeAt } from './record.ts';
import type { Ring } from './ring.ts';
import { serviceOf } from './services.ts';
import { flowType, type Flow } from './types.ts';
import { uuidParts } from './uuid.ts';
import { fieldOf, messageOf, put, putVarint, tagOf, varintBytes } from './wire.ts';

/** One end: its part of IP, and its endpoint. */
interface End { readonly ip: Uint8Array; readonly isIpv6: boolean; readonly endpoint: Uint8Array }

const [ipMessage, tcpMessage, timestampMessage] = [messageOf('flow.IP'), messageOf('flow.TCP'), messageOf('google.protobuf.Timestamp')];
const judgementWords = (side: number): number[] => [judgementField.bits, judgementField.bits + 4, judgementField.policy, judgementField.word].map((offset) => side + offset);

/** What is written byte by byte takes no more. */
const handBytes = 256;
/** Room for the length of the flow, which is known last: two bytes up to 16,383. */
const lengthBytes = 2;

const hexTable = (digit: number): Uint8Array => Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0').charCodeAt(digit));
const [highHex, lowHex] = [hexTable(0), hexTable(1)];
const flagsParts = Array.from({ length: 256 }, (_, bits) =>
  fieldOf(tcpMessage, 'flags', messageOf('flow.TCPFlags'), Object.fromEntries(flagBits.filter((_name, index) => bits & (1 << index)).map((name) => [name, true]))));
const nothing = new Uint8Array(0);
const colon = 0x3a;
const billion = 1_000_000_000;
/** Little-endian, as everything that BPF runs on here. */
const nanoseconds = new BigUint64Array(1);
const halves = new Uint32Array(nanoseconds.buffer);
/** Tags, by the files of proto/; these are one byte each. */
const oneByte = (message: protobuf.Type, name: string): number => {
  const tag = tagOf(message, name);
  if (tag.length !== 1) throw new Error(`the tag of ${message.name}.${name} takes ${tag.length} bytes`);
  return tag[0]!;
};
const [timeTag, ethernetTag, ipTag, layer4Tag] = ['time', 'ethernet', 'IP', 'l4'].map((name) => oneByte(flowMessage, name)) as [number, number, number, number];
const flowTag = oneByte(getFlowsResponseMessage, 'flow');
const ethernetTags = ['source', 'destination'].map((name) => oneByte(messageOf('flow.Ethernet'), name));
const addressTags = { source: oneByte(ipMessage, 'source'), destination: oneByte(ipMessage, 'destination') };
const ipVersionTag = oneByte(ipMessage, 'ipVersion');
const timestampTags = { seconds: oneByte(timestampMessage, 'seconds'), nanos: oneByte(timestampMessage, 'nanos') };
const portTags = { first: oneByte(tcpMessage, 'source_port'), second: oneByte(tcpMessage, 'destination_port') };
const interfaceTag = tagOf(flowMessage, 'interface');
const interfaceIndexTag = oneByte(messageOf('flow.NetworkInterface'), 'index');
/** By protocol: the tag in Layer4, 0: none. */
const layer4Tags = new Uint8Array(256);
for (const name of ['TCP', 'UDP', 'SCTP', 'ICMPv4', 'ICMPv6'] as const) layer4Tags[protocolNumber[name]] = oneByte(messageOf('flow.Layer4'), name);

export class RecordEncoder {
  readonly #ring: Ring;
  readonly #lookups: Lookups;
  readonly #sources: Parts<End>;
  readonly #destinations: Parts<End>;
  /** Ends that have no name: by identity. */
  readonly #strangers: { readonly source: Parts<Uint8Array>; readonly destination: Parts<Uint8Array> };
  readonly #policies: Parts<Uint8Array>;
  readonly #events: Parts<Uint8Array>;
  readonly #icmpEvents: Parts<Uint8Array>;
  /** The tag of time and the name of the node, after the flow. */
  readonly #tail: Uint8Array;
  readonly #uuid: Uint8Array;
  /** Of the record that was prepared last. */
  #source!: End;
  #destination!: End;
  #policy!: Uint8Array;
  #event!: Uint8Array;
  #services: Uint8Array = nothing;

  constructor(ring: Ring, lookups: Lookups) {
    this.#ring = ring;
    this.#lookups = lookups;
    const words = (address: number): number[] => [address, address + 4, address + 8, address + 12];
    this.#sources = new Parts([...words(field.saddr), field.sourceIdentity], (at, known) => this.#makeEnd(at, known, 'source', field.saddr, field.sourceIdentity));
    this.#destinations = new Parts([...words(field.daddr), field.destinationIdentity], (at, known) => this.#makeEnd(at, known, 'destination', field.daddr, field.destinationIdentity));
    const strangers = (side: 'source' | 'destination', identity: number): Parts<Uint8Array> =>
      new Parts([identity], (at) => encodeEndpoint(side, namedEndpoint(undefined, ring.words[(at + identity) >>> 2]!, timeAt(ring.words, at), lookups)));
    this.#strangers = { source: strangers('source', field.sourceIdentity), destination: strangers('destination', field.destinationIdentity) };
    this.#policies = new Parts([...judgementWords(field.egress), ...judgementWords(field.ingress)], (at) => {
      const record = decodeRecord(ring.view, at);
      return encode(flowMessage, policyFields(record, Number(record.time_ns), lookups));
    });
    // Protocol, flags, event and all that follows.
    const event = (at: number): Uint8Array => eventPart(decodeRecord(ring.view, at), lookups.nodeName);
    this.#events = new Parts([field.protocol, field.direction], event);
    this.#icmpEvents = new Parts([field.protocol, field.direction, field.sport], event); // type and code stand in the ports
    this.#tail = Buffer.concat([encode(getFlowsResponseMessage, { node_name: lookups.nodeName }), tagOf(getFlowsResponseMessage, 'time')]);
    this.#uuid = Buffer.concat([tagOf(flowMessage, 'uuid'), Buffer.of(uuidParts.prefix.length + 12), Buffer.from(uuidParts.prefix)]);
  }

  /** Looks up what the record's numbers mean; the result is how many bytes `write` takes at most. */
  prepare(at: number): number {
    const { words, bytes } = this.#ring;
    const changedNs = this.#lookups.changedNs();
    const known = timeAt(words, at) >= changedNs;
    this.#source = this.#sources.of(words, at, changedNs, known);
    this.#destination = this.#destinations.of(words, at, changedNs, known);
    this.#policy = this.#policies.of(words, at, changedNs, known);
    const protocol = bytes[at + field.protocol];
    this.#event = (protocol === protocolNumber.ICMPv4 || protocol === protocolNumber.ICMPv6 ? this.#icmpEvents : this.#events).of(words, at, 0, true);
    this.#services = this.#servicesOf(at);
    return handBytes + this.#source.ip.length + this.#source.endpoint.length + this.#destination.ip.length + this.#destination.endpoint.length
      + this.#policy.length + this.#event.length + this.#services.length + this.#tail.length;
  }

  /** The record that was prepared, as a message from `start` on; the result is where it ends. `number`: of its entry. */
  write(target: Uint8Array, start: number, number: number, at: number): number {
    const { bytes, words, view } = this.#ring;
    const flowAt = start + 1 + lengthBytes;
    let next = this.#writeTime(target, flowAt, view.getBigUint64(at + field.time, true));
    const timeEnd = next;
    next = putMacs(target, next, bytes, at + field.smac);
    next = this.#writeIp(target, next);
    next = putLayer4(target, next, bytes, at);
    next = put(target, next, this.#source.endpoint);
    next = put(target, next, this.#destination.endpoint);
    next = putInterface(target, next, words[(at + field.ifindex) >>> 2]!);
    next = put(target, next, this.#uuid);
    next = putHex(target, next, uuidParts.first + number);
    next = put(target, next, this.#event);
    next = put(target, next, this.#policy);
    next = put(target, next, this.#services);
    const length = next - flowAt;
    const shift = varintBytes(length) - lengthBytes;
    if (shift !== 0) target.copyWithin(flowAt + shift, flowAt, next);
    target[start] = flowTag;
    putVarint(target, start + 1, length);
    next = put(target, next + shift, this.#tail);
    // The time of the response is that of the flow.
    for (let from = flowAt + shift + 1; from < timeEnd + shift; from += 1) {
      target[next] = target[from]!;
      next += 1;
    }
    return next;
  }

  #servicesOf(at: number): Uint8Array {
    const { bytes } = this.#ring;
    const [source, destination] = [serviceOf(bytes, at, 'source', this.#lookups), serviceOf(bytes, at, 'destination', this.#lookups)];
    if (source === undefined && destination === undefined) return nothing;
    return encode(flowMessage, { ...(source && { source_service: source }), ...(destination && { destination_service: destination }) });
  }

  #writeTime(target: Uint8Array, at: number, monotonicNs: bigint): number {
    nanoseconds[0] = this.#lookups.toUnixNs(monotonicNs);
    const low = halves[0]!;
    // A double is some nanoseconds off: the rest is taken from the low halves, which are exact, and says when the second is another.
    let seconds = Math.floor((halves[1]! * 2 ** 32 + low) / billion);
    let nanos = (low - Math.imul(seconds, billion)) | 0;
    if (nanos < 0) { seconds -= 1; nanos += billion; }
    if (nanos >= billion) { seconds += 1; nanos -= billion; }
    target[at] = timeTag;
    target[at + 2] = timestampTags.seconds;
    let next = putVarint(target, at + 3, seconds);
    target[next] = timestampTags.nanos;
    next = putVarint(target, next + 1, nanos);
    target[at + 1] = next - at - 2;
    return next;
  }

  #writeIp(target: Uint8Array, at: number): number {
    const source = this.#source;
    const destination = this.#destination;
    target[at] = ipTag;
    target[at + 1] = source.ip.length + destination.ip.length + 2; // two addresses are less than 128 bytes
    const next = put(target, put(target, at + 2, source.ip), destination.ip);
    target[next] = ipVersionTag;
    target[next + 1] = source.isIpv6 ? 2 : 1;
    return next + 2;
  }

  #makeEnd(at: number, known: boolean, side: 'source' | 'destination', address: number, identity: number): End {
    const { bytes, words } = this.#ring;
    const lookups = this.#lookups;
    const { text, version } = ipText(bytes.subarray(at + address, at + address + 16));
    const timeNs = timeAt(words, at);
    const names = lookups.endpoint(text, timeNs);
    const endpoint = names === undefined ? this.#strangers[side].of(words, at, lookups.changedNs(), known)
      : encodeEndpoint(side, namedEndpoint(names, words[(at + identity) >>> 2]!, timeNs, lookups));
    return { ip: Buffer.from(String.fromCharCode(addressTags[side], text.length) + text, 'latin1'), isIpv6: version === 6, endpoint };
  }
}

/** All that a record's last bytes say. */
function eventPart(record: FlowRecord, nodeName: string): Uint8Array {
  const isReply = record.is_reply !== 0;
  return encode(flowMessage, {
    verdict: verdictOf(record.event), Type: flowType.l3l4, node_name: nodeName, reply: isReply, is_reply: { value: isReply }, traffic_direction: record.direction,
    ...eventFields(record), Summary: summaryOf(record),
  } satisfies Flow);
}

const macBytes = 6;
const macText = 3 * macBytes - 1;

function putMacs(target: Uint8Array, at: number, bytes: Uint8Array, from: number): number {
  target[at] = ethernetTag;
  target[at + 1] = 2 * (2 + macText);
  let next = at + 2;
  for (let side = 0; side < 2; side += 1) {
    target[next] = ethernetTags[side]!;
    target[next + 1] = macText;
    next += 2;
    for (let index = 0; index < macBytes; index += 1) {
      const byte = bytes[from + side * macBytes + index]!;
      target[next] = highHex[byte]!;
      target[next + 1] = lowHex[byte]!;
      target[next + 2] = colon;
      next += 3;
    }
    next -= 1; // no colon after the last
  }
  return next;
}

/** Ports, or type and code, in the first two fields of whatever it is. */
function putLayer4(target: Uint8Array, at: number, bytes: Uint8Array, record: number): number {
  const protocol = bytes[record + field.protocol]!;
  const tag = layer4Tags[protocol]!;
  if (tag === 0) return at;
  const sport = (bytes[record + field.sport]! << 8) | bytes[record + field.sport + 1]!;
  const dport = (bytes[record + field.dport]! << 8) | bytes[record + field.dport + 1]!;
  const isIcmp = protocol === protocolNumber.ICMPv4 || protocol === protocolNumber.ICMPv6;
  const body = at + 4;
  target[body] = portTags.first;
  let next = putVarint(target, body + 1, isIcmp ? dport : sport);
  target[next] = portTags.second;
  next = putVarint(target, next + 1, isIcmp ? sport : dport);
  if (protocol === protocolNumber.TCP) next = put(target, next, flagsParts[bytes[record + field.tcpFlags]!]!);
  target[at] = layer4Tag;
  target[at + 1] = next - at - 2;
  target[at + 2] = tag;
  target[at + 3] = next - body;
  return next;
}

function putInterface(target: Uint8Array, at: number, index: number): number {
  const next = put(target, at, interfaceTag);
  target[next + 1] = interfaceIndexTag;
  const end = putVarint(target, next + 2, index);
  target[next] = end - next - 1;
  return end;
}

/** 12 digits, the tail of a uuid. */
function putHex(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  for (let index = 5; index >= 0; index -= 1) {
    const byte = rest % 256;
    target[at + 2 * index] = highHex[byte]!;
    target[at + 2 * index + 1] = lowHex[byte]!;
    rest = Math.floor(rest / 256);
  }
  return at + 12;
}
