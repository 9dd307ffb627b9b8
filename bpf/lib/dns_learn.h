/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Answers -> addresses that the workload may take for the names it asked for, before the answer is handed to it. Every A and AAAA of the
 * answer section counts, in whatever order CNAMEs stand: the server is one that a rule trusts, and it was asked for this name. */
#pragma once
#include "dns_message.h"
#include "dns_match.h"
#include "ticks.h"

#define DNS_LABELS 128

/* Inside the cluster or the machine, or no address of a host: whoever answers so would have the workload's rules open what they are not about. */
static __always_inline int is_rebound(const struct addr *a)
{
	struct ipcache_value *value = ipcache_lookup(a);
	__u32 high = bpf_ntohl(a->word[0]), last = bpf_ntohl(a->word[3]);
	__u32 identity;

	if (a->word[0] == 0 && a->word[1] == 0) {
		if (a->word[2] != bpf_htonl(0xffff))	/* ::, ::1, the old embeddings */
			return 1;
		/* 0/8, 127/8, 169.254/16, 224/3 */
		if (last >> 24 == 0 || last >> 24 == 127 || last >> 16 == 0xa9fe || last >> 29 == 7)
			return 1;
	} else if (high >> 22 == 0xfe80 >> 6 || high >> 24 == 0xff) {
		return 1;
	}
	if (!value || value->ifindex || value->flags & (IPCACHE_HOST | IPCACHE_REMOTE))
		return 1;
	/* World, and prefixes that rules name (agent/identity/reserved.ts). */
	identity = value->peer[1].identity;
	return identity != 2 && identity != 9 && identity != 10 && identity >> 24 != 1;
}

/* A place for the selector among those that d->key has. 0: there is none. Global as the others, so that the verifier walks it once. */
__noinline int dns_source(__u32 selector)
{
	struct dns_work *d = dns_row();
	struct dns_address *row;
	__u32 expires;
	int i;

	if (!d)
		return 0;
	row = bpf_map_lookup_elem(&dns_addresses, &d->key);
	if (!row)
		return 0;
	expires = d->expires;
	for (i = 0; i < DNS_SOURCES; i++) {
		struct dns_source *source = &row->source[i];

		if (!source->selector)
			source->selector = selector;
		/* Another CPU may have taken it: then the next. */
		if (source->selector != selector)
			continue;
		if ((__s32)(expires - source->expires) > 0 || !source->expires)
			source->expires = expires;
		return 1;
	}
	return 0;
}

/* A row of its own for d->key. 0: it is beyond the quota, or another CPU was faster. */
static __always_inline int dns_first(struct dns_work *d, __u32 owner)
{
	struct dns_usage *usage = bpf_map_lookup_elem(&dns_usages, &owner);
	int i;

	if (!usage || (__s32)usage->addresses >= (__s32)usage->quota) {
		if (usage)
			__sync_fetch_and_add(&usage->refused, 1);
		return 0;
	}
	for (i = 0; i < DNS_SOURCES; i++) {
		d->fresh.source[i].selector = d->selectors[i];
		d->fresh.source[i].expires = d->selectors[i] ? d->expires : 0;
	}
	if (bpf_map_update_elem(&dns_addresses, &d->key, &d->fresh, BPF_NOEXIST))
		return 0;
	__sync_fetch_and_add(&usage->addresses, 1);
	return 1;
}

/* The address for the names in d->selectors. Returns whether it stands there for all of them. */
__noinline int dns_learn(__u32 at, __u32 ipv4)
{
	struct dns_work *d = dns_row();
	int i, learned = 1, known;
	__u32 owner, count;

	if (!d)
		return 0;
	if (ipv4)
		addr_from_ipv4(&d->key.addr, *(__be32 *)&d->message[at & 2047]);
	else
		__builtin_memcpy(&d->key.addr, &d->message[at & 2047], sizeof(d->key.addr));
	owner = d->key.endpoint = d->record.endpoint;
	count = d->record.addresses;
	d->record.addresses = count + 1;
	asm volatile("" : "+r"(count));	/* 6.1 follows the register that is compared and no copy of it */
	if (count < DNS_ANSWERS)
		d->record.address[count] = d->key.addr;
	if (!d->selectors[0])
		return 0;
	if (is_rebound(&d->key.addr)) {
		dns_count(DNS_COUNT_REBOUND);
		return 0;
	}
	known = bpf_map_lookup_elem(&dns_addresses, &d->key) != 0;
	if (!known && dns_first(d, owner)) {
		learned = !d->selectors[DNS_SOURCES];
	} else {
		for (i = 0; i <= DNS_MATCHES; i++) {
			if (!d->selectors[i])
				break;
			learned &= dns_source(d->selectors[i]);
		}
	}
	if (!learned)
		dns_count(DNS_COUNT_CROWDED);
	return learned;
}

/* The record at d->at. Returns -1 when it is none. */
__noinline int dns_read_record(void)
{
	struct dns_work *d = dns_row();
	__u32 at, i, type, class, ttl, size;
	const __u8 *head;

	if (!d)
		return -1;
	at = d->at;
	for (i = 0; i < DNS_LABELS; i++) {
		__u8 c;

		if (at >= d->length)
			return -1;
		c = d->message[at & 2047];
		if (c >= DNS_POINTER)
			at++;
		at++;
		if (!c || c >= DNS_POINTER)
			break;
		if (c > DNS_LABEL)
			return -1;
		at += c;
	}
	if (i == DNS_LABELS || at + 10 > d->length)
		return -1;
	/* Where it begins it is inside the message, and the room behind that is larger than the head. */
	head = &d->message[at & 2047];
	type = head[0] << 8 | head[1];
	class = head[2] << 8 | head[3];
	ttl = (__u32)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
	size = head[8] << 8 | head[9];
	at += 10;
	if (at + size > d->length)
		return -1;
	d->at = at + size;
	if (class != DNS_CLASS_IN || !((type == DNS_TYPE_A && size == 4) || (type == DNS_TYPE_AAAA && size == 16)))
		return 0;
	/* RFC 2181, 8: the highest bit set means 0. */
	if (ttl >> 31 || ttl < DNS_TTL_FLOOR)
		ttl = DNS_TTL_FLOOR;
	if (ttl > DNS_TTL_CEILING)
		ttl = DNS_TTL_CEILING;
	if (!d->record.ttl || ttl < d->record.ttl)
		d->record.ttl = ttl;
	d->expires = ticks() + TICKS((__u64)ttl);
	d->record.learned += dns_learn(at, size == 4);
	return 0;
}
