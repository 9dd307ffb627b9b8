/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A DNS message (RFC 1035, 4): out of its packet into a row of this CPU, its header, the name that it asks for. */
#pragma once
#include "maps.h"
#include "packet.h"
#include "work.h"

#define DNS_HEAD 12
#define DNS_SHORTEST (DNS_HEAD + 1 + 4)	/* a question for the root */
#define DNS_LONGEST 255			/* of a name on the wire (RFC 1035, 2.3.4) */
#define DNS_LABEL 63
#define DNS_POINTER 0xc0

/* Second and third byte of the header's flags (RFC 1035, 4.1.1; RFC 6840, 5.9 for CD). */
enum dns_flag { DNS_QR = 0x80, DNS_OPCODE = 0x78, DNS_TC = 0x02, DNS_RD = 0x01, DNS_RA = 0x80, DNS_CD = 0x10, DNS_RCODE = 0x0f };
enum { DNS_RCODE_REFUSED = 5, DNS_CLASS_IN = 1, DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_AAAA = 28 };

struct dns_head { __be16 id; __u8 flags[2]; __be16 questions, answers, authorities, additions; };

/* A name under way. */
struct dns_reading {
	__u32 at;
	__u32 begin;		/* of its part that is read */
	__u32 end;		/* behind its first pointer; 0: none yet */
	__u32 total;		/* its length so far; read backwards, the labels left */
};

/* The room behind a message is read where its last field is cut short, never believed. */
struct dns_work {
	__u8 message[2048 + 32];
	__u8 symbol[256];	/* the name as text: a dot where the wire has a length, the first of them in front */
	__u8 label[128];	/* where each label's dot stands */
	__u32 labels;
	__u32 selectors[DNS_MATCHES + 1];	/* those that match the name, zeros behind them */
	struct dns_record record;
	__u64 tag;		/* of the query that this is, or answers */
	__u32 length;		/* of the message */
	__u32 at;		/* what is read next */
	__u32 class;		/* asked for */
	struct addr server;	/* as the client knows it */
	__u32 strange;		/* the name has characters that no rule can name */
	__u32 unread;		/* enum drop_reason: why not all of the message is here */
	__u32 version;		/* of the control row, when the query's name was matched */
	struct dns_reading reading;
	struct dns_address_key key;	/* the address in question */
	struct dns_address fresh;	/* its row, where it has none yet */
	__u32 expires[DNS_ANSWERS];	/* of the addresses in `record`, ticks */
};

MAP(dns_work_rows, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct dns_work, 1, 0);

static __always_inline struct dns_work *dns_row(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&dns_work_rows, &key);
}

static __always_inline void dns_count(enum dns_counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&dns_counters, &key);

	if (value)
		*value += 1;
}

static __always_inline enum drop_reason dns_unread(enum dns_counter which, enum drop_reason reason)
{
	dns_count(which);
	return reason;
}

/* What stands behind the UDP header, or the beginning of it: d->unread says why not all. A segment for the device to cut would carry messages
 * behind the first. */
static __noinline enum drop_reason dns_load(struct __sk_buff *skb, const struct packet *p, struct dns_work *d)
{
	struct { struct ports ports; __be16 length, checksum; } udp;
	__u32 length, l4 = p->l4;

	d->unread = DROP_NONE;
	if (p->fragment == FRAGMENT_LATER)
		return dns_unread(DNS_COUNT_UNREAD, DROP_FRAGMENT_NOT_SUPPORTED);
	if (bpf_skb_load_bytes(skb, l4, &udp, sizeof(udp)))
		return dns_unread(DNS_COUNT_MALFORMED, DROP_INVALID_PACKET);
	length = bpf_ntohs(udp.length);
	if (p->fragment)
		d->unread = DROP_FRAGMENT_NOT_SUPPORTED;
	else if (skb->gso_size || length > DNS_MESSAGE + sizeof(udp))
		d->unread = DROP_NOT_SUPPORTED_BY_PROXY;
	if (p->fragment && l4 + length > skb->len)
		length = skb->len - l4;
	if (length < sizeof(udp) + DNS_SHORTEST || l4 + length > skb->len)
		return dns_unread(DNS_COUNT_MALFORMED, DROP_INVALID_PACKET);
	length -= sizeof(udp);
	if (length > DNS_MESSAGE)
		length = DNS_MESSAGE;
	d->length = length;
	/* The verifier follows the register, not the variable. */
	asm volatile("" : "+r"(length));
	length &= 2047;
	if (length < DNS_SHORTEST || length > DNS_MESSAGE)
		return DROP_INVALID_PACKET;
	if (bpf_skb_load_bytes(skb, l4 + sizeof(udp), d->message, length))
		return dns_unread(DNS_COUNT_MALFORMED, DROP_INVALID_PACKET);
	return DROP_NONE;
}

