/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services: what is reached at an address, and which backend a new connection gets. Sockets (socket.c) and packets ask alike. */
#pragma once
#include "maps.h"
#include "ticks.h"

/* 0: no service is there, for clients of that scope. A row is replaced as a whole, so what is found holds until the program ends (RCU). */
static __always_inline struct frontend *frontend_lookup(const struct frontend_key *key)
{
	return bpf_map_lookup_elem(&frontends, key);
}

/* Which of its slots: the same for the same hash at every node where it has a Maglev table. */
static __always_inline __u32 slot_of(const struct frontend *frontend, __u32 hash)
{
	__u32 zero = 0, table = frontend->maglev, entry;
	struct service_control *control;
	void *slots;
	__u32 *slot;

	if (!table)
		return hash % frontend->count;
	control = bpf_map_lookup_elem(&services, &zero);
	slots = bpf_map_lookup_elem(&maglev_tables, &table);
	if (!control || !control->maglev_size || !slots)
		return hash % frontend->count;
	entry = hash % control->maglev_size;
	slot = bpf_map_lookup_elem(slots, &entry);
	return slot && *slot < frontend->count ? *slot : hash % frontend->count;
}

/* Number of the backend; 0: there is none. */
static __always_inline __u32 backend_by_hash(const struct frontend *frontend, __u32 hash)
{
	__u32 slot, *number;

	if (!frontend->count)
		return 0;
	slot = frontend->first + slot_of(frontend, hash);
	number = bpf_map_lookup_elem(&service_slots, &slot);
	return number ? *number : 0;
}

static __always_inline struct backend *backend_lookup(__u32 number)
{
	return number ? bpf_map_lookup_elem(&backends, &number) : 0;
}

/* The backend that this client had, while it has affinity and the backend takes new connections; 0: none. */
static __always_inline __u32 backend_by_affinity(const struct frontend *frontend, const struct affinity_key *client)
{
	struct affinity *kept = bpf_map_lookup_elem(&affinities, client);
	__u32 now = ticks(), number;
	struct backend *backend;

	if (!kept || now - kept->seen > TICKS((__u64)frontend->affinity_seconds))
		return 0;
	number = kept->backend;
	backend = backend_lookup(number);
	if (!backend || backend->state != BACKEND_ACTIVE)
		return 0;
	kept->seen = now;
	return number;
}

/* Number of the backend that a new connection gets, 0: there is none. `client` is read only where the service has affinity. */
static __always_inline __u32 choose_backend(const struct frontend *frontend, const struct affinity_key *client, __u32 hash)
{
	struct affinity kept = {};

	if (!frontend->affinity_seconds)
		return backend_by_hash(frontend, hash);
	kept.backend = backend_by_affinity(frontend, client);
	if (kept.backend)
		return kept.backend;
	kept.backend = backend_by_hash(frontend, hash);
	kept.seen = ticks();
	if (kept.backend)
		bpf_map_update_elem(&affinities, client, &kept, BPF_ANY);
	return kept.backend;
}
