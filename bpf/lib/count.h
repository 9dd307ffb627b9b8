/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counters for people: drops by reason and direction, packets and bytes by the rules that decided (agent/flow/rule-counts.ts names them). */
#pragma once
#include "maps.h"
#include "work.h"

static __always_inline void count_drop(const struct observation *o)
{
	__u32 key = (o->reason & 255) << 2 | (o->direction & 3);
	struct drop_count *row = bpf_map_lookup_elem(&drops, &key);

	if (!row)
		return;
	row->packets++;
	row->bytes += o->length;
}

/* Global, so that the verifier walks it once and not at each call. `step`: word and action << 16. */
__noinline int count_rule(__u64 bits, __u32 policy, __u32 step, __u64 packets, __u64 bytes)
{
	struct rule_key key = { .bits = bits, .policy = policy, .word = step & 0xffff, .action = step >> 16 };
	struct rule_count *row = bpf_map_lookup_elem(&rule_counts, &key);
	struct rule_count none = {};

	if (!row) {
		bpf_map_update_elem(&rule_counts, &key, &none, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&rule_counts, &key);
	}
	if (!row) {
		count(COUNTER_RULES_UNCOUNTED);
		return 0;
	}
	__sync_fetch_and_add(&row->packets, packets);
	__sync_fetch_and_add(&row->bytes, bytes);
	row->last_ns = bpf_ktime_get_ns();
	return 1;
}

static __always_inline void count_judgements(const struct judgement *egress, const struct judgement *ingress, __u64 packets, __u64 bytes)
{
	if (egress->policy)
		count_rule(egress->bits, egress->policy, egress->word | egress->action << 16, packets, bytes);
	if (ingress->policy)
		count_rule(ingress->bits, ingress->policy, ingress->word | ingress->action << 16, packets, bytes);
}

/* For the record that is due: each packet that policies dropped, and what has passed since the last record. */
static __always_inline void count_rules(const struct work *w)
{
	const struct observation *o = &w->observation;

	if (o->reason == DROP_POLICY_DENIED || o->reason == DROP_POLICY_DENY)
		count_judgements(&w->connection.egress, &w->connection.ingress, 1, o->length);
	else if (!o->reason && o->fresh_packets)
		count_judgements(&w->connection.egress, &w->connection.ingress, o->fresh_packets, o->fresh_bytes);
}
