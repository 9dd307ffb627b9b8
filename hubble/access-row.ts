// What a proxy did -> rows of the ring: a request and its response, or a connection whose TLS was not opened. Rows stand like records
// (record.ts), so that filters read them the same way; their texts (texts.ts) stand aside, once for both.
import ipaddr from 'ipaddr.js';
import type { ProxyAccess } from './access.ts';
import { protocolNumber, type Lookups, type PolicyName } from './flow.ts';
import { field, headerBytes, slotBytes } from './record.ts';
import type { Redaction } from './redact.ts';
import type { AccessDetail, Ring } from './ring.ts';
import { Texts } from './texts.ts';
import { traceIdOf } from './trace-context.ts';
import { verdict } from './types.ts';

/** The part of a rule set that flows tell of. */
export interface ProxyRules {
  readonly rules: readonly { readonly ref: { readonly policy: PolicyName; readonly log?: string } }[];
}

/** Fields of a record that mean something else here. */
export const accessField = {
  startUnixNs: field.packets, durationNs: field.bytes, code: field.generation, proxyPort: field.ifindex, verdict: field.live, kind: field.observationPoint,
  reason: field.reason,
} as const;
export const accessKind = { request: 1, response: 2, tls: 3 } as const;

/** POLICY_DENIED. */
export const deniedReason = 133;

/** Bytes of each text at most, and of all headers; what is longer is cut. */
export const textLimit = { method: 32, url: 1_024, protocol: 16, flags: 32, mismatched: 256, headerName: 64, headers: 1_024 } as const;
const mostHeaders = 64;
const mostBytes = 4_096;

/** Envoy's letters for answers that are its own, and connections that broke (its access log's RESPONSE_FLAGS). */
const failures = new Set(['UH', 'UF', 'UO', 'NR', 'URX', 'NC', 'DT', 'DC', 'LH', 'UT', 'LR', 'UR', 'UC', 'DI', 'IH', 'SI', 'DPE', 'UPE', 'UMSDR', 'OM', 'DF', 'DO', 'DR', 'NFCF', 'RFCF']);
const failed = (flags: string): boolean => flags !== '' && flags.split(',').some((flag) => failures.has(flag));

interface End { readonly word: Uint8Array; readonly identity: number }

type Sent = Pick<ProxyAccess, 'source' | 'destination' | 'direction' | 'startUnixNs' | 'durationNs'>;
/** A response goes back. */
const turned = ({ source, destination, direction, startUnixNs, durationNs }: Sent): Sent => ({ source: destination, destination: source, direction, startUnixNs, durationNs });

/** Ends that are remembered. */
const mostEnds = 4_096;
const noRules: ProxyRules = { rules: [] };

const switchingProtocols = 101;

export class AccessRows {
  readonly #ring: Ring;
  readonly #lookups: Lookups;
  readonly #redaction: Redaction;
  readonly #texts = new Texts();
  readonly #ends = new Map<string, End>();
  #endsRevision = -1;
  readonly #slots = new Uint8Array(2 * slotBytes);
  readonly #view = new DataView(this.#slots.buffer);

  constructor(ring: Ring, lookups: Lookups, redaction: Redaction) {
    this.#ring = ring;
    this.#lookups = lookups;
    this.#redaction = redaction;
  }

