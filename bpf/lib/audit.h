/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What audited policies would have said, beside what was done: a second record where the two differ. Only where a record is due anyway,
 * or a connection was judged again: a packet of an established connection costs nothing. Nothing here changes what becomes of a packet. */
#pragma once
#include "conntrack.h"
#include "record.h"
#include "verdict.h"
#include "work.h"

/* Which policy judges with the audited ones among them, if they make a difference here. */
static __always_inline __u32 audit_id(const __u32 *audit, const __u32 *live, int now, int *differs)
{
	if (!audit[now])
		return live[now];
	*differs = 1;
	return audit[now];
}

/* One side of w->connection. Global, as audit_packet, so that the verifier walks it once and not at each call. */
__noinline int judge_side(enum direction direction, __u32 policy_id, __u32 class_id, __u32 key)
{
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);

	if (!w)
		return 0;
	/* One place to write to: with two the verifier would walk it for each. */
	judge(policy_id, class_id, key, &w->connection.ingress);
	if (direction == DIRECTION_EGRESS)
		w->connection.egress = w->connection.ingress;
	return 1;
}

/* As judge_connection, of w->source and w->destination, into w->connection. 0: no audited policy has a say. */
static __noinline int judge_audit(struct work *w, __u32 key)
{
	struct ipcache_value *from = ipcache_lookup(&w->source), *to = ipcache_lookup(&w->destination);
	__u32 generation = w->observation.generation, ingress = 0, egress = 0;
	struct connection *c = &w->connection;
	struct peer from_peer, to_peer;
	struct endpoint *end;
	int differs = 0, now;

	if (!from || !to)
		return 0;
	from_peer = from->peer[(__s32)(generation - from->since) >= 0];
	to_peer = to->peer[(__s32)(generation - to->since) >= 0];
	if (to->ifindex) {
		end = bpf_map_lookup_elem(&endpoints, &to->ifindex);
		if (!end)
			return 0;
		now = (__s32)(generation - end->since) >= 0;
		ingress = audit_id(end->ingress_audit, end->ingress_policy, now, &differs);
	}
	if (from->ifindex) {
		end = bpf_map_lookup_elem(&endpoints, &from->ifindex);
		if (!end)
			return 0;
		now = (__s32)(generation - end->since) >= 0;
		c->owner = end->id;
		egress = audit_id(end->egress_audit, end->egress_policy, now, &differs);
	}
	if (!differs)
		return 0;
	c->source_identity = from_peer.identity;
	c->destination_identity = to_peer.identity;
	return judge_side(DIRECTION_EGRESS, egress, to_peer.class_id, key) && judge_side(DIRECTION_INGRESS, ingress, from_peer.class_id, key);
}

/* The original direction of the packet's connection: its ends into w->source and w->destination, its key returned. 0: it has none. */
static __always_inline __u32 audited_ends(struct work *w)
{
	struct ct_entry *entry;

	w->source = w->packet.saddr;
	w->destination = w->packet.daddr;
	if (!w->observation.is_reply)
		return policy_key(&w->packet);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (!entry)
		return 0;
	w->source = w->packet.daddr;
	w->destination = w->packet.saddr;
	return entry->policy_key;
}

/* The last to read w->connection. */
__noinline int audit_packet(enum drop_reason was)
{
	struct work *w = this_work();
	enum drop_reason would;
	struct observation *o;
	__u32 key;

	if (!w)
		return 0;
	o = &w->observation;
	if (o->service & SERVICE_HAIRPIN || w->ct_key.leg)
		return 0;
	if (was && was != DROP_POLICY_DENIED && was != DROP_POLICY_DENY)
		return 0;	/* whatever policies say */
	key = audited_ends(w);
	if (!key || !judge_audit(w, key))
		return 0;
	would = denial(&w->connection.egress);
	if (!would)
		would = denial(&w->connection.ingress);
	if (!would == !was)
		return 0;
	if (would)
		o->direction = denied_at(&w->connection);
	o->live = o->event ? o->event : FLOW_CHANGE;
	o->event = FLOW_AUDIT;
	o->reason = would;
	write_record(w);
	o->reason = was;
	return 1;
}
