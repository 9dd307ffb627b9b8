// The access log of Envoy -> ProxyAccess, for the observer: which rule set and rule, from whom to whom, what was asked and answered.
import type { HttpAccess, ProxyAccess } from '../../hubble/access.ts';
import type { GrpcServer } from '../../hubble/grpc/server.ts';
import type { Direction } from '../policy/image.ts';
import { readEntries, type LogEntry } from './access-decoder.ts';
import { httpState } from './listener.ts';
import { deniedRoute, parseRouteName } from './routes.ts';

const method = {
  path: '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs', requestStream: true, responseStream: false,
  requestDeserialize: (data: Buffer): Buffer => data, responseSerialize: (): Buffer => Buffer.alloc(0),
};

const methods = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
const protocols: Readonly<Record<number, HttpAccess['protocol']>> = { 1: 'HTTP/1.0', 3: 'HTTP/2' };

export interface ListenerName { readonly key: string; readonly direction: Direction }
export interface AccessCounts { entries: number; unknownListener: number; unreadable: number }

/** Of one entry; undefined: it is of a listener that is no more. */
export function accessOf(entry: LogEntry, listenerOf: (port: number) => ListenerName | undefined): ProxyAccess | undefined {
  const [port, passed] = entry.state.split(' ');
  const listener = listenerOf(Number(port));
  if (listener === undefined) return undefined;
  const route = entry.http ? parseRouteName(entry.routeName) : passed === undefined ? undefined : { rule: Number(passed), mismatched: [] };
  // A request that Envoy itself could not take (400, 431) was put to no rule.
  const denied = entry.http ? entry.routeName === deniedRoute : route === undefined;
  return {
    ruleSet: listener.key, direction: listener.direction, rule: route?.rule, startUnixNs: entry.startUnixNs, durationNs: entry.durationNs,
    source: entry.source, destination: entry.destination, upstreamPort: entry.upstreamPort, denied, flags: entry.flags.join(','),
    ...(entry.http && { http: httpOf(entry, route?.mismatched ?? []) }), ...(entry.sni !== '' && { sni: entry.sni }),
  };
}

function httpOf(entry: LogEntry, mismatched: readonly string[]): HttpAccess {
  const { scheme, authority, path, code, requestBytes, responseBytes } = entry;
  const named = entry.requestHeaders.find(([name]) => name === ':method')?.[1];
  return {
    method: named ?? methods[entry.method] ?? '', scheme, authority, path, protocol: protocols[entry.protocol] ?? 'HTTP/1.1', code,
    requestHeaders: entry.requestHeaders.filter(([name]) => !name.startsWith(':')), requestBytes, responseBytes, mismatched,
  };
}

/** A connection of which the requests are told by themselves. */
const isCarrier = (entry: LogEntry): boolean => !entry.http && entry.state.endsWith(` ${httpState}`);

/** Envoy writes for as long as it lives; each message is read at once, so nothing waits here. */
export function serveAccessLog(server: GrpcServer, listenerOf: (port: number) => ListenerName | undefined, onAccess: (entry: ProxyAccess) => void): AccessCounts {
  const counts: AccessCounts = { entries: 0, unknownListener: 0, unreadable: 0 };
  server.stream<Buffer, object>(method, (call, messages) => {
    messages.each = (message) => {
      let entries: LogEntry[] = [];
      try {
        entries = readEntries(message);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        counts.unreadable += 1;
      }
      for (const entry of entries) {
        if (isCarrier(entry)) continue;
        counts.entries += 1;
        const access = accessOf(entry, listenerOf);
        if (access === undefined) counts.unknownListener += 1;
        else onAccess(access);
      }
    };
    messages.ended = () => { call.end(); };
  });
  return counts;
}
