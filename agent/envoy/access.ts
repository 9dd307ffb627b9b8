// The access log of Envoy -> ProxyAccess, for the observer: which rule set and rule, from whom to whom, what was asked and answered.
import type { HttpAccess, ProxyAccess } from '../../hubble/access.ts';
import type { GrpcServer } from '../../hubble/grpc/server.ts';
import type { Direction } from '../policy/image.ts';
import { httpState, stateKey } from './listener.ts';
import { messageType } from './messages.ts';
import { deniedRoute, parseRouteName } from './routes.ts';

const method = {
  path: '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs', requestStream: true, responseStream: false,
  requestDeserialize: (data: Buffer): Buffer => data, responseSerialize: (): Buffer => Buffer.alloc(0),
};

/** A 64-bit number. Number() would go by its text, for 0.15 µs each, of which an entry has six. */
type Long = number | { readonly toNumber: () => number };
const numberOf = (value: Long | undefined): number => (value === undefined ? 0 : typeof value === 'number' ? value : value.toNumber());
interface Address { readonly socket_address?: { readonly address: string; readonly port_value: number } }
interface Time { readonly seconds: Long; readonly nanos: number }

interface Common {
  /** Not `downstream_remote_address`: that is what the client says in x-forwarded-for. */
  readonly downstream_direct_remote_address?: Address;
  readonly downstream_local_address?: Address;
  readonly upstream_local_address?: Address;
  readonly tls_properties?: { readonly tls_sni_hostname: string };
  readonly start_time?: Time;
  readonly duration?: Time;
  readonly response_flags?: Readonly<Record<string, unknown>>;
  readonly route_name: string;
  readonly filter_state_objects: Readonly<Record<string, { readonly value: Uint8Array }>>;
}

interface HttpEntry {
  readonly common_properties?: Common;
  readonly protocol_version: number;
  readonly request?: {
    readonly request_method: number; readonly scheme: string; readonly authority: string; readonly path: string;
    readonly user_agent: string; readonly referer: string; readonly forwarded_for: string; readonly request_id: string;
    readonly request_headers_bytes: Long; readonly request_body_bytes: Long; readonly request_headers: Readonly<Record<string, string>>;
  };
  readonly response?: { readonly response_code?: { readonly value: number }; readonly response_headers_bytes: Long; readonly response_body_bytes: Long };
}

interface Message_ { readonly http_logs?: { readonly log_entry: readonly HttpEntry[] }; readonly tcp_logs?: { readonly log_entry: readonly { readonly common_properties?: Common }[] } }

/** One entry; of a connection that is not HTTP without `http`. */
export interface LogEntry { readonly common: Common; readonly http?: HttpEntry; readonly state: string }

const methods = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
const protocols: Readonly<Record<number, HttpAccess['protocol']>> = { 1: 'HTTP/1.0', 3: 'HTTP/2' };
const flagLetters: Readonly<Record<string, string>> = {
  failed_local_healthcheck: 'LH', no_healthy_upstream: 'UH', upstream_request_timeout: 'UT', local_reset: 'LR',
  upstream_remote_reset: 'UR', upstream_connection_failure: 'UF', upstream_connection_termination: 'UC', upstream_overflow: 'UO',
  no_route_found: 'NR', delay_injected: 'DI', fault_injected: 'FI', rate_limited: 'RL',
  unauthorized_details: 'UAEX', rate_limit_service_error: 'RLSE', downstream_connection_termination: 'DC', upstream_retry_limit_exceeded: 'URX',
  stream_idle_timeout: 'SI', invalid_envoy_request_headers: 'IH', downstream_protocol_error: 'DPE', upstream_max_stream_duration_reached: 'UMSDR',
  response_from_cache_filter: 'RFCF', no_filter_config_found: 'NFCF', duration_timeout: 'DT', upstream_protocol_error: 'UPE',
  no_cluster_found: 'NC', overload_manager: 'OM', dns_resolution_failure: 'DF', downstream_remote_reset: 'DR',
};

export interface ListenerName { readonly key: string; readonly direction: Direction }
export interface AccessCounts { entries: number; unknownListener: number; unreadable: number }

const entryType = messageType('StreamAccessLogsMessage');
const stringHeaderBytes = 2;

/** The value of a StringValue of less than 128 bytes: tag, length, text. */
const stateOf = ({ filter_state_objects: objects }: Common): string => {
  const value = objects[stateKey]?.value;
  return value === undefined ? '' : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1', stringHeaderBytes);
};

