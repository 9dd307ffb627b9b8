/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict: class row -> policy-local bits -> tree of port intervals -> ordered steps, a cache line each.
 * Its cost does not depend on how many policies, rules or identities there are. Written by agent/policy/image.ts. */
#pragma once
#include "maps.h"
#include "named.h"
#include "work.h"

#define IDENTITY_REMOTE_NODE 6	/* agent/identity/reserved.ts */

/* How many bounds of `pairs` pairs are not above the key: without a branch, two at a time in one word. */
static __always_inline __u32 bounds_below(const __u32 *room, int pairs, __u64 key_twice)
{
	const __u64 *pair = (const __u64 *)room;
	__u64 sum = 0;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < pairs; i++)
		sum += ((pair[i] + key_twice) >> 31) & 0x0000000100000001ULL;
	return (__u32)sum + (__u32)(sum >> 32);
}

/* The last interval whose lower bound is not above `key`. */
static __always_inline __u32 find_interval(const struct policy *policy, __u32 key)
{
	__u64 key_twice = key * 0x0000000100000001ULL;
	__u32 at = bounds_below(policy->room, ROOT_BOUNDS / 2, key_twice);
	int level;

#pragma clang loop unroll(full)
	for (level = 0; level < POLICY_LEVELS; level++) {
		__u32 line = policy->first_line[level] + at;
		struct bounds *found;

		if (level >= policy->levels)
			break;
		found = bpf_map_lookup_elem(&bounds, &line);
		if (!found)
			break;
		at = at * (LINE_BOUNDS + 1) + bounds_below(found->room, LINE_BOUNDS / 2, key_twice);
	}
	return at;
}

/* A word of a class's row. */
static __always_inline __u64 class_word(__u32 word, __u32 class_id)
{
	__u32 at = word / LINE_WORDS * MAX_CLASSES + class_id;
	struct class_line *line = bpf_map_lookup_elem(&class_rows, &at);

	return line ? line->word[word % LINE_WORDS] : 0;
}

/* The steps of one policy. `names`: known to the compiler, so that nobody else pays for them. */
static __always_inline void judge_steps(const struct policy *policy, __u32 policy_id, __u32 class_id, __u32 key, int names, struct judgement *out)
{
	__u32 first_word, shift, step_at;
	__u64 bits, first;
	int i;

	first_word = policy->first_bit / 64;
	shift = policy->first_bit % 64;
	/* Asked for before the search, for it may be far away. */
	first = class_word(first_word, class_id);
	out->interval = find_interval(policy, key);
	out->action = policy->default_action;
	step_at = policy->first_step + out->interval;
	for (i = 0; i < POLICY_STEPS; i++) {
		struct step *step = bpf_map_lookup_elem(&steps, &step_at);

		if (!step)
			break;
		bits = ((step->word ? class_word(first_word + step->word, class_id) : first) >> shift) & step->mask;
		if (names && step->named)
			bits |= named_bits(policy_id, step->word) & step->mask;
		if (bits) {
			out->bits = bits;
			out->word = step->word;
			out->action = step->action;
			break;
		}
		step_at = step->next;
		if (!step_at)
			break;
	}
}

/* As judge, into w->judged, with the bits that w->destination has by its names. Global, so that the verifier walks it once. */
__noinline int judge_named(__u32 policy_id, __u32 class_id, __u32 key)
{
	struct policy *policy = bpf_map_lookup_elem(&policies, &policy_id);
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);

	if (!w || !policy)
		return 0;
	judge_steps(policy, policy_id, class_id, key, 1, &w->judged);
	return 1;
}

/* Inlined: where returns are guarded against speculation (SRSO) a call costs half of the whole verdict. */
static __always_inline void judge(__u32 policy_id, __u32 class_id, __u32 key, struct judgement *out)
{
	struct policy *policy;

	out->bits = 0;
	out->policy = policy_id;
	out->interval = 0;
	out->word = 0;
	out->action = ACTION_NONE;
	if (!policy_id)
		return;
	out->action = ACTION_DEFAULT_DENY;
	policy = bpf_map_lookup_elem(&policies, &policy_id);
	if (!policy || !policy->default_action)
		return;
	if (policy->intervals & POLICY_NAMED) {
		__u32 zero = 0;
		struct work *w = bpf_map_lookup_elem(&work_rows, &zero);

		if (!w)
			return;
		w->judged = *out;
		if (judge_named(policy_id, class_id, key))
			*out = w->judged;
		return;
	}
	judge_steps(policy, policy_id, class_id, key, 0, out);
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

static __always_inline __u32 identity_of(const struct ipcache_value *value, __u32 generation)
{
	return value->peer[(__s32)(generation - value->since) >= 0].identity;
}

/* Which end said no. */
static __always_inline enum direction denied_at(const struct connection *c)
{
	return denial(&c->egress) || c->refused == DIRECTION_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/* Where `generation` has an address. */
static __always_inline void place_of(const struct ipcache_value *value, struct place *place)
{
	place->ifindex = value->ifindex;
	place->host = value->flags & IPCACHE_HOST ? 1 : 0;
	place->remote = value->flags & IPCACHE_REMOTE ? 1 : 0;
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
