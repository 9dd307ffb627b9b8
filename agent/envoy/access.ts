// The access log of Envoy -> ProxyAccess, for the observer: which rule set and rule, from whom to whom, what was asked and answered.
import type { ProxyAccess } from '../../hubble/access.ts';
import type { GrpcServer } from '../../hubble/grpc/server.ts';
import type { Direction } from '../policy/image.ts';
import { readEntries, type LogEntry } from './entries.ts';
import { httpState } from './listener.ts';
import { deniedRoute, parseRouteName } from './routes.ts';

const method = {
  path: '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs', requestStream: true, responseStream: false,
  requestDeserialize: (data: Buffer): Buffer => data, responseSerialize: (): Buffer => Buffer.alloc(0),
};

export interface ListenerName { readonly key: string; readonly direction: Direction }
export interface AccessCounts { entries: number; unknownListener: number; unreadable: number }

/** By the name of a route: few, unless policies change all the time. */
const routes = new Map<string, ReturnType<typeof parseRouteName>>();
const mostRoutes = 4_096;
function routeOf(name: string): ReturnType<typeof parseRouteName> {
  const known = routes.get(name);
  if (known !== undefined || routes.has(name)) return known;
  if (routes.size >= mostRoutes) routes.clear();
  const route = parseRouteName(name);
  routes.set(name, route);
  return route;
}

/** Undefined: it is of a listener that is no more. */
export function accessOf(entry: LogEntry, listenerOf: (port: number) => ListenerName | undefined): ProxyAccess | undefined {
  const { state, routeName: name, http, sni, source, destination, upstreamPort, startUnixNs, durationNs, flags } = entry;
  const space = state.indexOf(' ');
  const listener = listenerOf(Number(space < 0 ? state : state.slice(0, space)));
  if (listener === undefined) return undefined;
  const route = http !== undefined ? routeOf(name) : space < 0 ? undefined : { rule: Number(state.slice(space + 1)), mismatched: [] };
  // A request that Envoy itself could not take (400, 431) was put to no rule.
  const denied = http !== undefined ? name === deniedRoute : route === undefined;
  const { key: ruleSet, direction } = listener;
  if (http === undefined) return { ruleSet, direction, rule: route?.rule, startUnixNs, durationNs, source, destination, upstreamPort, denied, flags, ...(sni !== '' && { sni }) };
  const mismatched = route?.mismatched ?? [];
  return {
    ruleSet, direction, rule: route?.rule, startUnixNs, durationNs, source, destination, upstreamPort, denied, flags, http: mismatched.length === 0 ? http : { ...http, mismatched },
    ...(sni !== '' && { sni }),
  };
}

/** Envoy writes for as long as it lives; each message is read at once, so nothing waits here. */
export function serveAccessLog(server: GrpcServer, listenerOf: (port: number) => ListenerName | undefined, onAccess: (entry: ProxyAccess) => void): AccessCounts {
  const counts: AccessCounts = { entries: 0, unknownListener: 0, unreadable: 0 };
  const take = (entry: LogEntry): void => {
    // Its requests are told by themselves.
    if (entry.http === undefined && entry.state.endsWith(` ${httpState}`)) return;
    counts.entries += 1;
    const access = accessOf(entry, listenerOf);
    if (access === undefined) counts.unknownListener += 1;
    else onAccess(access);
  };
  server.stream<Buffer, object>(method, (call, messages) => {
    messages.each = (message) => {
      try {
        readEntries(message, take);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        counts.unreadable += 1; // other versions may say more, none may end the agent
      }
    };
    messages.ended = () => { call.end(); };
  });
  return counts;
}