/** The entries of one message, without those of connections whose requests are told by themselves. Throws Error when the bytes are none. */
export function readEntries(message: Uint8Array): LogEntry[] {
  const { http_logs: http, tcp_logs: tcp } = entryType.decode(message) as unknown as Message_;
  const entry = (common: Common, of?: HttpEntry): LogEntry => ({ common, state: stateOf(common), ...(of !== undefined && { http: of }) });
  return [
    ...(http?.log_entry ?? []).flatMap((one) => (one.common_properties == null ? [] : [entry(one.common_properties, one)])),
    ...(tcp?.log_entry ?? []).flatMap((one) => (one.common_properties == null ? [] : [entry(one.common_properties)])).filter(({ state }) => !state.endsWith(` ${httpState}`)),
  ];
}

const nanosecondsOf = (time: Time | null | undefined): bigint => (time == null ? 0n : BigInt(numberOf(time.seconds)) * 1_000_000_000n + BigInt(time.nanos));
const endOf = (address: Address | null | undefined): { address: string; port: number } => ({ address: address?.socket_address?.address ?? '', port: address?.socket_address?.port_value ?? 0 });
const flagsOf = (flags: Common['response_flags']): string =>
  (flags == null ? '' : Object.keys(flags).flatMap((name) => (flags[name] == null || flags[name] === false ? [] : [flagLetters[name] ?? name])).join(','));

/** Undefined: it is of a listener that is no more. */
export function accessOf({ common, http, state }: LogEntry, listenerOf: (port: number) => ListenerName | undefined): ProxyAccess | undefined {
  const [port, passed] = state.split(' ');
  const listener = listenerOf(Number(port));
  if (listener === undefined) return undefined;
  const name = common.route_name;
  const route = http !== undefined ? parseRouteName(name) : passed === undefined ? undefined : { rule: Number(passed), mismatched: [] };
  // A request that Envoy itself could not take (400, 431) was put to no rule.
  const denied = http !== undefined ? name === deniedRoute : route === undefined;
  const sni = common.tls_properties?.tls_sni_hostname ?? '';
  return {
    ruleSet: listener.key, direction: listener.direction, rule: route?.rule, startUnixNs: nanosecondsOf(common.start_time), durationNs: nanosecondsOf(common.duration),
    source: endOf(common.downstream_direct_remote_address), destination: endOf(common.downstream_local_address), upstreamPort: endOf(common.upstream_local_address).port,
    denied, flags: flagsOf(common.response_flags), ...(http !== undefined && { http: httpOf(http, route?.mismatched ?? []) }), ...(sni !== '' && { sni }),
  };
}

function httpOf({ protocol_version: protocol, request, response }: HttpEntry, mismatched: readonly string[]): HttpAccess {
  const headers = request?.request_headers ?? {};
  const known = [['user-agent', request?.user_agent], ['referer', request?.referer], ['x-forwarded-for', request?.forwarded_for], ['x-request-id', request?.request_id]] as const;
  const requestHeaders = [...known, ...Object.entries(headers)].flatMap(([name, value]): [string, string][] => (value === undefined || value === '' || name.startsWith(':') ? [] : [[name, value]]));
  return {
    method: headers[':method'] ?? methods[request?.request_method ?? 0] ?? '', scheme: request?.scheme ?? '', authority: request?.authority ?? '', path: request?.path ?? '',
    protocol: protocols[protocol] ?? 'HTTP/1.1', code: response?.response_code?.value ?? 0, requestHeaders,
    requestBytes: numberOf(request?.request_headers_bytes) + numberOf(request?.request_body_bytes),
    responseBytes: numberOf(response?.response_headers_bytes) + numberOf(response?.response_body_bytes), mismatched,
  };
}

/** Envoy writes for as long as it lives; each message is read at once, so nothing waits here. */
export function serveAccessLog(server: GrpcServer, listenerOf: (port: number) => ListenerName | undefined, onAccess: (entry: ProxyAccess) => void): AccessCounts {
  const counts: AccessCounts = { entries: 0, unknownListener: 0, unreadable: 0 };
  server.stream<Buffer, object>(method, (call, messages) => {
    messages.each = (message) => {
      let entries: LogEntry[] = [];
      try {
        entries = readEntries(message);
      } catch {
        counts.unreadable += 1; // other versions may say more, none may end the agent
      }
      for (const entry of entries) {
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