  /** `endNs`: when it ended, as records tell time. `rules`: of its rule set. The result is how many rows it took. */
  add(access: ProxyAccess, rules: ProxyRules | undefined, proxyPort: number, endNs: bigint): number {
    const detail = { rules: rules ?? noRules, rule: access.rule ?? -1, denied: access.denied, ...this.#putTexts(access) };
    const { http, flags, denied } = access;
    // An upgraded connection has no answer that ends: whoever hangs up first ends it.
    const broken = failed(flags) && http?.code !== switchingProtocols;
    const [source, destination] = [this.#end(access.source.address, endNs), this.#end(access.destination.address, endNs)];
    this.#write(0, access, source, destination, proxyPort, endNs);
    this.#tell(0, http === undefined ? accessKind.tls : accessKind.request, denied ? verdict.dropped : http === undefined && broken ? verdict.error : verdict.forwarded);
    if (http === undefined) {
      this.#ring.addAccess(this.#slots.subarray(0, slotBytes), detail);
      return 1;
    }
    this.#write(slotBytes, turned(access), destination, source, proxyPort, endNs);
    this.#view.setUint32(slotBytes + headerBytes + accessField.code, http.code, true);
    this.#slots[slotBytes + headerBytes + field.isReply] = 1;
    this.#tell(slotBytes, accessKind.response, http.code === 0 || broken ? verdict.error : verdict.forwarded);
    this.#ring.addAccess(this.#slots, detail);
    return 2;
  }

  #write(slot: number, { source, destination, direction, startUnixNs, durationNs }: Sent, from: End, to: End, proxyPort: number, endNs: bigint): void {
    const view = this.#view;
    const slots = this.#slots;
    const record = slot + headerBytes;
    view.setBigUint64(record + field.time, endNs, true);
    slots.set(from.word, record + field.saddr);
    slots.set(to.word, record + field.daddr);
    view.setBigUint64(record + accessField.startUnixNs, startUnixNs, true);
    view.setBigUint64(record + accessField.durationNs, durationNs, true);
    view.setUint16(record + field.sport, source.port, false);
    view.setUint16(record + field.dport, destination.port, false);
    view.setUint32(record + field.sourceIdentity, from.identity, true);
    view.setUint32(record + field.destinationIdentity, to.identity, true);
    view.setUint32(record + accessField.proxyPort, proxyPort, true);
    slots[record + field.protocol] = protocolNumber.TCP;
    slots[record + field.direction] = direction === 'ingress' ? 1 : 2;
  }

  #tell(slot: number, kind: number, what: number): void {
    const record = slot + headerBytes;
    this.#slots[record + accessField.kind] = kind;
    this.#slots[record + accessField.verdict] = what;
    this.#slots[record + accessField.reason] = what === verdict.dropped ? deniedReason : 0;
  }

  #end(address: string, endNs: bigint): End {
    const revision = this.#lookups.identityRevision?.() ?? 0;
    if (revision !== this.#endsRevision || this.#ends.size >= mostEnds) this.#ends.clear();
    this.#endsRevision = revision;
    const known = this.#ends.get(address);
    if (known !== undefined) return known;
    const end = { word: wordOf(address), identity: this.#lookups.endpoint(address, Number(endNs))?.identity ?? this.#lookups.identity?.(address) ?? 0 };
    this.#ends.set(address, end);
    return end;
  }

  /** In the order in which access-flow.ts reads them. */
  #putTexts({ http, sni = '', flags }: ProxyAccess): Pick<AccessDetail, 'texts' | 'traceId'> {
    const texts = this.#texts;
    texts.begin(this.#ring.next + 1, this.#ring.oldest, mostBytes);
    texts.put(flags, textLimit.flags);
    if (http === undefined) {
      texts.put(sni, textLimit.url);
      return { texts: texts.end(), traceId: '' };
    }
    texts.put(http.method, textLimit.method);
    texts.put(this.#redaction.url(http.scheme, http.authority, http.path), textLimit.url);
    texts.put(http.protocol, textLimit.protocol);
    texts.put(http.mismatched.length === 0 ? '' : http.mismatched.join(', '), textLimit.mismatched);
    this.#putHeaders(http.requestHeaders);
    return { texts: texts.end(), traceId: traceIdOf(http.requestHeaders) };
  }

  /** A header that finds no room for its value is cut; those behind it are left out, which a last one without a value tells. */
  #putHeaders(headers: NonNullable<ProxyAccess['http']>['requestHeaders']): void {
    const texts = this.#texts;
    const end = texts.taken + textLimit.headers;
    let count = 0;
    for (const [name, value] of headers) {
      const room = end - texts.taken - name.length - 16;
      if (count >= mostHeaders || room <= 0 || name.length > textLimit.headerName) {
        texts.put('…', 4);
        texts.put('', 0);
        return;
      }
      count += 1;
      texts.put(name, textLimit.headerName);
      texts.put(this.#redaction.header(name, value), room);
    }
  }
}

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; zeros for what is no address. */
function wordOf(address: string): Uint8Array {
  if (!ipaddr.isValid(address)) return new Uint8Array(16);
  const parsed = ipaddr.parse(address);
  return Uint8Array.from((parsed.kind() === 'ipv4' ? (parsed as ipaddr.IPv4).toIPv4MappedAddress() : parsed).toByteArray());
}
