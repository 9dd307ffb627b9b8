/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A connection's row: its key, of a packet, and until when it stands. */
#pragma once
#include "ct_key.h"
#include "maps.h"
#include "packet.h"
#include "ticks.h"

#define CT_FINS (CT_FIN << 0 | CT_FIN << 1)
#define DNS_BY_UDP (IPPROTO_UDP << 16 | 53)	/* as policy_key */
#define SHORT_EXCHANGE 4	/* packets: a resolver asks for A and AAAA at once */

static __always_inline int is_opening(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline __u32 tcp_timeout(__u8 state)
{
	switch (state) {
	case CT_ESTABLISHED:
		return TICKS(CT_TIMEOUT_TCP_ESTABLISHED);
	case CT_HALF_CLOSED:
		return TICKS(CT_TIMEOUT_TCP_HALF_CLOSED);
	case CT_CLOSING:
		return TICKS(CT_TIMEOUT_TCP_CLOSING);
	}
	return TICKS(CT_TIMEOUT_TCP_NEW);
}

/* What waits for an answer after a packet by UDP: 0, 1, 2, or 3: nobody knows any more. In the bits of FINs. */
static __always_inline void ct_count_waiting(struct ct_entry *entry, int is_reply)
{
	__u8 waiting = (entry->flags & CT_FINS) / CT_FIN;

	if (waiting == 3 || (is_reply && !waiting))
		return;
	waiting += is_reply ? -1 : 1;
	entry->flags = (entry->flags & ~CT_FINS) | waiting * CT_FIN;
}

/* A short exchange by UDP is over early, a query that has its answer earlier still: so that those to one name server use up neither quota nor
 * the node's ports. */
static __always_inline __u32 idle_timeout(__u8 protocol, const struct ct_entry *entry)
{
	if (entry->reason)
		return TICKS(CT_TIMEOUT_REVOKED);
	if (protocol == IPPROTO_TCP)
		return tcp_timeout(entry->state);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6_)
		return TICKS(CT_TIMEOUT_ICMP);
	if (entry->state == CT_NEW)
		return TICKS(CT_TIMEOUT_NEW);
	if (entry->policy_key == DNS_BY_UDP && !(entry->flags & CT_FINS))
		return TICKS(CT_TIMEOUT_ANSWERED);
	if (protocol == IPPROTO_UDP && entry->packets <= SHORT_EXCHANGE)
		return TICKS(CT_TIMEOUT_SHORT_EXCHANGE);
	return protocol == IPPROTO_SCTP ? TICKS(CT_TIMEOUT_SCTP_ESTABLISHED) : TICKS(CT_TIMEOUT_ESTABLISHED);
}

static __always_inline int ct_is_idle(const struct ct_entry *entry, __u8 protocol, __u32 now)
{
	return (__s32)(now - entry->seen) > (__s32)idle_timeout(protocol, entry);
}

/* The key of the packet's connection; returns which end (0, 1) it comes from. */
static __always_inline __u8 ct_key_of(const struct packet *p, struct ct_key *key)
{
	return ct_key_between(&p->saddr, p->sport, &p->daddr, p->dport, p->protocol, key);
}

/* A row that no longer stands for this packet: idle too long, or its tuple is opened anew. A SYN of the other end is part of a
 * connection only as long as nothing answered its opener (simultaneous open: RFC 9293, 3.5); later it would be one that nobody judged. */
static __always_inline int ct_is_over(const struct ct_entry *entry, const struct packet *p, __u8 from, __u32 now)
{
	if (ct_is_idle(entry, p->protocol, now))
		return 1;
	if (!is_opening(p))
		return 0;
	return entry->reason || entry->state >= CT_CLOSING || (from != entry->origin && entry->state != CT_NEW);
}
