/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every map. User space writes all but conntrack, nat, translations, fragments, counters, drops, rule_counts, flows, dns_addresses,
 * dns_waitings, dns_records, proxy_listening, proxy_uses and proxy_turns, and of usage and dns_usages the quota;
 * of services, the programs write sock_peers, affinities, connections of backends and answers to netns_questions. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

#define MAP(name, map_type, key_type, value_type, entries, flags)	\
	struct {							\
		__uint(type, map_type);					\
		__type(key, key_type);					\
		__type(value, value_type);				\
		__uint(max_entries, entries);				\
		__uint(map_flags, flags);				\
	} name SEC(".maps")

MAP(control_words, BPF_MAP_TYPE_ARRAY, __u32, struct control, 1, 0);
MAP(endpoints, BPF_MAP_TYPE_HASH, __u32, struct endpoint, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);
MAP(ipcache, BPF_MAP_TYPE_LPM_TRIE, struct ipcache_key, struct ipcache_value, MAX_PREFIXES, BPF_F_NO_PREALLOC);
/* What a verdict reads is mmapable, also where nobody maps it: only such maps have their rows where cache lines begin. */
MAP(policies, BPF_MAP_TYPE_ARRAY, __u32, struct policy, MAX_POLICIES, BPF_F_MMAPABLE);
MAP(bounds, BPF_MAP_TYPE_ARRAY, __u32, struct bounds, MAX_BOUND_LINES, BPF_F_MMAPABLE);
MAP(steps, BPF_MAP_TYPE_ARRAY, __u32, struct step, MAX_STEPS, BPF_F_MMAPABLE);
MAP(class_rows, BPF_MAP_TYPE_ARRAY, __u32, struct class_line, MAX_CLASSES * (ROW_WORDS / LINE_WORDS), BPF_F_MMAPABLE);
MAP(conntrack, BPF_MAP_TYPE_HASH, struct ct_key, struct ct_entry, MAX_CONNECTIONS, BPF_F_NO_PREALLOC);
MAP(nat, BPF_MAP_TYPE_HASH, struct nat_key, struct nat_value, MAX_NAT, BPF_F_NO_PREALLOC);
MAP(translations, BPF_MAP_TYPE_HASH, struct translation_key, struct translation, MAX_CONNECTIONS, BPF_F_NO_PREALLOC);
MAP(usage, BPF_MAP_TYPE_ARRAY, __u32, struct usage, MAX_ENDPOINTS, BPF_F_MMAPABLE);
MAP(fragments, BPF_MAP_TYPE_HASH, struct fragment_key, struct fragment_value, MAX_FRAGMENTS, BPF_F_NO_PREALLOC);
MAP(netdevs, BPF_MAP_TYPE_HASH, __u32, struct netdev, MAX_NETDEVS, BPF_F_NO_PREALLOC);
MAP(overlays, BPF_MAP_TYPE_ARRAY, __u32, struct overlay, 1, 0);
MAP(frontends, BPF_MAP_TYPE_HASH, struct frontend_key, struct frontend, MAX_FRONTENDS, BPF_F_NO_PREALLOC);
MAP(service_slots, BPF_MAP_TYPE_ARRAY, __u32, __u32, MAX_SERVICE_SLOTS, BPF_F_MMAPABLE);
MAP(backends, BPF_MAP_TYPE_HASH, __u32, struct backend, MAX_BACKENDS, BPF_F_NO_PREALLOC);
MAP(services, BPF_MAP_TYPE_ARRAY, __u32, struct service_control, 1, 0);
/* One row. 1: a client outside was led to a process of this node, whose answers to_netdev looks for. */
MAP(node_backends, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);
MAP(service_clients, BPF_MAP_TYPE_HASH, __u64, struct service_client, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);
MAP(netns_questions, BPF_MAP_TYPE_ARRAY, __u32, struct netns_question, 1, 0);
MAP(sock_peers, BPF_MAP_TYPE_HASH, struct sock_peer_key, struct sock_peer, MAX_SOCK_PEERS, BPF_F_NO_PREALLOC);
MAP(affinities, BPF_MAP_TYPE_LRU_HASH, struct affinity_key, struct affinity, MAX_AFFINITIES, 0);
MAP(source_ranges, BPF_MAP_TYPE_LPM_TRIE, struct source_range_key, __u32, MAX_SOURCE_RANGES, BPF_F_NO_PREALLOC);
/* The port at which Envoy listens for a rule set. No row: refused. */
MAP(proxy_ports, BPF_MAP_TYPE_HASH, struct proxy_key, __u32, MAX_PROXY_PORTS, BPF_F_NO_PREALLOC);
MAP(proxies, BPF_MAP_TYPE_ARRAY, __u32, struct proxy, 1, 0);
/* Filled when a socket of Envoy's listens (sockops, proxy_socket.c); one that is closed is gone from here. */
MAP(proxy_listeners, BPF_MAP_TYPE_SOCKHASH, struct proxy_listener, __u64, MAX_PROXY_LISTENERS, 0);
/* Likewise of its workers but the first. */
MAP(proxy_workers, BPF_MAP_TYPE_SOCKHASH, struct proxy_worker, __u64, MAX_PROXY_WORKERS, 0);
MAP(proxy_listening, BPF_MAP_TYPE_ARRAY, __u32, struct proxy_listening, 2 * PROXY_PORTS, 0);
/* Key: an endpoint's id. How many workers on from the one that its number says it is served. */
MAP(proxy_moves, BPF_MAP_TYPE_ARRAY, __u32, __u32, MAX_ENDPOINTS, BPF_F_MMAPABLE);
MAP(proxy_shares, BPF_MAP_TYPE_ARRAY, __u32, struct proxy_share, 1, 0);
MAP(proxy_uses, BPF_MAP_TYPE_ARRAY, __u32, struct proxy_use, MAX_ENDPOINTS, BPF_F_MMAPABLE);
MAP(proxy_turns, BPF_MAP_TYPE_ARRAY, __u32, struct proxy_turn, 1, 0);
MAP(dns_automata, BPF_MAP_TYPE_ARRAY, __u32, struct dns_automaton, 2, BPF_F_MMAPABLE);
MAP(dns_controls, BPF_MAP_TYPE_ARRAY, __u32, struct dns_control, 1, 0);
MAP(dns_short_names, BPF_MAP_TYPE_HASH, struct dns_short_name, __u32, MAX_DNS_NAMES, BPF_F_NO_PREALLOC);
MAP(dns_names, BPF_MAP_TYPE_HASH, struct dns_name, __u32, MAX_DNS_NAMES, BPF_F_NO_PREALLOC);
MAP(dns_uses, BPF_MAP_TYPE_HASH, struct dns_use, __u64, MAX_DNS_USES, BPF_F_NO_PREALLOC);
/* Set aside: an answer of several new addresses would pay for their memory, and on some packets for that of the next 48. */
MAP(dns_addresses, BPF_MAP_TYPE_HASH, struct dns_address_key, struct dns_address, MAX_DNS_ADDRESSES, 0);
MAP(dns_usages, BPF_MAP_TYPE_ARRAY, __u32, struct dns_usage, MAX_ENDPOINTS, BPF_F_MMAPABLE);
MAP(dns_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, DNS_COUNTERS, 0);
MAP(dns_waitings, BPF_MAP_TYPE_ARRAY, __u32, struct dns_waiting, DNS_WAIT_ROWS, 0);
MAP(drops, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct drop_count, MAX_DROP_COUNTS, 0);
MAP(rule_counts, BPF_MAP_TYPE_HASH, struct rule_key, struct rule_count, MAX_RULE_COUNTS, BPF_F_NO_PREALLOC);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, COUNTERS, 0);
MAP(sockmap_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, SOCKMAP_COUNTERS, 0);

