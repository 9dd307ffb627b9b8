// The messages of proto/ as TypeScript sees them: plain objects with the proto's own field names. Enums are numbers.
// Only what filters, printers and the observer touch has a type; protobufjs carries the rest along.

/** Above 2^53 it is a Long of protobufjs: compare and print by toString. */
export type Uint64 = number | { toString(): string };

export interface Timestamp { seconds: Uint64; nanos?: number }
export interface BoolValue { value?: boolean }
export interface Workload { name?: string; kind?: string }
export interface Service { name?: string; namespace?: string }

export interface Endpoint {
  ID?: number; identity?: number; namespace?: string; labels?: string[]; pod_name?: string; workloads?: Workload[]; cluster_name?: string;
}

export interface TcpFlags {
  FIN?: boolean; SYN?: boolean; RST?: boolean; PSH?: boolean; ACK?: boolean; URG?: boolean; ECE?: boolean; CWR?: boolean; NS?: boolean;
}
export interface Ports { source_port?: number; destination_port?: number }
export interface Icmp { type?: number; code?: number }
export interface Layer4 {
  TCP?: Ports & { flags?: TcpFlags }; UDP?: Ports; SCTP?: Ports; ICMPv4?: Icmp; ICMPv6?: Icmp;
  VRRP?: { type?: number; vrid?: number; priority?: number }; IGMP?: { type?: number; group_address?: string };
}

export interface HttpHeader { key?: string; value?: string }
export interface Layer7 {
  type?: number;
  latency_ns?: Uint64;
  dns?: { query?: string; ips?: string[]; ttl?: number; observation_source?: string; rcode?: number; qtypes?: string[]; rrtypes?: string[] };
  http?: { code?: number; method?: string; url?: string; protocol?: string; headers?: HttpHeader[] };
  kafka?: object;
}

export interface Policy { name?: string; namespace?: string; labels?: string[]; revision?: Uint64; kind?: string }

export interface Flow {
  time?: Timestamp;
  verdict?: number;
  drop_reason?: number;
  ethernet?: { source?: string; destination?: string };
  IP?: { source?: string; destination?: string; ipVersion?: number; encrypted?: boolean; source_xlated?: string };
  l4?: Layer4;
  source?: Endpoint;
  destination?: Endpoint;
  Type?: number;
  node_name?: string;
  source_names?: string[];
  destination_names?: string[];
  l7?: Layer7;
  reply?: boolean;
  event_type?: { type?: number; sub_type?: number };
  source_service?: Service;
  destination_service?: Service;
  traffic_direction?: number;
  policy_match_type?: number;
  trace_observation_point?: number;
  drop_reason_desc?: number;
  is_reply?: BoolValue;
  debug_capture_point?: number;
  interface?: { index?: number; name?: string };
  proxy_port?: number;
  trace_context?: { parent?: { trace_id?: string } };
  sock_xlate_point?: number;
  uuid?: string;
  auth_type?: number;
  trace_reason?: number;
  node_labels?: string[];
  ip_trace_id?: { trace_id?: Uint64; ip_option_type?: number };
  egress_allowed_by?: Policy[];
  ingress_allowed_by?: Policy[];
  egress_denied_by?: Policy[];
  ingress_denied_by?: Policy[];
  policy_log?: string[];
  Summary?: string;
}

export interface EventTypeFilter { type?: number; match_sub_type?: boolean; sub_type?: number }

export interface FlowFilter {
  source_ip?: string[]; source_pod?: string[]; destination_ip?: string[]; destination_pod?: string[];
  verdict?: number[]; event_type?: EventTypeFilter[]; source_fqdn?: string[]; destination_fqdn?: string[];
  http_status_code?: string[]; source_label?: string[]; destination_label?: string[]; protocol?: string[];
  source_port?: string[]; destination_port?: string[]; reply?: boolean[]; source_service?: string[]; destination_service?: string[];
  dns_query?: string[]; source_identity?: number[]; destination_identity?: number[]; http_method?: string[]; http_path?: string[];
  tcp_flags?: TcpFlags[]; node_name?: string[]; ip_version?: number[]; source_workload?: Workload[]; destination_workload?: Workload[];
  trace_id?: string[]; uuid?: string[]; traffic_direction?: number[]; http_url?: string[]; http_header?: HttpHeader[];
  drop_reason_desc?: number[]; source_ip_xlated?: string[]; interface?: { index?: number; name?: string }[]; node_labels?: string[];
  source_cluster_name?: string[]; destination_cluster_name?: string[]; ip_trace_id?: Uint64[]; encrypted?: boolean[];
  experimental?: { cel_expression?: string[] };
}

