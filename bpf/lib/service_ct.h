/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What conntrack keeps of services: a connection's row has the way back (the frontend), `translations` the way there. A row there is
 * made and taken away with that of conntrack, so the quota of one is that of the other. */
#pragma once
#include "maps.h"
#include "work.h"

/* service_nat.h. 0: there is no such service; 1: the packet is for a backend now; else less than 0: minus why it is refused. */
int to_backend(struct __sk_buff *skb, __u32 scope);

/* Into the row of a connection that is new. */
static __always_inline void service_to_entry(const struct work *w, struct ct_entry *entry)
{
	__u32 service = w->observation.service;

	entry->service = (service & (SERVICE_TO_BACKEND | SERVICE_DSR) ? CT_TRANSLATED : 0) | (service & SERVICE_HAIRPIN ? CT_HAIRPIN : 0) |
			 (service & SERVICE_FROM_NODE ? CT_FROM_NODE : 0) | (service & SERVICE_ONE_WAY ? CT_ONE_WAY : 0);
	if (!entry->service)
		return;
	entry->flags |= CT_SERVICE;
	entry->frontend = w->frontend;
	entry->frontend_port = w->frontend_port;
	entry->device = w->device;
}

/* The way there, before the connection's own row: whoever finds that finds this. */
static __noinline enum drop_reason translation_keep(struct work *w)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &w->translation.backend);

	if (bpf_map_update_elem(&translations, &w->translation_key, &w->translation, BPF_ANY))
		return DROP_CT_MAP_INSERTION_FAILED;
	if (backend)
		__sync_fetch_and_add(&backend->connections, 1);
	return DROP_NONE;
}

/* The way there of a connection that is over, unless its client has another backend by now. Its state is on the stack: see sweep.c. */
static __noinline int translation_forget(const struct ct_key *key, const struct ct_entry *entry)
{
	struct translation_key row = { .protocol = key->protocol, .frontend = entry->frontend, .frontend_port = entry->frontend_port };
	const struct addr *backend = entry->origin ? &key->addr[0] : &key->addr[1], *client = entry->origin ? &key->addr[1] : &key->addr[0];
	__be16 backend_port = entry->origin ? key->port[0] : key->port[1];
	struct translation *known;

	if (!(entry->service & CT_TRANSLATED))
		return 0;
	row.client = entry->service & CT_HAIRPIN ? *backend : *client;
	row.client_port = entry->origin ? key->port[1] : key->port[0];
	known = bpf_map_lookup_elem(&translations, &row);
	if (!known || known->port != backend_port || !addr_equal(&known->addr, backend))
		return 0;
	bpf_map_delete_elem(&translations, &row);
	return 1;
}

/* A packet of a connection that has to do with services. */
static __noinline void service_of_entry(struct work *w, struct ct_entry *entry)
{
	struct observation *o = &w->observation;

	w->frontend = entry->frontend;
	w->frontend_port = entry->frontend_port;
	if (entry->service & CT_HAIRPIN)
		o->service |= SERVICE_HAIRPIN;
	if (o->is_reply && entry->service & CT_TRANSLATED) {
		o->service |= SERVICE_REPLY;
		w->device = entry->device;
	}
	if (o->is_reply && entry->service & CT_FROM_NODE)
		w->to.remote = 1;
	if (!(entry->service & CT_ONE_WAY))
		return;
	o->service |= SERVICE_ONE_WAY;
	/* Whoever goes on has been answered, by the backend's own node. */
	if (entry->state == CT_NEW && !(w->packet.tcp_flags & TCP_SYN))
		entry->state = CT_ESTABLISHED;
}
