// What a packet says of itself, as fields of a flow: time, MAC addresses, ports, interface; written byte by byte.
import { flagBits, protocolNumber } from './flow.ts';
import { flowMessage } from './proto.ts';
import { field } from './record.ts';
import { fieldOf, messageOf, oneByteTag, put, putVarint, tagOf } from './wire.ts';

const [tcpMessage, timestampMessage] = [messageOf('flow.TCP'), messageOf('google.protobuf.Timestamp')];
const [timeTag, ethernetTag, layer4Tag] = [oneByteTag(flowMessage, 'time'), oneByteTag(flowMessage, 'ethernet'), oneByteTag(flowMessage, 'l4')];
const ethernetTags = ['source', 'destination'].map((name) => oneByteTag(messageOf('flow.Ethernet'), name));
const timestampTags = { seconds: oneByteTag(timestampMessage, 'seconds'), nanos: oneByteTag(timestampMessage, 'nanos') };
const portTags = { first: oneByteTag(tcpMessage, 'source_port'), second: oneByteTag(tcpMessage, 'destination_port') };
const interfaceTag = tagOf(flowMessage, 'interface');
const interfaceIndexTag = oneByteTag(messageOf('flow.NetworkInterface'), 'index');
/** By protocol: the tag in Layer4, 0: none. */
const layer4Tags = new Uint8Array(256);
for (const name of ['TCP', 'UDP', 'SCTP', 'ICMPv4', 'ICMPv6'] as const) layer4Tags[protocolNumber[name]] = oneByteTag(messageOf('flow.Layer4'), name);
const hexTable = (digit: number): Uint8Array => Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0').charCodeAt(digit));
const [highHex, lowHex] = [hexTable(0), hexTable(1)];
const flagsParts = Array.from({ length: 256 }, (_, bits) =>
  fieldOf(tcpMessage, 'flags', messageOf('flow.TCPFlags'), Object.fromEntries(flagBits.filter((_name, index) => bits & (1 << index)).map((name) => [name, true]))));
const colon = 0x3a;
const billion = 1_000_000_000;
/** Little-endian, as everything that BPF runs on here. */
const nanoseconds = new BigUint64Array(1);
const halves = new Uint32Array(nanoseconds.buffer);

/** Of the flow, from nanoseconds since 1970. */
export function putTime(target: Uint8Array, at: number, ns: bigint): number {
  nanoseconds[0] = ns;
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

const macBytes = 6;
const macText = 3 * macBytes - 1;

export function putMacs(target: Uint8Array, at: number, bytes: Uint8Array, from: number): number {
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
export function putLayer4(target: Uint8Array, at: number, bytes: Uint8Array, record: number): number {
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

export function putInterface(target: Uint8Array, at: number, index: number): number {
  const next = put(target, at, interfaceTag);
  target[next + 1] = interfaceIndexTag;
  const end = putVarint(target, next + 2, index);
  target[next] = end - next - 1;
  return end;
}

/** 12 digits, the tail of a uuid. */
export function putHex(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  for (let index = 5; index >= 0; index -= 1) {
    const byte = rest % 256;
    target[at + 2 * index] = highHex[byte]!;
    target[at + 2 * index + 1] = lowHex[byte]!;
    rest = Math.floor(rest / 256);
  }
  return at + 12;
}
