/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Run by the agent, on no packet (agent/datapath/sweeper.ts): takes away connections that are over, with their masquerading rows, and gives
 * the quota back. The frame holds keys of conntrack, read by the agent before: each is looked at again here, so that none that a packet has
 * revived meanwhile is lost. Its state is on the stack: before 6.0 a packet may interrupt a test run, and the work row would be its. */
#include "lib/count.h"
#include "lib/nat.h"
#include "lib/proxy_share.h"

/* An end that was local and is no more: nobody can use the connection. */
static __always_inline int end_is_gone(__u32 ifindex)
{
	return ifindex && !bpf_map_lookup_elem(&endpoints, &ifindex);
}

static __always_inline int ct_is_done(const struct ct_key *key, const struct ct_entry *entry)
{
	return ct_is_idle(entry, key->protocol, ticks()) || end_is_gone(entry->ifindex[0]) || end_is_gone(entry->ifindex[1]);
}

/* Only who opened a connection is masqueraded. These rows go first: whoever opens the tuple anew in this moment gets new ones. */
static __noinline int sweep_nat(const struct ct_key *key, __u8 origin)
{
	struct nat_key row = { .protocol = key->protocol, .direction = DIRECTION_EGRESS, .leg = key->leg };
	struct nat_value *node, *inside;
	struct nat_key back;

	row.local = origin ? key->addr[1] : key->addr[0];
	row.local_port = origin ? key->port[1] : key->port[0];
	row.remote = origin ? key->addr[0] : key->addr[1];
	if (has_ports(key->protocol))
		row.remote_port = origin ? key->port[0] : key->port[1];
	node = bpf_map_lookup_elem(&nat, &row);
	if (!node)
		return 0;
	back = row;
	back.local = node->addr;
	back.local_port = node->port;
	back.direction = DIRECTION_INGRESS;
	back.leg = 0;
	inside = bpf_map_lookup_elem(&nat, &back);
	if (inside && inside->leg == row.leg && inside->port == row.local_port && addr_equal(&inside->addr, &row.local))
		bpf_map_delete_elem(&nat, &back);
	bpf_map_delete_elem(&nat, &row);
	return 1;
}

static __noinline int sweep_one(struct __sk_buff *skb, __u32 at)
{
	struct ct_entry *entry;
	struct usage *used;
	struct ct_key key;
	__u32 owner;

	if (bpf_skb_load_bytes(skb, at, &key, sizeof(key)))
		return 0;
	entry = bpf_map_lookup_elem(&conntrack, &key);
	if (!entry || !ct_is_done(&key, entry))
		return 0;
	owner = entry->owner;
	sweep_nat(&key, entry->origin);
	if (entry->flags & CT_SERVICE)
		translation_forget(&key, entry);
	if (!ct_is_done(&key, entry) || bpf_map_delete_elem(&conntrack, &key))
		return 0;
	/* What came since its last record. After a flip its numbers may mean other rules. The row is gone, its memory not before this program ends (RCU). */
	if (entry->packets != entry->counted_packets && !entry->reason && entry->generation == current_generation())
		count_judgements(&entry->egress, &entry->ingress, entry->packets - entry->counted_packets, entry->bytes - entry->counted_bytes);
	proxy_lets_go(entry);
	used = bpf_map_lookup_elem(&usage, &owner);
	if (used)
		__sync_fetch_and_add(&used->connections, -1);
	return 1;
}

SEC("tc")
int sweep(struct __sk_buff *skb)
{
	int i, swept = 0;

	for (i = 0; i < SWEEP_KEYS; i++)
		swept += sweep_one(skb, SWEEP_FIRST + i * sizeof(struct ct_key));
	return swept;
}
