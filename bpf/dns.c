/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* DNS where a rule names what may be asked for: queries are judged by name, answers give addresses before they are handed on. The other
 * programs come here by tail call, with the packet parsed and judged in this CPU's rows; what cannot be read is dropped. */
#include "lib/deliver.h"
#include "lib/dns_cut.h"
#include "lib/dns_learn.h"
#include "lib/dns_match.h"
#include "lib/dns_message.h"
#include "lib/dns_wait.h"

/* The query becomes its own answer and goes back to who sent it, from whom it was sent to. Both sums over addresses and ports stay as
 * they are. */
static __always_inline int answer_refused(struct __sk_buff *skb, struct work *w, const struct endpoint *end)
{
	const struct packet *p = &w->packet;
	struct { __u8 dmac[6], smac[6]; } head;
	struct ports ports = {};
	struct addr ipv6[2];
	__be16 before, after;
	__be32 ipv4[2];
	__u8 flags[2];

	if (w->observation.service & SERVICE_TO_BACKEND && rewrite_destination(skb, w, &w->frontend, w->frontend_port))
		return TC_ACT_SHOT;
	ports.source = p->dport;
	ports.destination = p->sport;
	ipv4[0] = p->daddr.word[3];
	ipv4[1] = p->saddr.word[3];
	ipv6[0] = p->daddr;
	ipv6[1] = p->saddr;
	mac_copy(head.dmac, end->mac);
	mac_copy(head.smac, end->host_mac);
	if (bpf_skb_load_bytes(skb, p->l4 + 8 + 2, &before, sizeof(before)))
		return TC_ACT_SHOT;
	__builtin_memcpy(flags, &before, sizeof(flags));
	flags[0] = DNS_QR | (flags[0] & DNS_RD);
	flags[1] = DNS_RA | (flags[1] & DNS_CD) | DNS_RCODE_REFUSED;
	__builtin_memcpy(&after, flags, sizeof(after));
	if (bpf_skb_store_bytes(skb, p->l4 + 8 + 2, &after, sizeof(after), 0) ||
	    bpf_l4_csum_replace(skb, p->l4 + 6, before, after, sizeof(after) | BPF_F_MARK_MANGLED_0) ||
	    bpf_skb_store_bytes(skb, p->l4, &ports, sizeof(ports), 0) ||
	    bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0))
		return TC_ACT_SHOT;
	if (p->ipv4 ? bpf_skb_store_bytes(skb, ETH_HLEN + 12, ipv4, sizeof(ipv4), 0) : bpf_skb_store_bytes(skb, ETH_HLEN + 8, ipv6, sizeof(ipv6), 0))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(skb->ifindex, 0);
}

/* The step that the connection was let through by, in this generation, also lets the name be asked for. */
static __always_inline int was_allowed(const struct ct_entry *entry, __u32 generation)
{
	const struct judgement *judged = &entry->egress;

	return entry->generation == generation && judged->action == ACTION_DNS && asked_bits(judged->policy, judged->word) & judged->bits;
}

/* From a workload, ACTION_DNS. */
SEC("tc")
int dns_query(struct __sk_buff *skb)
{
	__u32 zero = 0, ifindex = skb->ifindex;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);
	struct endpoint *end = bpf_map_lookup_elem(&endpoints, &ifindex);
	struct dns_control *control = dns_control();
	struct dns_work *d = dns_row();
	enum drop_reason reason;
	struct ct_entry *entry;
	struct packet *p;
	__u32 matches;

	if (!w || !d || !end || !control)
		return TC_ACT_SHOT;
	p = &w->packet;
	reason = dns_load(skb, p, d);
	if (!reason && d->unread)
		reason = dns_unread(DNS_COUNT_UNREAD, d->unread);
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	dns_begin(d, w, end, ifindex);
	if (!is_query(d) || dns_read_question(d)) {
		dns_count(DNS_COUNT_MALFORMED);
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_PACKET);
	}
	d->version = control->version;
	matches = dns_match();
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (!entry)
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_EP_NOT_READY);
	if (!was_allowed(entry, w->observation.generation) && !may_ask_here(w, end)) {
		dns_count(DNS_COUNT_REFUSED);
		d->record.rcode = DNS_RCODE_REFUSED;
		dns_tell(d, DNS_REFUSED, entry);
		return answer_refused(skb, w, end);
	}
	/* As the answer will carry it when it is read: from the frontend again. */
	if (w->observation.service & SERVICE_TO_BACKEND) {
		d->server = w->frontend;
		dns_tag((__u32)w->frontend_port << 16 | p->sport);
	} else {
		d->server = p->daddr;
		dns_tag((__u32)p->dport << 16 | p->sport);
	}
	dns_wait(d, matches);
	bpf_tail_call(skb, &dns_programs, DNS_PASSED);
	return drop_unjudged(w, DIRECTION_EGRESS, DROP_MISSED_TAIL_CALL);
}