/* Of each service whose clients should meet the same backend at every node: slot -> index among its backends. */
struct maglev_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, MAGLEV_SIZE);
	__uint(map_flags, BPF_F_INNER_MAP);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, MAX_MAGLEV_TABLES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__array(values, struct maglev_table);
} maglev_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DNS_RING_BYTES);
} dns_records SEC(".maps");

/* Programs that read DNS, by enum dns_program: called where the verdict was ACTION_DNS. All programs of one such map must be for the same
 * hook (6.18: expected_attach_type), so there is one for each direction. */
MAP(dns_programs, BPF_MAP_TYPE_PROG_ARRAY, __u32, __u32, DNS_PROGRAMS, 0);
MAP(dns_programs_out, BPF_MAP_TYPE_PROG_ARRAY, __u32, __u32, DNS_PROGRAMS, 0);

/* Layouts that no map's BTF names: anchored so that user space finds them. */
struct anchor {
	struct flow_record flow_record;
	enum limit limit;
	enum flow_event flow_event;
	enum drop_reason drop_reason;
	enum direction direction;
	enum action action;
	enum observation_point observation_point;
	enum counter counter;
	enum sockmap_mode sockmap_mode;
	enum sockmap_counter sockmap_counter;
	enum ct_state ct_state;
	enum ct_timeout ct_timeout;
	enum ct_flag ct_flag;
	enum ct_service ct_service;
	enum proxy_cost proxy_cost;
	enum ipcache_flag ipcache_flag;
	enum frontend_scope frontend_scope;
	enum frontend_flag frontend_flag;
	enum backend_state backend_state;
	enum dns_event dns_event;
	enum dns_limit dns_limit;
	enum dns_counter dns_counter;
	enum dns_program dns_program;
	enum dns_use_kind dns_use_kind;
	enum dns_said dns_said;
	struct dns_record dns_record;
	struct dns_by_tcp dns_by_tcp;
};
const struct anchor *anchor SEC(".rodata.types");

static __always_inline void count(enum counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		*value += 1;
}

/* 0: this node has no Envoy. */
static __always_inline struct proxy *proxy_row(void)
{
	__u32 key = 0;
	struct proxy *proxy = bpf_map_lookup_elem(&proxies, &key);

	return proxy && proxy->ifindex ? proxy : 0;
}

static __always_inline __u32 current_generation(void)
{
	__u32 key = 0;
	struct control *control = bpf_map_lookup_elem(&control_words, &key);

	return control ? control->generation : 0;
}

/* Whether any endpoint has audited policies. */
static __always_inline __u32 audits(void)
{
	__u32 key = 0;
	struct control *control = bpf_map_lookup_elem(&control_words, &key);

	return control ? control->audits : 0;
}

/* The VXLAN device; 0: other nodes are reached by plain routes. */
static __always_inline __u32 overlay_ifindex(void)
{
	__u32 key = 0;
	struct overlay *overlay = bpf_map_lookup_elem(&overlays, &key);

	return overlay ? overlay->ifindex : 0;
}
