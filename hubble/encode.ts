// Record -> bytes of a GetFlowsResponse, without a flow between: what says the same for many records is copied (parts.ts), the rest
// is written byte by byte. encode.test.ts compares with what protobufjs makes of toFlow.
import { ipText } from './address.ts';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { encodeEndpoint } from './encode-endpoint.ts';
import { putHex, putInterface, putLayer4, putMacs, putTime } from './encode-packet.ts';
import { EncodedNames } from './encode-names.ts';
import { EncodedService } from './encode-service.ts';
import { eventFields, namedEndpoint, policyFields, protocolNumber, summaryOf, verdictOf, type Lookups } from './flow.ts';
import { Parts } from './parts.ts';
import { encode, flowMessage, getFlowsResponseMessage } from './proto.ts';
import { decodeRecord, field, judgementField, timeAt } from './record.ts';
import type { Ring } from './ring.ts';
import { flowType, type Flow } from './types.ts';
import { uuidParts } from './uuid.ts';
import { messageOf, oneByteTag, put, putVarint, tagOf, varintBytes } from './wire.ts';

/** One end: its part of IP, and its endpoint. */
interface End { readonly ip: Uint8Array; readonly isIpv6: boolean; readonly endpoint: Uint8Array }

const ipMessage = messageOf('flow.IP');
const judgementWords = (side: number): number[] => [judgementField.bits, judgementField.bits + 4, judgementField.policy, judgementField.word].map((offset) => side + offset);

/** What is written byte by byte takes no more. */
const handBytes = 256;
/** Room for the length of the flow, which is known last: two bytes up to 16,383. */
const lengthBytes = 2;

const ipTag = oneByteTag(flowMessage, 'IP');
const flowTag = oneByteTag(getFlowsResponseMessage, 'flow');
const addressTags = { source: oneByteTag(ipMessage, 'source'), destination: oneByteTag(ipMessage, 'destination') };
const ipVersionTag = oneByteTag(ipMessage, 'ipVersion');

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
  readonly #services: { readonly source: EncodedService; readonly destination: EncodedService };
  readonly #names: EncodedNames;
  /** The tag of time and the name of the node, after the flow. */
  readonly #tail: Uint8Array;
  readonly #uuid: Uint8Array;
  /** Of the record that was prepared last. */
  #source!: End;
  #destination!: End;
  #policy!: Uint8Array;
  #event!: Uint8Array;
  #sourceService!: Uint8Array;
  #destinationService!: Uint8Array;
  #endNames!: Uint8Array;

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
    this.#services = { source: new EncodedService(ring, lookups, 'source'), destination: new EncodedService(ring, lookups, 'destination') };
    this.#names = new EncodedNames(ring, lookups);
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
    this.#sourceService = this.#services.source.of(at);
    this.#destinationService = this.#services.destination.of(at);
    this.#endNames = this.#names.of(at, changedNs, known);
    return handBytes + this.#source.ip.length + this.#source.endpoint.length + this.#destination.ip.length + this.#destination.endpoint.length
      + this.#policy.length + this.#event.length + this.#sourceService.length + this.#destinationService.length + this.#endNames.length + this.#tail.length;
  }

  /** The record that was prepared, as a message from `start` on; the result is where it ends. `number`: of its entry. */
  write(target: Uint8Array, start: number, number: number, at: number): number {
    const { bytes, words, view } = this.#ring;
    const flowAt = start + 1 + lengthBytes;
    let next = putTime(target, flowAt, this.#lookups.toUnixNs(view.getBigUint64(at + field.time, true)));
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
    next = put(target, next, this.#sourceService);
    next = put(target, next, this.#destinationService);
    next = put(target, next, this.#endNames);
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
    verdict: verdictOf(record), Type: flowType.l3l4, node_name: nodeName, reply: isReply, is_reply: { value: isReply }, traffic_direction: record.direction,
    ...eventFields(record), Summary: summaryOf(record),
  } satisfies Flow);
}
