/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a connection is found in conntrack, by packets and by sockets. */
#pragma once
#include "addr.h"
#include "ticks.h"

#define RECORD_INTERVAL TICKS(5)

/* Orders the two ends; returns which of them (0, 1) the first named is. */
static __always_inline __u8 ct_key_between(const struct addr *saddr, __be16 sport, const struct addr *daddr, __be16 dport, __u8 protocol,
					   struct ct_key *key)
{
	__u8 from = 0;

#pragma unroll
	for (int i = 3; i >= 0; i--)
		if (saddr->word[i] != daddr->word[i]) {
			from = saddr->word[i] > daddr->word[i];
			goto ordered;
		}
	from = sport > dport;
ordered:
	__builtin_memset(key, 0, sizeof(*key));
	key->protocol = protocol;
	if (from) {
		key->addr[0] = *daddr;
		key->addr[1] = *saddr;
		key->port[0] = dport;
		key->port[1] = sport;
	} else {
		key->addr[0] = *saddr;
		key->addr[1] = *daddr;
		key->port[0] = sport;
		key->port[1] = dport;
	}
	return from;
}
