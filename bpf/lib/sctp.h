/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A port of an SCTP packet changes, and with it the checksum: CRC32c over all of it (RFC 9260, 6.8), which no helper knows. It is linear:
 * what a difference in the first four bytes adds depends on the length behind it alone, x^8 to the power of the length, modulo the polynomial. */
#pragma once
#include "nat.h"

#define CRC32C_POLYNOMIAL 0x82f63b78	/* bits reversed: the highest is x^0 */
#define CRC32C_X8 0x00800000
#define SCTP_CHECKSUM 8
#define LENGTH_BITS 16

/* Global, so that the verifier walks it once. */
__noinline __u32 crc32c_times(__u32 a, __u32 b)
{
	__u32 product = 0;
	int i;

	/* Without a branch: else the verifier would walk each way. */
#pragma clang loop unroll(disable)
	for (i = 0; i < 32; i++) {
		product ^= a & -(b >> 31);
		b <<= 1;
		a = (a >> 1) ^ (CRC32C_POLYNOMIAL & -(a & 1));
	}
	return product;
}

static __always_inline __u32 crc32c_behind(__u32 difference, __u32 length)
{
	__u32 power = CRC32C_X8;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < LENGTH_BITS; i++) {
		__u32 product = crc32c_times(difference, power);

		difference ^= (difference ^ product) & -(length & 1);
		length >>= 1;
		power = crc32c_times(power, power);
	}
	return difference;
}

/* Of the whole packet: of its first fragment nobody knows how much follows. Less than 0: failed. */
__noinline int rewrite_sctp_port(struct __sk_buff *skb, __u32 source, __u32 to)
{
	struct work *w = this_work();
	__u32 checksum, difference;
	struct ports was, is;
	struct packet *p;
	__be16 length;
	__u32 end;

	if (!w)
		return -1;
	p = &w->packet;
	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (p->fragment || bpf_skb_load_bytes(skb, ETH_HLEN + (p->ipv4 ? 2 : 4), &length, 2) || bpf_skb_load_bytes(skb, p->l4, &was, sizeof(was)) ||
	    bpf_skb_load_bytes(skb, p->l4 + SCTP_CHECKSUM, &checksum, sizeof(checksum)))
		return -1;
	end = ETH_HLEN + bpf_ntohs(length) + (p->ipv4 ? 0 : sizeof(struct ipv6hdr));
	is = was;
	if (source)
		is.source = to;
	else
		is.destination = to;
	if (bpf_skb_store_bytes(skb, p->l4, &is, sizeof(is), 0))
		return -1;
	/* Not there yet: the device fills it in (CHECKSUM_PARTIAL), over a zero. */
	if (!checksum)
		return 0;
	difference = (__u32)(was.source ^ is.source) | (__u32)(was.destination ^ is.destination) << 16;
	checksum ^= crc32c_behind(difference, end - p->l4);
	return bpf_skb_store_bytes(skb, p->l4 + SCTP_CHECKSUM, &checksum, sizeof(checksum), 0);
}
