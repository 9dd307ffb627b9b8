/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Name -> selectors: exactly this name, and the patterns whose automaton ends in it. Written by agent/dns/reconciler.ts. */
#pragma once
#include "dns_message.h"
#include "dns_wait.h"
#include "verdict.h"

static __always_inline struct dns_automaton *dns_automaton(void)
{
	struct dns_control *control = dns_control();
	__u32 half = 0;

	if (control)
		half = control->half;
	return bpf_map_lookup_elem(&dns_automata, &half);
}

/* The compiler would make one of a mask, and the verifier walk both ways, 255 times. */
#define no_branch(mask) asm volatile("" : "+r"(mask))

/* Where the automaton stands at the name's beginning, read from its end: the row of who matches; 0: nobody. Everything is reached by masks,
 * little is done behind the loop, and where it is stands in the row: the verifier walks each step of it, and each way out. */
__noinline int dns_walk(void)
{
	const struct dns_automaton *automaton = dns_automaton();
	struct dns_work *d = dns_row();
	volatile struct dns_reading *r;
	__u32 state = 1, i;

	if (!d || !automaton)
		return 0;
	r = &d->reading;
	r->at = d->record.length;
	r->total = d->labels;
	for (i = 1; i < DNS_LONGEST; i++) {
		const struct dns_state *row = &automaton->states[state & (DNS_STATES - 1)];
		__u32 c, place, edge, at = r->at - 1, skip = -(__u32)row->same;
		__u64 dot, other;

		no_branch(skip);
		at ^= (at ^ d->label[(r->total - 1) & 127]) & skip;
		if (!at)
			break;
		c = d->symbol[at & 255];
		place = row->base + c;
		edge = automaton->edges[place >> 1 & (DNS_EDGES / 2 - 1)] >> (place & 1) * 32;
		r->at = at;
		dot = is_zero(c ^ '.');
		other = is_zero((__u16)edge ^ state) - 1;
		no_branch(dot);
		no_branch(other);
		r->total -= dot;
		state = (edge >> 16 & ~other) | (row->other & other & (dot - 1));
	}
	return automaton->states[state & (DNS_STATES - 1)].accept;
}

/* Fills d->selectors. Returns how many there are. */
__noinline int dns_match(void)
{
	struct dns_automaton *automaton = dns_automaton();
	struct dns_work *d = dns_row();
	__u32 found = 0, row, i;
	__u32 *exact;

	if (!d || !automaton)
		return 0;
	__builtin_memset(d->selectors, 0, sizeof(d->selectors));
	if (d->strange)
		return 0;
	if (d->record.length < sizeof(struct dns_short_name))
		exact = bpf_map_lookup_elem(&dns_short_names, &d->record.name);
	else
		exact = bpf_map_lookup_elem(&dns_names, &d->record.name);
	if (exact)
		d->selectors[found++] = *exact;
	row = dns_walk();
	for (i = 0; i < DNS_MATCHES; i++) {
		const struct dns_accept *accept = &automaton->accepts[row & (DNS_ACCEPTS - 1)];

		if (!row)
			break;
		d->selectors[(found + i) & DNS_MATCHES] = accept->selector;
		row = accept->next;
	}
	return found + i;
}

/* Bits of a word of the policy that the name in question sets where it is asked for. */
__noinline __u64 asked_bits(__u32 policy, __u32 word)
{
	struct dns_use use = { .policy = policy, .word = word, .use = DNS_USE_QUERY };
	struct dns_work *d = dns_row();
	__u64 bits = 0, *mask;
	int i;

	if (!d)
		return 0;
	for (i = 0; i <= DNS_MATCHES; i++) {
		use.selector = d->selectors[i];
		if (!use.selector)
			break;
		mask = bpf_map_lookup_elem(&dns_uses, &use);
		if (mask)
			bits |= *mask;
	}
	return bits;
}

/* Whether the policy lets the name be asked for at w->destination. A plain allow beside a DNS rule lets every name. Denies were judged
 * with the packet. */
static __noinline int may_ask(__u32 policy_id, __u32 class_id, __u32 key)
{
	struct policy *policy = bpf_map_lookup_elem(&policies, &policy_id);
	__u32 first_word, shift, step_at;
	int i;

	if (!policy || !policy->default_action)
		return 0;
	first_word = policy->first_bit / 64;
	shift = policy->first_bit % 64;
	step_at = policy->first_step + find_interval(policy, key);
	for (i = 0; i < POLICY_STEPS; i++) {
		struct step *step = bpf_map_lookup_elem(&steps, &step_at);
		__u64 bits;

		if (!step)
			break;
		bits = class_word(first_word + step->word, class_id) >> shift;
		if (step->named)
			bits |= named_bits(policy_id, step->word);
		bits &= step->mask;
		if (bits && step->action == ACTION_DNS)
			bits &= asked_bits(policy_id, step->word);
		if (bits && step->action != ACTION_DENY)
			return 1;
		step_at = step->next;
		if (!step_at)
			break;
	}
	return 0;
}

/* Any step of the policy of `end`. */
static __always_inline int may_ask_here(struct work *w, const struct endpoint *end)
{
	struct ipcache_value *to = ipcache_lookup(&w->packet.daddr);
	__u32 generation = w->observation.generation;

	if (!to)
		return 0;
	w->destination = w->packet.daddr;
	w->connection.owner = end->id;
	return may_ask(end->egress_policy[(__s32)(generation - end->since) >= 0], to->peer[(__s32)(generation - to->since) >= 0].class_id, policy_key(&w->packet));
}
