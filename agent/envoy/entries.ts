// The bytes of Envoy's access log -> its entries, read forward without messages between: what weir uses of one, as proto/envoy/accesslog.proto
// numbers it. A request takes less than half the time that protobufjs did.
import type { HttpAccess, ProxyAccess } from '../../hubble/access.ts';
import { KnownTexts } from './known-texts.ts';
import { stateKey } from './listener.ts';
import { bytesTag, varintTag, WireReader } from './wire.ts';

type Header = readonly [name: string, value: string];

/** One entry; of a connection that is not HTTP without `http`. Addresses stand as the log has them. */
export interface LogEntry extends Pick<ProxyAccess, 'source' | 'destination' | 'upstreamPort' | 'startUnixNs' | 'durationNs' | 'flags'> {
  /** Of the filter state: `PORT`, `PORT INDEX`, `PORT http`. */
  readonly state: string;
  readonly routeName: string;
  readonly sni: string;
  /** What did not hold stands in the route's name. */
  readonly http?: HttpAccess;
}

const methods = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
const protocols: readonly (HttpAccess['protocol'] | undefined)[] = [undefined, 'HTTP/1.0', 'HTTP/1.1', 'HTTP/2'];
/** By the field of ResponseFlags; newer ones are passed over. */
const flagLetters = ['', 'LH', 'UH', 'UT', 'LR', 'UR', 'UF', 'UC', 'UO', 'NR', 'DI', 'FI', 'RL', 'UAEX', 'RLSE', 'DC', 'URX', 'SI', 'IH', 'DPE', 'UMSDR', 'RFCF', 'NFCF', 'DT', 'UPE', 'NC', 'OM', 'DF', 'DR'];
const nsPerSecond = 1_000_000_000n;

const wire = new WireReader();
const known = new KnownTexts();

/** Each reads one field's message, from its length to its end. */
type Field = (tag: number, end: number) => boolean;
function message(outer: number, field: Field): void {
  const end = wire.open(outer);
  while (wire.at < end) {
    const tag = wire.varint();
    if (!field(tag, end)) wire.skip(tag, end);
  }
  wire.close(end);
}

function text(outer: number): string {
  const end = wire.open(outer);
  const start = wire.at;
  wire.at = end;
  return known.of(wire.bytes, start, end);
}

/** What stands in an entry, as it is read: one of them, so that no entry needs its own. */
const now = {
  hasCommon: false, state: '', routeName: '', sni: '', flags: '', address: '', port: 0, seconds: 0, nanos: 0, startSeconds: 0, startNanos: 0, durationNs: 0n,
  source: { address: '', port: 0 }, destination: { address: '', port: 0 }, upstreamPort: 0,
  protocol: 0, method: 0, methodName: '', scheme: '', authority: '', path: '', requestBytes: 0, responseBytes: 0, code: 0,
  agent: '', referer: '', forwardedFor: '', requestId: '', headers: [] as Header[], key: '', value: '',
};

function begin(): void {
  now.hasCommon = false;
  now.state = now.routeName = now.sni = now.flags = now.methodName = now.scheme = now.authority = now.path = now.agent = now.referer = now.forwardedFor = now.requestId = '';
  now.source = now.destination = nowhere;
  now.startSeconds = now.startNanos = now.upstreamPort = now.protocol = now.method = now.requestBytes = now.responseBytes = now.code = 0;
  now.durationNs = 0n;
  if (now.headers.length > 0) now.headers = [];
}
const nowhere = { address: '', port: 0 };

const socketField: Field = (tag, end) => {
  if (tag === bytesTag(2)) now.address = text(end);
  else if (tag === varintTag(3)) now.port = wire.varint();
  else return false;
  return true;
};
const addressField: Field = (tag, end) => {
  if (tag !== bytesTag(1)) return false;
  message(end, socketField);
  return true;
};
function endAddress(outer: number): ProxyAccess['source'] {
  now.address = '';
  now.port = 0;
  message(outer, addressField);
  return { address: now.address, port: now.port };
}

const timeField: Field = (tag) => {
  if (tag === varintTag(1)) now.seconds = wire.varint();
  else if (tag === varintTag(2)) now.nanos = wire.varint();
  else return false;
  return true;
};
function time(outer: number): void {
  now.seconds = now.nanos = 0;
  message(outer, timeField);
}

const flagField: Field = (tag, end) => {
  const letters = flagLetters[tag >>> 3];
  let isSet = true;
  if ((tag & 7) === 0) isSet = wire.varint() !== 0;
  else wire.skip(tag, end);
  if (isSet && letters !== undefined) now.flags = now.flags === '' ? letters : `${now.flags},${letters}`;
  return true;
};
const tlsField: Field = (tag, end) => {
  if (tag !== bytesTag(3)) return false;
  now.sni = text(end);
  return true;
};

/** A StringValue in an Any in a map. */
const stringField: Field = (tag, end) => {
  if (tag !== bytesTag(1)) return false;
  now.value = text(end);
  return true;
};
const anyField: Field = (tag, end) => {
  if (tag !== bytesTag(2)) return false;
  message(end, stringField);
  return true;
};
const stateField: Field = (tag, end) => {
  if (tag === bytesTag(1)) now.key = text(end);
  else if (tag === bytesTag(2) && now.key === stateKey) message(end, anyField);
  else return false;
  return true;
};

