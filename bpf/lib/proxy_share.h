/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Each workload's share of Envoy, where one is set: what is beyond it is dropped before Envoy knows of it, and TCP sends it later
 * and less. Only while others want Envoy too: alone, a workload has all of it. */
#pragma once
#include "packet.h"
#include "ticks.h"
#include "work.h"

#define PROXY_ALONE_AFTER (10 * SECOND)	/* that nobody else came */
#define PROXY_MOST_DEBT SECOND		/* beyond the burst, for what was answered */

/* The proxy of DNS by TCP is another process. */
static __always_inline int is_envoys(const struct ct_entry *entry)
{
	return entry->flags & CT_SERVICE && entry->service & CT_PROXIED && entry->egress.action != ACTION_DNS;
}

static __always_inline struct proxy_use *proxy_use_of(__u32 owner)
{
	return bpf_map_lookup_elem(&proxy_uses, &owner);
}

static __always_inline struct proxy_share *proxy_share(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&proxy_shares, &key);
}

/* Whether others want Envoy too. Two CPUs at once may see the other's turn a packet late. */
static __always_inline int take_turn(__u32 owner, __u64 now)
{
	__u32 key = 0;
	struct proxy_turn *turn = bpf_map_lookup_elem(&proxy_turns, &key);

	if (!turn)
		return 0;
	if (turn->last != owner) {
		turn->other_ns = turn->last_ns;
		turn->last = owner;
	}
	turn->last_ns = now;
	return turn->other_ns && now - turn->other_ns < PROXY_ALONE_AFTER;
}

/* 1: its share has not paid for that yet. `owed`: it is done already, and paid for all the same. No more than a look and an addition, so that
 * CPUs at the same row can lose a packet's cost and no more. */
static __always_inline int pay(__u32 owner, __u64 cost, int owed)
{
	struct proxy_use *use = proxy_use_of(owner);
	struct proxy_share *share = proxy_share();
	__u64 now = bpf_ktime_get_ns(), ahead = 0, room;
	int others = take_turn(owner, now);

	if (!use || !share)
		return 0;
	room = share->burst_ns * share->stretch >> 8;
	if (use->paid_until > now)
		ahead = use->paid_until - now;
	else
		use->paid_until = now;
	if (share->stretch && !owed && others && ahead > room) {
		__sync_fetch_and_add(&use->dropped, 1);
		return 1;
	}
	__sync_fetch_and_add(&use->spent_ns, cost);
	if (ahead <= (others && owed ? room + PROXY_MOST_DEBT : room))
		__sync_fetch_and_add(&use->paid_until, cost * share->stretch >> 8);
	return 0;
}

/* `units`: of 16 bytes, since Envoy's last answer. What has no data costs nobody anything. Global, so that the verifier walks it once. The
 * result: how many from now on, or less than 0: its share has not paid for it. */
__noinline int proxy_pays(struct __sk_buff *skb, __u32 owner, __u32 answer, __u32 units)
{
	struct work *w = this_work();
	__u32 head, length = skb->len;

	if (!w)
		return 0;
	if (answer && w->packet.tcp_flags & TCP_RST)
		return pay(owner, PROXY_COST_RESET, 1);
	head = w->packet.l4 + transport_length(skb, &w->packet);
	if (length <= head)
		return units;
	length -= head;
	if (answer)
		return pay(owner, PROXY_COST_ANSWER + (__u64)length * PROXY_COST_BYTE, 1);
	if (pay(owner, PROXY_COST_PACKET + (__u64)length * (units < PROXY_HEADER_UNITS ? PROXY_COST_HEADER_BYTE : PROXY_COST_BYTE), 0))
		return -1;
	return units < PROXY_HEADER_UNITS ? units + (length + 15) / 16 : units;
}

/* A packet of an open connection of Envoy's. 1: its share has not paid for it. */
static __always_inline int is_beyond_share(struct __sk_buff *skb, struct ct_entry *entry, __u32 answer)
{
	int units = proxy_pays(skb, entry->owner, answer, entry->unread[0]);

	if (units < 0)
		return 1;
	entry->unread[0] = units;
	return 0;
}

/* A connection that is about to be opened. */
__noinline int proxy_opens(__u32 owner)
{
	struct proxy_use *use = proxy_use_of(owner);
	struct proxy_share *share = proxy_share();

	if (use && share && share->connections && (__s32)use->connections >= (__s32)share->connections) {
		__sync_fetch_and_add(&use->refused, 1);
		return 1;
	}
	return pay(owner, PROXY_COST_OPEN, 0);
}

/* One open connection more (1) or less (-1). */
static __always_inline void proxy_holds(const struct ct_entry *entry, int more)
{
	struct proxy_use *use;

	if (!is_envoys(entry))
		return;
	use = proxy_use_of(entry->owner);
	if (use)
		__sync_fetch_and_add(&use->connections, more);
}

/* Of a row that stands for no connection any more: it does not count when it is taken away. */
static __always_inline void proxy_lets_go(struct ct_entry *entry)
{
	if (!is_envoys(entry) || entry->state == CT_CLOSING)
		return;
	proxy_holds(entry, -1);
	entry->state = CT_CLOSING;
}
