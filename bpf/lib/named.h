/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The second dimension of the verdict: bits that an address has beside its class's, by the names that answers gave it for. */
#pragma once
#include "maps.h"
#include "ticks.h"
#include "work.h"

/* Bits of word `word` of a policy that w->destination has for the endpoint w->connection.owner. An address whose time is over begins no
 * connection; those that there are go on. Global, so that the verifier walks it once and not for each step. */
__noinline __u64 named_bits(__u32 policy, __u32 word)
{
	struct dns_use use = { .policy = policy, .word = word, .use = DNS_USE_PEER };
	struct dns_address_key key = {};
	struct dns_address *found;
	struct work *w;
	__u64 bits = 0;
	__u32 zero = 0, now;
	int i;

	w = bpf_map_lookup_elem(&work_rows, &zero);
	if (!w)
		return 0;
	key.addr = w->destination;
	key.endpoint = w->connection.owner;
	found = bpf_map_lookup_elem(&dns_addresses, &key);
	if (!found)
		return 0;
	now = ticks();
	for (i = 0; i < DNS_SOURCES; i++) {
		__u64 *mask;

		use.selector = found->source[i].selector;
		if (!use.selector)
			continue;
		if (!w->observation.judged_again && (__s32)(now - found->source[i].expires) > 0)
			continue;
		mask = bpf_map_lookup_elem(&dns_uses, &use);
		if (mask)
			bits |= *mask;
	}
	return bits;
}