/* What rules can name (agent/policy/formats.ts). A table, for each branch would be walked 255 times. */
enum { LETTER = 1, LETTER_UPPER = 2 };
static const __u8 letters[256] = { ['a' ... 'z'] = LETTER, ['0' ... '9'] = LETTER, ['-'] = LETTER, ['_'] = LETTER, ['A' ... 'Z'] = LETTER_UPPER };

/* The name of the first question, in lower case (RFC 4343), into d->record. A first name has nothing before it that it could point to.
 * Returns 0, or -1: there is none. */
__noinline int dns_read_name(void)
{
	struct dns_work *d = dns_row();
	__u32 i, left = 0, strange = 0;
	volatile __u32 *labels;	/* not in a register: the verifier would walk every number of them */

	if (!d)
		return -1;
	labels = &d->labels;
	*labels = 0;
	for (i = 0; i < DNS_LONGEST; i++) {
		__u8 c = d->message[DNS_HEAD + i];

		if (!left) {
			d->symbol[i] = '.';
			if (!c) {
				d->record.length = i;
				d->strange = strange;
				return 0;
			}
			if (c > DNS_LABEL)
				return -1;
			d->label[*labels & 127] = i;
			*labels += 1;
			left = c;
		} else {
			__u32 kind = letters[c];

			c |= (kind & LETTER_UPPER) << 4;
			d->symbol[i] = c;
			strange |= (kind - 1) >> 31;
			left--;
		}
		d->record.name.wire[i] = c;
	}
	return -1;
}

/* The first question; d->at: behind it. Returns 0, or -1: there is none. */
static __always_inline int dns_read_question(struct dns_work *d)
{
	__u32 end;

	__builtin_memset(&d->record.name, 0, sizeof(d->record.name));
	if (dns_read_name())
		return -1;
	end = DNS_HEAD + (d->record.length & 255) + 1;
	if (end + 4 > d->length)
		return -1;
	d->record.type = d->message[end] << 8 | d->message[end + 1];
	d->class = d->message[end + 2] << 8 | d->message[end + 3];
	d->at = end + 4;
	return 0;
}

static __always_inline void dns_begin(struct dns_work *d, const struct work *w, const struct endpoint *end, __u32 ifindex)
{
	struct dns_record *r = &d->record;

	r->time_ns = bpf_ktime_get_ns();
	r->latency_ns = 0;
	r->saddr = w->packet.saddr;
	r->daddr = w->packet.daddr;
	r->sport = w->packet.sport;
	r->dport = w->packet.dport;
	r->ifindex = ifindex;
	r->endpoint = end->id;
	r->ttl = 0;
	r->rcode = 0;
	r->addresses = 0;
	r->learned = 0;
	r->protocol = w->packet.protocol;
}

/* A question and nothing else but what stands behind it for the server alone (EDNS, RFC 6891). */
static __always_inline int is_query(const struct dns_work *d)
{
	const struct dns_head *head = (const struct dns_head *)d->message;

	return !(head->flags[0] & (DNS_QR | DNS_OPCODE)) && head->questions == bpf_htons(1) && !head->answers && !head->authorities;
}

/* `entry`: its connection. */
static __noinline int dns_tell(struct dns_work *d, enum dns_event event, const struct ct_entry *entry)
{
	__u32 size = d->record.addresses * sizeof(struct addr);

	d->record.source_identity = event == DNS_ANSWERED ? entry->destination_identity : entry->source_identity;
	d->record.destination_identity = event == DNS_ANSWERED ? entry->source_identity : entry->destination_identity;
	d->record.event = event;
	if (size > sizeof(d->record.address))
		size = sizeof(d->record.address);
	if (bpf_ringbuf_output(&dns_records, &d->record, __builtin_offsetof(struct dns_record, address) + size, BPF_RB_NO_WAKEUP))
		dns_count(DNS_COUNT_LOST);
	return 0;
}
