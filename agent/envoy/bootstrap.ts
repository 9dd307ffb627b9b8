// What Envoy is started with: where it asks for everything else, its one cluster, its limits. All else comes over ADS.
import type { Message } from './messages.ts';

/** As Envoy sees it: the folder `run` of the instance, bound over /run/weir in its own mount namespace. */
export const inside = '/run/weir';
export const xdsSocket = 'xds.sock';
/** In a folder that Envoy may write to. */
export const adminSocket = 'own/admin.sock';

/** How long after the agent is back Envoy may take to ask it again. */
const reconnectMs = 250;
const connectTimeoutMs = 5_000;
const mostHeapBytes = 512 * 2 ** 20;
/** A worker that does not come round for so long is ended, and Envoy with it; the keeper starts another. */
const frozenMs = 5_000;
const mostConnections = 50_000;
/** Of one regular expression (100 unless it is given: a path of 100 letters); agent/policy/regex.ts refuses long before. */
const mostInstructions = 1_000_000;
/** Streams of a connection, of which the half may be taken back within a second: then it is ended (500 unless it is given). */
const mostResets = 100;
const most = 1_000_000_000;

export const originalCluster = 'original';
export const xdsCluster = 'xds';

const type = (name: string): string => `type.googleapis.com/${name}`;
const protocolOptions = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const seconds = (ms: number): string => `${ms / 1_000}s`;

export interface BootstrapOptions {
  /** By it the agent tells two apart while one takes over from the other. */
  readonly nodeId: string;
  /** For tests: where requests go, in place of their original destination. */
  readonly upstream?: { readonly address: string; readonly port: number };
  /** For tests: less than there is. */
  readonly heapBytes?: number;
  /** For tests: the folder of the sockets. */
  readonly folder?: string;
}

function xds(folder: string): Message {
  return {
    name: xdsCluster, type: 'STATIC', connect_timeout: '1s',
    typed_extension_protocol_options: { [protocolOptions]: { '@type': type(protocolOptions), explicit_http_config: { http2_protocol_options: {} } } },
    load_assignment: { cluster_name: xdsCluster, endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: `${folder}/${xdsSocket}` } } } }] }] },
  };
}

/** Connections to a server that wait for the next request of the same client. Servers close such ones after 5 s at the earliest (Node's own). */
const upstreamIdle = '4s';

/**
 * HTTP goes on in the version it came in. A client's connections to a server serve all of its own: the kernel judges them by its address each
 * time that anything has changed (bpf/lib/ct_row.h). One for each of its connections would stay open behind it: Envoy closes it for its idle time alone.
 */
function original(upstream: BootstrapOptions['upstream']): Message {
  const socket = upstream === undefined ? undefined : { address: upstream.address, port_value: upstream.port };
  return {
    name: originalCluster, connect_timeout: seconds(connectTimeoutMs),
    ...(socket === undefined ? { type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', cleanup_interval: '10s' }
      : { type: 'STATIC', load_assignment: { cluster_name: originalCluster, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: socket } } }] }] } }),
    per_connection_buffer_limit_bytes: 256 * 1024,
    circuit_breakers: { thresholds: ['DEFAULT', 'HIGH'].map((priority) => ({ priority, max_connections: most, max_pending_requests: most, max_requests: most, max_retries: most })) },
    typed_extension_protocol_options: {
      [protocolOptions]: {
        '@type': type(protocolOptions),
        use_downstream_protocol_config: { http_protocol_options: { enable_trailers: true }, http2_protocol_options: {} },
        common_http_protocol_options: { idle_timeout: upstreamIdle, max_response_headers_kb: 256, max_headers_count: 1_000 },
      },
    },
  };
}

function overload(heapBytes: number): Message {
  const trigger = (value: number): Message => ({ name: 'envoy.resource_monitors.fixed_heap', threshold: { value } });
  return {
    refresh_interval: '0.25s',
    resource_monitors: [{ name: 'envoy.resource_monitors.fixed_heap', typed_config: { '@type': type('envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig'), max_heap_size_bytes: heapBytes } },
      { name: 'envoy.resource_monitors.global_downstream_max_connections', typed_config: { '@type': type('envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig'), max_active_downstream_connections: mostConnections } }],
    actions: [
      { name: 'envoy.overload_actions.shrink_heap', triggers: [trigger(0.85)] },
      { name: 'envoy.overload_actions.disable_http_keepalive', triggers: [trigger(0.9)] },
      { name: 'envoy.overload_actions.stop_accepting_requests', triggers: [trigger(0.95)] },
      { name: 'envoy.overload_actions.stop_accepting_connections', triggers: [trigger(0.98)] },
    ],
  };
}

/** Few counters only: one per listener and route would be most of Envoy's memory at 1,000 of them. */
const stats = { use_all_default_tags: false, stats_matcher: { inclusion_list: { patterns: ['server.', 'listener_manager.', `cluster.${originalCluster}.`].map((prefix) => ({ prefix })) } } };

export function bootstrap({ nodeId, upstream, heapBytes = mostHeapBytes, folder = inside }: BootstrapOptions): Message {
  const ads = { ads: {}, resource_api_version: 'V3' };
  return {
    node: { id: nodeId, cluster: 'weir' },
    admin: { address: { pipe: { path: `${folder}/${adminSocket}`, mode: 0o600 } } },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC', transport_api_version: 'V3', set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: xdsCluster, retry_policy: { retry_back_off: { base_interval: seconds(50), max_interval: seconds(reconnectMs) } } } }],
      },
      // Waits for the agent for as long as it takes: with nothing to serve it is ready for nothing.
      lds_config: { ...ads, initial_fetch_timeout: '0s' },
    },
    static_resources: { clusters: [xds(folder), original(upstream)] },
    // Nobody is sent any; who asks gets them as they are now.
    stats_config: stats, stats_flush_on_admin: true,
    overload_manager: overload(heapBytes),
    watchdogs: { worker_watchdog: { miss_timeout: '1s', megamiss_timeout: '2s', kill_timeout: seconds(frozenMs) }, main_thread_watchdog: {} },
    // A header that comes twice is compared as one value, `a,b`: one that fits must not let pass another that the server may believe.
    // One request of a connection, then others' turn: what a client sends at once, or takes back at once, does not come before them.
    layered_runtime: { layers: [{ name: 'static', static_layer: { 'http.max_requests_per_io_cycle': 1, 'overload.premature_reset_total_stream_count': mostResets, 'envoy.reloadable_features.match_headers_individually': false, 're2.max_program_size.error_level': mostInstructions, 're2.max_program_size.warn_level': mostInstructions } }] },
  };
}