export interface LostEvent { source?: number; num_events_lost?: Uint64; cpu?: { value?: number }; first?: Timestamp; last?: Timestamp }
export interface NodeStatusEvent { state_change?: number; node_names?: string[]; message?: string }

export interface GetFlowsRequest {
  number?: Uint64; follow?: boolean; blacklist?: FlowFilter[]; whitelist?: FlowFilter[];
  since?: Timestamp; until?: Timestamp; first?: boolean; field_mask?: { paths?: string[] };
}
export interface GetFlowsResponse {
  flow?: Flow; node_status?: NodeStatusEvent; lost_events?: LostEvent; node_name?: string; time?: Timestamp;
}

export interface ServerStatusResponse {
  num_flows?: Uint64; max_flows?: Uint64; seen_flows?: Uint64; uptime_ns?: Uint64;
  num_connected_nodes?: { value?: number }; num_unavailable_nodes?: { value?: number }; unavailable_nodes?: string[];
  version?: string; flows_rate?: number;
}
export interface GetNamespacesResponse { namespaces?: { cluster?: string; namespace?: string }[] }


/** `GetAgentEventsRequest` and `GetDebugEventsRequest`. */
export interface GetEventsRequest { number?: Uint64; follow?: boolean; since?: Timestamp; until?: Timestamp; first?: boolean }
export interface AgentEvent {
  type?: number;
  agent_start?: { time?: Timestamp };
  policy_update?: { labels?: string[]; revision?: Uint64; rule_count?: Uint64 };
  endpoint_regenerate?: { id?: Uint64; labels?: string[]; error?: string };
  endpoint_update?: { id?: Uint64; labels?: string[]; error?: string; pod_name?: string; namespace?: string };
  ipcache_update?: { cidr?: string; identity?: number; old_identity?: { value?: number }; host_ip?: string; old_host_ip?: string; namespace?: string; pod_name?: string };
}
export interface GetAgentEventsResponse { agent_event?: AgentEvent; node_name?: string; time?: Timestamp }
export interface GetDebugEventsResponse { debug_event?: object; node_name?: string; time?: Timestamp }

export interface Node {
  name?: string; version?: string; address?: string; state?: number; tls?: { enabled?: boolean; server_name?: string };
  uptime_ns?: Uint64; num_flows?: Uint64; max_flows?: Uint64; seen_flows?: Uint64;
}
export interface GetNodesResponse { nodes?: Node[] }

/** Of the Peer service. */
export interface ChangeNotification { name?: string; address?: string; type?: number; tls?: { server_name?: string } }

export interface ReflectionRequest {
  host?: string; file_by_filename?: string; file_containing_symbol?: string; file_containing_extension?: object; all_extension_numbers_of_type?: string; list_services?: string;
}
export interface ReflectionResponse {
  valid_host?: string; original_request?: ReflectionRequest;
  file_descriptor_response?: { file_descriptor_proto?: Uint8Array[] };
  list_services_response?: { service?: { name?: string }[] };
  error_response?: { error_code?: number; error_message?: string };
}

/** `enum Verdict`; the other enums are read from the proto files where they are needed by name. */
export const verdict = { forwarded: 1, dropped: 2, error: 3, audit: 4, redirected: 5, traced: 6, translated: 7 } as const;
/** `CiliumEventType.type`. */
export const eventType = { drop: 1, debug: 2, capture: 3, trace: 4, policyVerdict: 5, traceSock: 7, l7: 129, agent: 130 } as const;
/** `enum LostEventSource`. */
export const lostEventSource = { kernelRing: 1, observerQueue: 2, hubbleRing: 3 } as const;
/** `enum FlowType`. */
export const flowType = { l3l4: 1, l7: 2, sock: 3 } as const;
/** `enum NodeState` of the relay. */
export const nodeState = { connected: 1, unavailable: 2, gone: 3, error: 4 } as const;
/** `enum ChangeNotificationType` of the Peer service. */
export const peerChange = { added: 1, deleted: 2, updated: 3 } as const;
/** `enum AgentEventType`. */
export const agentEventType = {
  agentStarted: 2, policyUpdated: 3, policyDeleted: 4, endpointRegenerated: 5, endpointCreated: 7, endpointDeleted: 8, ipcacheUpserted: 9, ipcacheDeleted: 10,
} as const;
