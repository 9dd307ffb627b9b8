/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict: class row -> policy-local bits -> sorted port interval -> ordered steps.
 * Its cost does not depend on how many policies, rules or identities there are. Written by agent/policy/image.ts. */
#pragma once
#include "maps.h"
#include "work.h"

/* The last interval whose lower bound is not above `key`; intervals[first].lower is 0. */
static __always_inline __u32 find_interval(const struct policy *policy, __u32 key)
{
	__u32 low = 0, n = policy->intervals;
	int i;

	for (i = 0; i < SEARCH_DEPTH && n > 1; i++) {
		__u32 half = n / 2, at = policy->first_interval + low + half;
		struct interval *interval = bpf_map_lookup_elem(&intervals, &at);

		if (interval && interval->lower <= key) {
			low += half;
			n -= half;
		} else {
			n = half;
		}
	}
	return low;
}

static __noinline int judge(__u32 policy_id, __u32 class_id, __u32 key, struct judgement *out)
{
	__u32 at, step_at, row_at;
	struct interval *interval;
	struct policy *policy;
	int i;

	out->bits = 0;
	out->policy = policy_id;
	out->interval = 0;
	out->word = 0;
	out->action = ACTION_NONE;
	if (!policy_id)
		return 0;
	out->action = ACTION_DEFAULT_DENY;
	policy = bpf_map_lookup_elem(&policies, &policy_id);
	if (!policy || !policy->intervals)
		return 0;
	out->interval = find_interval(policy, key);
	at = policy->first_interval + out->interval;
	interval = bpf_map_lookup_elem(&intervals, &at);
	if (!interval)
		return 0;
	out->action = policy->default_action;
	step_at = interval->first_step;
	row_at = class_id * ROW_WORDS + policy->column;
	if (step_at == NO_STEP)
		return 0;
	for (i = 0; i < POLICY_STEPS; i++, step_at++) {
		struct step *step = bpf_map_lookup_elem(&steps, &step_at);
		__u32 word_at;
		__u64 *row;

		if (!step)
			break;
		word_at = row_at + step->word;
		row = bpf_map_lookup_elem(&class_rows, &word_at);
		if (row && (*row & step->mask)) {
			out->bits = *row & step->mask;
			out->word = step->word;
			out->action = step->action;
			break;
		}
		if (step->last)
			break;
	}
	return 0;
}

static __always_inline enum drop_reason denial(const struct judgement *judgement)
{
	if (judgement->action == ACTION_DENY)
		return DROP_POLICY_DENY;
	return judgement->action == ACTION_DEFAULT_DENY ? DROP_POLICY_DENIED : DROP_NONE;
}

static __always_inline struct ipcache_value *ipcache_lookup(const struct addr *addr)
{
	struct ipcache_key key = { .prefixlen = 128, .addr = *addr };

	return bpf_map_lookup_elem(&ipcache, &key);
}

/* Which end said no. */
static __always_inline enum direction denied_at(const struct connection *c)
{
	return denial(&c->egress) ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/* Where `generation` has an address. */
static __always_inline void place_of(const struct ipcache_value *value, struct place *place)
{
	place->ifindex = value->ifindex;
	place->host = value->flags & IPCACHE_HOST ? 1 : 0;
}

/* Judges the original direction of a connection at both of its ends, as far as they are on this node. */
static __noinline enum drop_reason judge_connection(__u32 generation, const struct addr *source, const struct addr *destination,
						    __u32 key, struct connection *c)
{
	struct ipcache_value *from = ipcache_lookup(source), *to = ipcache_lookup(destination);
	enum drop_reason reason;
	struct endpoint *end;
	struct peer from_peer, to_peer;
	__u32 policy_id = 0;

	__builtin_memset(c, 0, sizeof(*c));
	if (!from || !to)
		return DROP_EP_NOT_READY;
	from_peer = from->peer[(__s32)(generation - from->since) >= 0];
	to_peer = to->peer[(__s32)(generation - to->since) >= 0];
	c->source_identity = from_peer.identity;
	c->destination_identity = to_peer.identity;
	place_of(from, &c->source);
	place_of(to, &c->destination);

	if (c->destination.ifindex) {
		end = bpf_map_lookup_elem(&endpoints, &c->destination.ifindex);
		if (!end)
			return DROP_EP_NOT_READY;
		c->owner = end->id;
		policy_id = end->ingress_policy[(__s32)(generation - end->since) >= 0];
	}
	judge(policy_id, from_peer.class_id, key, &c->ingress);
	policy_id = 0;
	if (c->source.ifindex) {
		end = bpf_map_lookup_elem(&endpoints, &c->source.ifindex);
		if (!end)
			return DROP_EP_NOT_READY;
		c->owner = end->id;
		policy_id = end->egress_policy[(__s32)(generation - end->since) >= 0];
	}
	judge(policy_id, to_peer.class_id, key, &c->egress);

	reason = denial(&c->egress);
	return reason ? reason : denial(&c->ingress);
}
