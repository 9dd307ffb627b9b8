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

/* A place for the selector in the row of d->key. 0: there is none. Global as the others, so that the verifier walks it once. */
__noinline int dns_source(__u32 selector, __u32 expires)
{
	struct dns_work *d = dns_row();
	struct dns_address *row;
	int i;

	if (!d)
		return 0;
	row = bpf_map_lookup_elem(&dns_addresses, &d->key);
	if (!row)
		return 0;
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
static __always_inline int dns_first(struct dns_work *d, __u32 owner, __u32 expires)
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
		d->fresh.source[i].expires = d->selectors[i] ? expires : 0;
	}
	if (bpf_map_update_elem(&dns_addresses, &d->key, &d->fresh, BPF_NOEXIST))
		return 0;
	__sync_fetch_and_add(&usage->addresses, 1);
	return 1;
}

/* Looks for the addresses behind the first, whose row is not there: so the waits for their places in memory overlap. */
__noinline int dns_touch(void)
{
	struct dns_work *d = dns_row();
	struct dns_address_key key = {};
	__u32 i;

	if (!d)
		return 0;
	key.endpoint = d->record.endpoint;
	for (i = 1; i < DNS_ANSWERS; i++) {
		if (i >= d->record.addresses)
			break;
		key.addr = d->record.address[i];
		bpf_map_lookup_elem(&dns_addresses, &key);
	}
	return 0;
}

/* Address `number` of the answer for the names in d->selectors. Returns whether it stands there for all of them. */
__noinline int dns_learn(__u32 number)
{
	struct dns_work *d = dns_row();
	struct dns_address *known;
	__u64 at = number;
	int i, learned = 1;
	__u32 expires;

	asm volatile("" : "+r"(at));	/* old verifiers follow the register that is compared and no copy of it */
	if (at >= DNS_ANSWERS || !d || !d->selectors[0])
		return 0;
	expires = d->expires[at];
	d->key.addr = d->record.address[at];
	d->key.endpoint = d->record.endpoint;
	if (is_rebound(&d->key.addr)) {
		dns_count(DNS_COUNT_REBOUND);
		return 0;
	}
	known = bpf_map_lookup_elem(&dns_addresses, &d->key);
	/* What most answers are: one that was given before. */
	if (known && known->source[0].selector == d->selectors[0] && !d->selectors[1]) {
		if ((__s32)(expires - known->source[0].expires) > 0)
			known->source[0].expires = expires;
		return 1;
	}
	if (!known && !at)
		dns_touch();
	if (!known && dns_first(d, d->key.endpoint, expires)) {
		learned = !d->selectors[DNS_SOURCES];
	} else {
		for (i = 0; i <= DNS_MATCHES; i++) {
			if (!d->selectors[i])
				break;
			learned &= dns_source(d->selectors[i], expires);
		}
	}
	if (!learned)
		dns_count(DNS_COUNT_CROWDED);
	return learned;
}

/* Where the name at `at` ends; 0: it is none. A pointer leads before the name that it is in (RFC 1035, 4.1.4), so there is no loop.
 * Where it stands is kept in the row: the verifier would walk every way there. */
__noinline __u32 dns_skip_name(__u32 at)
{
	struct dns_work *d = dns_row();
	volatile struct dns_reading *r;	/* the compiler would keep it in registers */
	__u32 i;

	if (!d)
		return 0;
	r = &d->reading;
	r->at = r->begin = at;
	r->end = r->total = 0;
	for (i = 0; i < DNS_LABELS; i++) {
		__u32 c, here = r->at;

		if (here + 1 > d->length || r->total >= DNS_LONGEST)
			return 0;
		c = d->message[here & 2047];
		if (!c)
			return r->end ? r->end : here + 1;
		if (c < DNS_POINTER) {
			if (c > DNS_LABEL)
				return 0;
			r->total += c + 1;
			r->at = here + c + 1;
			continue;
		}
		if (here + 2 > d->length)
			return 0;
		if (!r->end)
			r->end = here + 2;
		here = (c & DNS_LABEL) << 8 | d->message[(here + 1) & 2047];
		if (here >= r->begin)
			return 0;
		/* Most point to the question, which has been read. */
		if (here == DNS_HEAD)
			return r->total + d->record.length < DNS_LONGEST ? r->end : 0;
		r->at = r->begin = here;
	}
	return 0;
}

/* The address at `at` is kept for when all has been read. */
static __always_inline int dns_keep(struct dns_work *d, __u32 at, __u32 ipv4, __u32 ttl)
{
	__u64 count = d->record.addresses;

	/* RFC 2181, 8: the highest bit set means 0. */
	if (ttl >> 31 || ttl < DNS_TTL_FLOOR)
		ttl = DNS_TTL_FLOOR;
	if (ttl > DNS_TTL_CEILING)
		ttl = DNS_TTL_CEILING;
	if (!d->record.ttl || ttl < d->record.ttl)
		d->record.ttl = ttl;
	d->record.addresses = count + 1;
	asm volatile("" : "+r"(count));	/* as above */
	if (count >= DNS_ANSWERS)
		return -1;
	d->expires[count] = ticks() + TICKS((__u64)ttl);
	if (ipv4)
		addr_from_ipv4(&d->record.address[count], *(__be32 *)&d->message[at & 2047]);
	else
		__builtin_memcpy(&d->record.address[count], &d->message[at & 2047], sizeof(struct addr));
	return 0;
}

/* The record at d->at. Returns -1 when it is none. */
__noinline int dns_read_record(void)
{
	struct dns_work *d = dns_row();
	__u32 at, type, class, ttl, size;
	const __u8 *head;

	if (!d)
		return -1;
	at = dns_skip_name(d->at);
	if (!at || at + 10 > d->length)
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
	if (type == DNS_TYPE_CNAME)
		return dns_skip_name(at) == at + size ? 0 : -1;
	if (type != DNS_TYPE_A && type != DNS_TYPE_AAAA)
		return 0;
	if (size != (type == DNS_TYPE_A ? 4 : sizeof(struct addr)))
		return -1;
	return class == DNS_CLASS_IN ? dns_keep(d, at, type == DNS_TYPE_A, ttl) : 0;
}
