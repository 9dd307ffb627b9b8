// How HTTP is read: what is refused before any rule is asked, what is left as it was, and what the access log is told.
import { xdsCluster } from './bootstrap.ts';
import { any, duration, type Message } from './messages.ts';

/** From the first byte of a request to the end of its headers: slow ones are ended. */
const headersMs = 10_000;
const idleMs = 3_600_000;
const mostHeaderKib = 60;
const mostHeaders = 200;
/** Of one HTTP/2 connection; a client that resets more than that many at once is closed by Envoy itself. */
const mostStreams = 1_024;
const streamWindowBytes = 256 * 1024;
const connectionWindowBytes = 1024 * 1024;
const flushMs = 100;
/** Some 170 requests: at 16 KiB each of them cost the agent a third more. */
const flushBytes = 64 * 1024;

const commonLog = (name: string, stateKey: string): Message => ({
  log_name: name, transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: xdsCluster } },
  buffer_flush_interval: duration(flushMs), buffer_size_bytes: { value: flushBytes }, filter_state_objects_to_log: [stateKey],
});

/** The same for every listener, so that all share one stream and one buffer: with 1,000 of them Envoy would wake 10,000 times a second. */
export const httpLog = (stateKey: string): Message => ({
  name: 'envoy.access_loggers.http_grpc', typed_config: any('HttpGrpcAccessLogConfig', { common_config: commonLog('http', stateKey), additional_request_headers_to_log: [':method', 'traceparent'] }),
});
export const tcpLog = (stateKey: string): Message => ({
  name: 'envoy.access_loggers.tcp_grpc', typed_config: any('TcpGrpcAccessLogConfig', { common_config: commonLog('tcp', stateKey) }),
});

/** Envoy adds no header of its own and believes none: what rules and servers see is what the client sent. */
export function httpFilters(routes: string, stateKey = 'weir.rule_set'): Message {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: any('HttpConnectionManager', {
      codec_type: 'AUTO', stat_prefix: 'l7', rds: { route_config_name: routes, config_source: { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: duration(0) } },
      http_filters: [{ name: 'envoy.filters.http.router', typed_config: any('Router', { dynamic_stats: { value: false }, suppress_envoy_headers: true }) }],
      access_log: [httpLog(stateKey)],
      http_protocol_options: { accept_http_10: true, enable_trailers: true },
      http2_protocol_options: { max_concurrent_streams: { value: mostStreams }, initial_stream_window_size: { value: streamWindowBytes }, initial_connection_window_size: { value: connectionWindowBytes } },
      common_http_protocol_options: { idle_timeout: duration(idleMs), max_headers_count: { value: mostHeaders } },
      max_request_headers_kb: { value: mostHeaderKib }, request_headers_timeout: duration(headersMs),
      // A stream may be silent for as long as it likes.
      stream_idle_timeout: duration(0), request_timeout: duration(0),
      upgrade_configs: [{ upgrade_type: 'websocket' }], proxy_100_continue: true,
      normalize_path: { value: true }, merge_slashes: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
      use_remote_address: { value: false }, skip_xff_append: true, generate_request_id: { value: false }, preserve_external_request_id: true,
      forward_client_cert_details: 'ALWAYS_FORWARD_ONLY', server_header_transformation: 'PASS_THROUGH',
    }),
  };
}
