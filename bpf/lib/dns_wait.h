/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Queries that wait for their answers: a table without eviction by strangers, two cache lines a query. */
#pragma once
#include "dns_message.h"
#include "ticks.h"

#define DNS_WAIT_NS (DNS_WAIT_SECONDS * SECOND)
#define DNS_NAME_WORDS (sizeof(struct dns_name) / sizeof(__u64))

static __always_inline struct dns_control *dns_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dns_controls, &zero);
}

/* Two multiplications, one of them by a secret: else pairs of words could be found that meet under any secret. */
static __always_inline __u64 dns_mix(__u64 hash, __u64 word, __u64 secret)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	hash ^= hash >> 29;
	return hash * secret;
}

/* Into d->tag: of the message in this row, whose client has `ports` with d->server: the server's above. */
__noinline int dns_tag(__u32 ports)
{
	struct dns_control *control = dns_control();
	struct dns_work *d = dns_row();
	const __u64 *word;
	__u64 hash, secret;
	__u32 i, length;

	if (!control || !d)
		return 0;
	word = (const __u64 *)d->record.name.wire;
	hash = control->secret[0];
	secret = control->secret[1];
	hash = dns_mix(hash, (__u64)d->server.word[0] << 32 | d->server.word[1], secret);
	hash = dns_mix(hash, (__u64)d->server.word[2] << 32 | d->server.word[3], secret);
	hash = dns_mix(hash, (__u64)ports << 32 | d->record.endpoint, secret);
	hash = dns_mix(hash, (__u64)*(__be16 *)d->message << 32 | d->record.type << 16 | d->class, secret);
	length = d->record.length;
	for (i = 0; i < DNS_NAME_WORDS; i++) {
		if (i * sizeof(*word) > length)
			break;
		hash = dns_mix(hash, word[i], secret);
	}
	hash ^= hash >> 32;
	d->tag = hash >> 1 | 1ULL << 62;
	return 1;
}

static __always_inline struct dns_waiting *dns_waiting_row(__u64 tag)
{
	__u32 key = tag & (DNS_WAIT_ROWS - 1);

	return bpf_map_lookup_elem(&dns_waitings, &key);
}

/* 1 or 0; of what has no highest bit. */
static __always_inline __u64 is_zero(__u64 value)
{
	return (value - 1) >> 63;
}

/* The query of d->tag, whose name matched `count` selectors, is waited for. */
static __noinline int dns_wait(const struct dns_work *d, __u32 count)
{
	struct dns_waiting *row = dns_waiting_row(d->tag);
	__u64 now = d->record.time_ns, best = 0;
	struct dns_slot fresh = {};
	__u32 i, at = 0;

	if (!row)
		return -1;
	fresh.tag = d->tag;
	fresh.time_ns = now;
	fresh.endpoint = d->record.endpoint;
	fresh.version = count > 2 ? 0 : d->version;
	fresh.selector[0] = d->selectors[0];
	fresh.selector[1] = d->selectors[1];
	bpf_spin_lock(&row->lock);
	/* Without a branch: the verifier would walk each way through all four. */
#pragma clang loop unroll(full)
	for (i = 0; i < 4; i++) {
		const struct dns_slot *slot = &row->slot[i];
		__u64 age = now - slot->time_ns, score, better;	/* below 0 where another CPU has been here since */

		age &= ~-(age >> 63);
		score = age | is_zero(slot->endpoint ^ fresh.endpoint) << 60 | (is_zero(slot->tag) | (DNS_WAIT_NS - age) >> 63) << 61;
		better = (best - score) >> 63;
		asm volatile("" : "+r"(better));
		best ^= (best ^ score) & -better;
		at ^= (at ^ i) & -better;
	}
	row->slot[at & 3] = fresh;
	bpf_spin_unlock(&row->lock);
	return 0;
}

/* Takes away the query that has d->tag; its selectors, as far as they still hold, into d. 0: none waits. */
static __noinline int dns_take(struct dns_work *d)
{
	struct dns_waiting *row = dns_waiting_row(d->tag);
	__u64 tag = d->tag, now = d->record.time_ns;
	struct dns_slot found = {};
	__u32 i;

	if (!row)
		return 0;
	bpf_spin_lock(&row->lock);
#pragma clang loop unroll(full)
	for (i = 0; i < 4; i++) {
		struct dns_slot *slot = &row->slot[i];

		if (slot->tag == tag && !found.tag) {
			found = *slot;
			slot->tag = 0;
		}
	}
	bpf_spin_unlock(&row->lock);
	if (!found.tag || (__s64)(now - found.time_ns) > (__s64)DNS_WAIT_NS)
		return 0;
	d->record.latency_ns = now - found.time_ns;
	d->version = found.version;
	__builtin_memset(d->selectors, 0, sizeof(d->selectors));
	d->selectors[0] = found.selector[0];
	d->selectors[1] = found.selector[1];
	return 1;
}