const commonField: Field = (tag, end) => {
  switch (tag) {
    // Not `downstream_remote_address`: that is what the client says in x-forwarded-for.
    case bytesTag(20): now.source = endAddress(end); break;
    case bytesTag(3): now.destination = endAddress(end); break;
    case bytesTag(14): now.upstreamPort = endAddress(end).port; break;
    case bytesTag(4): message(end, tlsField); break;
    case bytesTag(5):
      time(end);
      now.startSeconds = now.seconds;
      now.startNanos = now.nanos;
      break;
    case bytesTag(23):
      time(end);
      now.durationNs = now.seconds === 0 ? BigInt(now.nanos) : BigInt(now.seconds) * nsPerSecond + BigInt(now.nanos);
      break;
    case bytesTag(16): message(end, flagField); break;
    case bytesTag(19): now.routeName = text(end); break;
    case bytesTag(21):
      now.key = now.value = '';
      message(end, stateField);
      if (now.key === stateKey) now.state = now.value;
      break;
    default: return false;
  }
  return true;
};

const headerField: Field = (tag, end) => {
  if (tag === bytesTag(1)) now.key = text(end);
  else if (tag === bytesTag(2)) now.value = text(end);
  else return false;
  return true;
};
function header(outer: number): void {
  now.key = now.value = '';
  message(outer, headerField);
  if (now.key === ':method') now.methodName = now.value;
  else if (now.value !== '' && !now.key.startsWith(':')) now.headers.push([now.key, now.value]);
}

const requestField: Field = (tag, end) => {
  switch (tag) {
    case varintTag(1): now.method = wire.varint(); break;
    case bytesTag(2): now.scheme = text(end); break;
    case bytesTag(3): now.authority = text(end); break;
    case bytesTag(5): now.path = text(end); break;
    case bytesTag(6): now.agent = text(end); break;
    case bytesTag(7): now.referer = text(end); break;
    case bytesTag(8): now.forwardedFor = text(end); break;
    case bytesTag(9): now.requestId = text(end); break;
    case varintTag(11): case varintTag(12): now.requestBytes += wire.varint(); break;
    case bytesTag(13): header(end); break;
    default: return false;
  }
  return true;
};

const codeField: Field = (tag) => {
  if (tag !== varintTag(1)) return false;
  now.code = wire.varint();
  return true;
};
const responseField: Field = (tag, end) => {
  if (tag === bytesTag(1)) message(end, codeField);
  else if (tag === varintTag(2) || tag === varintTag(3)) now.responseBytes += wire.varint();
  else return false;
  return true;
};

const entryField: Field = (tag, end) => {
  switch (tag) {
    case bytesTag(1):
      now.hasCommon = true;
      message(end, commonField);
      break;
    case varintTag(2): now.protocol = wire.varint(); break;
    case bytesTag(3): message(end, requestField); break;
    case bytesTag(4): message(end, responseField); break;
    default: return false;
  }
  return true;
};
/** Of a connection: its own properties lie behind those it has in common. */
const connectionField: Field = (tag, end) => (tag === bytesTag(1) ? entryField(tag, end) : false);

let [second, secondNs] = [0, 0n];
function startNs(): bigint {
  if (now.startSeconds !== second) [second, secondNs] = [now.startSeconds, BigInt(now.startSeconds) * nsPerSecond];
  return secondNs + BigInt(now.startNanos);
}

function requestHeaders(): Header[] {
  const headers: Header[] = [];
  if (now.agent !== '') headers.push(['user-agent', now.agent]);
  if (now.referer !== '') headers.push(['referer', now.referer]);
  if (now.forwardedFor !== '') headers.push(['x-forwarded-for', now.forwardedFor]);
  if (now.requestId !== '') headers.push(['x-request-id', now.requestId]);
  return now.headers.length > 0 ? headers.concat(now.headers) : headers;
}

function read(isHttp: boolean): LogEntry {
  const { state, routeName, sni, flags, source, destination, upstreamPort, durationNs } = now;
  const startUnixNs = startNs();
  if (!isHttp) return { state, routeName, sni, flags, source, destination, upstreamPort, startUnixNs, durationNs };
  const { scheme, authority, path, code, requestBytes, responseBytes } = now;
  const method = now.methodName === '' ? methods[now.method] ?? '' : now.methodName;
  return { state, routeName, sni, flags, source, destination, upstreamPort, startUnixNs, durationNs, http: {
    method, scheme, authority, path, protocol: protocols[now.protocol] ?? 'HTTP/1.1', code, requestHeaders: requestHeaders(), requestBytes, responseBytes, mismatched: none,
  } };
}
const none: readonly string[] = [];

/** The entries of one message, in order. Throws RangeError where the bytes are none; what stands before that is told. */
export function readEntries(bytes: Buffer, tell: (entry: LogEntry) => void): void {
  wire.begin(bytes);
  const end = bytes.length;
  const logs = (isHttp: boolean): Field => (tag, within) => {
    if (tag !== bytesTag(1)) return false;
    begin();
    message(within, isHttp ? entryField : connectionField);
    if (now.hasCommon) tell(read(isHttp));
    return true;
  };
  while (wire.at < end) {
    const tag = wire.varint();
    if (tag === bytesTag(2) || tag === bytesTag(3)) message(end, logs(tag === bytesTag(2)));
    else wire.skip(tag, end);
  }
  wire.close(end);
}
