// Entries of the access log, read from the wire by hand: one for every request that passes (numbers: proto/envoy/accesslog.proto).
import protobuf from 'protobufjs';

export interface LogAddress { address: string; port: number }

export interface LogEntry {
  http: boolean;
  source: LogAddress;
  destination: LogAddress;
  upstreamPort: number;
  startUnixNs: bigint;
  durationNs: bigint;
  sni: string;
  routeName: string;
  /** Value of the filter state that listeners set. */
  state: string;
  /** Envoy's letters. */
  flags: string[];
  protocol: number;
  method: number;
  scheme: string;
  authority: string;
  path: string;
  requestHeaders: [name: string, value: string][];
  requestBytes: number;
  responseBytes: number;
  code: number;
}

type Visit = (field: number, reader: protobuf.Reader) => boolean;

/** Calls for each field of the message at hand; those that `visit` does not read are passed over. */
function each(reader: protobuf.Reader, visit: Visit): void {
  const end = reader.uint32() + reader.pos;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (!visit(tag >>> 3, reader)) reader.skipType(tag & 7);
  }
}

/** By field number of ResponseFlags. */
const flagLetters: Readonly<Record<number, string>> = {
  1: 'LH', 2: 'UH', 3: 'UT', 4: 'LR', 5: 'UR', 6: 'UF', 7: 'UC', 8: 'UO', 9: 'NR', 10: 'DI', 11: 'FI', 12: 'RL', 13: 'UAEX', 14: 'RLSE', 15: 'DC', 16: 'URX', 17: 'SI', 18: 'IH',
  19: 'DPE', 20: 'UMSDR', 21: 'RFCF', 22: 'NFCF', 23: 'DT', 24: 'UPE', 25: 'NC', 26: 'OM', 27: 'DF', 28: 'DR',
};

const address = (into: LogAddress): Visit => (field, reader) => {
  if (field !== 1) return false;
  each(reader, (part) => {
    if (part === 2) into.address = reader.string();
    else if (part === 3) into.port = reader.uint32();
    else return false;
    return true;
  });
  return true;
};

/** google.protobuf.Timestamp and Duration look the same. */
function nanoseconds(reader: protobuf.Reader): bigint {
  let [seconds, nanos] = [0, 0];
  each(reader, (field) => {
    if (field === 1) seconds = Number(reader.int64());
    else if (field === 2) nanos = reader.int32();
    else return false;
    return true;
  });
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanos);
}

function flags(reader: protobuf.Reader, into: string[]): void {
  each(reader, (field) => {
    const letters = flagLetters[field];
    if (letters !== undefined) into.push(letters);
    return false;
  });
}

/** map<string, Any of StringValue>: there is one key. */
function state(reader: protobuf.Reader): string {
  let text = '';
  each(reader, (entry) => {
    if (entry !== 2) return false;
    each(reader, (part) => {
      if (part !== 2) return false;
      each(reader, (value) => {
        if (value !== 1) return false;
        text = reader.string();
        return true;
      });
      return true;
    });
    return true;
  });
  return text;
}

function common(entry: LogEntry, upstream: LogAddress): Visit {
  return (field, reader) => {
    switch (field) {
      case 3: each(reader, address(entry.destination)); return true;
      case 4: each(reader, (part) => {
        if (part === 3) entry.sni = reader.string();
        return part === 3;
      }); return true;
      case 5: entry.startUnixNs = nanoseconds(reader); return true;
      case 14: each(reader, address(upstream)); return true;
      case 16: flags(reader, entry.flags); return true;
      case 19: entry.routeName = reader.string(); return true;
      // Not field 2, the remote address: that is what the client says in x-forwarded-for.
      case 20: each(reader, address(entry.source)); return true;
      case 21: entry.state = state(reader); return true;
      case 23: entry.durationNs = nanoseconds(reader); return true;
      default: return false;
    }
  };
}

/** uint64; what is beyond 2^53 is of no matter here. */
const size = (reader: protobuf.Reader): number => Number(reader.uint64());

function request(entry: LogEntry): Visit {
  const header = (name: string, reader: protobuf.Reader): true => {
    entry.requestHeaders.push([name, reader.string()]);
    return true;
  };
  return (field, reader) => {
    switch (field) {
      case 1: entry.method = reader.int32(); return true;
      case 2: entry.scheme = reader.string(); return true;
      case 3: entry.authority = reader.string(); return true;
      case 5: entry.path = reader.string(); return true;
      case 6: return header('user-agent', reader);
      case 7: return header('referer', reader);
      case 8: return header('x-forwarded-for', reader);
      case 9: return header('x-request-id', reader);
      case 11: case 12: entry.requestBytes += size(reader); return true;
      case 13: entry.requestHeaders.push(pair(reader)); return true;
      default: return false;
    }
  };
}

function pair(reader: protobuf.Reader): [string, string] {
  const found: [string, string] = ['', ''];
  each(reader, (field) => {
    if (field !== 1 && field !== 2) return false;
    found[field - 1] = reader.string();
    return true;
  });
  return found;
}

function response(entry: LogEntry): Visit {
  return (field, reader) => {
    if (field === 1) {
      each(reader, (part) => {
        if (part === 1) entry.code = reader.uint32();
        return part === 1;
      });
    } else if (field === 2 || field === 3) entry.responseBytes += size(reader);
    else return false;
    return true;
  };
}

function readEntry(reader: protobuf.Reader, http: boolean): LogEntry {
  const entry: LogEntry = {
    http, source: { address: '', port: 0 }, destination: { address: '', port: 0 }, upstreamPort: 0, startUnixNs: 0n, durationNs: 0n, sni: '', routeName: '', state: '', flags: [],
    protocol: 0, method: 0, scheme: '', authority: '', path: '', requestHeaders: [], requestBytes: 0, responseBytes: 0, code: 0,
  };
  const upstream: LogAddress = { address: '', port: 0 };
  const [properties, asked, answered] = [common(entry, upstream), request(entry), response(entry)];
  each(reader, (field) => {
    if (field === 1) each(reader, properties);
    else if (!http) return false;
    else if (field === 2) entry.protocol = reader.int32();
    else if (field === 3) each(reader, asked);
    else if (field === 4) each(reader, answered);
    else return false;
    return true;
  });
  entry.upstreamPort = upstream.port;
  return entry;
}

/** The entries of one StreamAccessLogsMessage. Throws RangeError when the bytes are none. */
export function readEntries(message: Uint8Array): LogEntry[] {
  const entries: LogEntry[] = [];
  const reader = protobuf.Reader.create(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if (field !== 2 && field !== 3) reader.skipType(tag & 7);
    else {
      each(reader, (part) => {
        if (part === 1) entries.push(readEntry(reader, field === 2));
        return part === 1;
      });
    }
  }
  return entries;
}
