/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A socket asks for a service and is given a backend; what it was told is kept by its cookie until it is closed. */
#pragma once
#include "packet.h"
#include "service.h"

/* What becomes of the address that a socket asks for. */
enum answer {
	ANSWER_LEAVE,		/* as it is: no service, or its packets are translated */
	ANSWER_BACKEND,
	ANSWER_REFUSE,
};

/* Who asks, and in which of its slots it has the frontend. */
struct asker {
	struct sock_peer_key key;
	__u64 netns;
	__u32 ifindex;
	__u32 lasting;		/* UDP: the backend stays while the socket lives */
};

static __always_inline int is_end(const struct addr *addr, __be16 port, const struct addr *other, __be16 other_port)
{
	return port == other_port && addr_equal(addr, other);
}

/* Forgets whom a socket talked to. */
static __always_inline void forget(__u64 cookie)
{
	struct sock_peer_key key = { .cookie = cookie };
	int slot;

	/* Counted in a register: of numbers on the stack the verifier of 5.10 forgets what they are. */
	for (slot = 0; slot < SOCK_PEER_SLOTS; slot++) {
		key.slot = slot;
		if (!bpf_map_lookup_elem(&sock_peers, &key) || bpf_map_delete_elem(&sock_peers, &key))
			break;
	}
}

/* The slot that holds this frontend, the first free one, or any when all are taken by others; its number goes to the key. */
static __always_inline struct sock_peer *slot_for(struct sock_peer_key *key, const struct frontend_key *frontend)
{
	struct sock_peer *peer;
	int slot;

	for (slot = 0; slot < SOCK_PEER_SLOTS; slot++) {
		key->slot = slot;
		peer = bpf_map_lookup_elem(&sock_peers, key);
		if (!peer || is_end(&peer->frontend, peer->frontend_port, &frontend->addr, frontend->port))
			return peer;
	}
	key->slot = bpf_get_prandom_u32() % SOCK_PEER_SLOTS;
	return 0;
}

static __noinline int remember(const struct asker *asker, const struct frontend_key *from, __u32 service, __u32 number, const struct backend *backend)
{
	struct sock_peer peer = {
		.frontend = from->addr, .backend = backend->addr, .frontend_port = from->port, .backend_port = backend->port,
		.protocol = from->protocol, .service = service, .number = number, .ifindex = asker->ifindex,
	};

	return bpf_map_update_elem(&sock_peers, &asker->key, &peer, BPF_ANY);
}

/* What the socket was told before, while that backend is there. */
static __always_inline struct backend *backend_kept(struct asker *asker, const struct frontend_key *from)
{
	struct sock_peer *peer = slot_for(&asker->key, from);
	struct backend *backend = peer ? backend_lookup(peer->number) : 0;

	/* Sockets may outlast the rest of a number. */
	return backend && is_end(&backend->addr, backend->port, &peer->backend, peer->backend_port) ? backend : 0;
}

static __always_inline struct backend *backend_anew(const struct asker *asker, const struct frontend *frontend, __u32 *number)
{
	struct affinity_key client = { .service = frontend->service, .by_socket = 1 };

	client.client.word[2] = asker->netns >> 32;
	client.client.word[3] = asker->netns;
	*number = choose_backend(frontend, &client, bpf_get_prandom_u32());
	return backend_lookup(*number);
}

/* `to`: the backend's end, in place of what was asked for. */
static __noinline int translate(struct asker *asker, struct frontend_key *from, struct backend *to)
{
	struct service_client *client = bpf_map_lookup_elem(&service_clients, &asker->netns);
	struct frontend *frontend;
	struct backend *backend;
	__u32 number;

	if (!client)
		return ANSWER_LEAVE;
	asker->ifindex = client->ifindex;
	frontend = frontend_lookup(from);
	/* Who may come is asked of packets, which have a source. */
	if (!frontend || frontend->flags & FRONTEND_SOURCE_RANGES)
		return ANSWER_LEAVE;
	backend = asker->lasting ? backend_kept(asker, from) : 0;
	if (!backend) {
		backend = backend_anew(asker, frontend, &number);
		if (!backend)
			return ANSWER_REFUSE;
		if (remember(asker, from, frontend->service, number, backend)) {
			count(COUNTER_SOCK_PEERS_FULL);
			return ANSWER_LEAVE;
		}
		__sync_fetch_and_add(&backend->connections, 1);
	}
	*to = *backend;
	return ANSWER_BACKEND;
}

/* The frontend by which a socket asked for this backend becomes the end that it is shown; 0: it asked for no service. */
static __always_inline int frontend_of(__u64 cookie, struct addr *addr, __be16 *port)
{
	struct sock_peer_key key = { .cookie = cookie };
	struct sock_peer *peer;
	int slot;

	for (slot = 0; slot < SOCK_PEER_SLOTS; slot++) {
		key.slot = slot;
		peer = bpf_map_lookup_elem(&sock_peers, &key);
		if (!peer)
			return 0;
		if (!is_end(&peer->backend, peer->backend_port, addr, *port))
			continue;
		*addr = peer->frontend;
		*port = peer->frontend_port;
		return 1;
	}
	return 0;
}