/* A query that may be asked goes where its packet was judged to go. A program of its own for the verifier's sake. */
SEC("tc")
int dns_passed(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);

	return w ? hand_from_workload(skb, w) : TC_ACT_SHOT;
}

/* Takes away the query that the message answers: from the server, to the port, with the id and for the name that it had. 0: there is none. */
static __always_inline int was_asked(struct dns_work *d, const struct packet *p)
{
	if (dns_read_question(d))
		return 0;
	d->server = p->saddr;
	dns_tag((__u32)p->sport << 16 | p->dport);
	return dns_take(d);
}

/* As flows are told: the backend, not its frontend. */
static __always_inline void record_backend(struct dns_record *r, const struct ct_key *key)
{
	int second = addr_equal(&key->addr[0], &r->daddr);

	r->saddr = second ? key->addr[1] : key->addr[0];
	r->sport = second ? key->port[1] : key->port[0];
}

/* Reads the answer in `skb`, which is for the workload at w->to. DROP_NONE: its addresses stand in the map, it may be handed over. */
static __noinline enum drop_reason learn_answer(struct __sk_buff *skb, struct work *w)
{
	struct endpoint *end = bpf_map_lookup_elem(&endpoints, &w->to.ifindex);
	const struct dns_head *head;
	struct dns_work *d = dns_row();
	struct dns_control *control;
	enum drop_reason reason;
	struct ct_entry *entry;
	__u32 answers, i;

	if (!end || !d)
		return DROP_EP_NOT_READY;
	reason = dns_load(skb, &w->packet, d);
	if (reason)
		return reason;
	head = (const struct dns_head *)d->message;
	dns_begin(d, w, end, w->to.ifindex);
	if (w->observation.service & SERVICE_REPLY)
		record_backend(&d->record, &w->ct_key);
	if ((head->flags[0] & (DNS_QR | DNS_OPCODE)) != DNS_QR || head->questions != bpf_htons(1))
		return dns_unread(DNS_COUNT_MALFORMED, DROP_INVALID_PACKET);
	if (!was_asked(d, &w->packet))
		return dns_unread(DNS_COUNT_UNASKED, DROP_INVALID_PACKET);
	d->record.rcode = head->flags[1] & DNS_RCODE;
	/* Cut short, it is asked again by TCP; with an error it has nothing to learn. */
	answers = head->flags[0] & DNS_TC || d->record.rcode ? 0 : bpf_ntohs(head->answers);
	if (answers > DNS_ANSWERS)
		d->unread = DROP_NOT_SUPPORTED_BY_PROXY;
	if (d->unread) {
		if (dns_cut(skb))
			return dns_unread(DNS_COUNT_UNREAD, d->unread);
		dns_count(DNS_COUNT_CUT);
		answers = 0;
	}
	control = dns_control();
	if (!control || !d->version || d->version != control->version)
		dns_match();
	for (i = 0; i < DNS_ANSWERS; i++) {
		if (i >= answers)
			break;
		if (dns_read_record())
			return dns_unread(DNS_COUNT_MALFORMED, DROP_INVALID_PACKET);
	}
	/* Not before all of it could be read. */
	for (i = 0; i < DNS_ANSWERS; i++) {
		if (i >= d->record.addresses)
			break;
		d->record.learned += dns_learn(i);
	}
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (entry)
		dns_tell(d, DNS_ANSWERED, entry);
	else
		dns_count(DNS_COUNT_LOST);
	return DROP_NONE;
}

/* To a workload, straight into its namespace. */
SEC("tc")
int dns_answer(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);
	enum drop_reason reason;

	if (!w)
		return TC_ACT_SHOT;
	reason = learn_answer(skb, w);
	return reason ? drop_unjudged(w, DIRECTION_INGRESS, reason) : hand_to_workload(skb, w, w->to.ifindex);
}

/* To a workload, from the host's stack. */
SEC("tc")
int dns_answer_host(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &zero);
	enum drop_reason reason;

	if (!w)
		return TC_ACT_SHOT;
	reason = learn_answer(skb, w);
	return reason ? drop_unjudged(w, DIRECTION_INGRESS, reason) : TC_ACT_OK;
}
