/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What sockmap.c reads of the kernel's sockets. The running kernel's BTF says where it stands (CO-RE). */
#pragma once
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	unsigned char skc_state;
};

struct rmem {
	int counter;
};

struct sock {
	struct sock_common __sk_common;
	int sk_rcvlowat;
	int sk_rcvbuf;
	struct {
		struct rmem rmem_alloc;
	} sk_backlog;
	__u8 sk_shutdown;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const void *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq;
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 rcv_wup;
	__u32 rcv_wnd;
};

#pragma clang attribute pop

enum { TCP_STATE_ESTABLISHED = 1, TCP_STATE_FIN_WAIT1 = 4, TCP_STATE_FIN_WAIT2 = 5 };	/* linux/tcp.h of the kernel */
enum { SHUTDOWN_RECEIVE = 1, SHUTDOWN_SEND = 2 };

/* Whether bytes that `own` sends may go straight to `peer`, the other end. What went as packets must be read to its end before anything
 * is put into the other queue, which is read first: our next sequence number is then the one that the reader will read next. No other
 * socket's numbers agree, should `peer` be an address where another stands by now. Packets honour a low-water mark and encryption in the kernel,
 * and are refused after a FIN. */
static __always_inline int in_step(const struct tcp_sock *own, const struct tcp_sock *peer)
{
	const struct sock *sk = (const struct sock *)peer;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return own->write_seq == BPF_CORE_READ(peer, copied_seq) &&
	       (state == TCP_STATE_ESTABLISHED || state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2) &&
	       !(own->inet_conn.icsk_inet.sk.sk_shutdown & SHUTDOWN_SEND) && !(BPF_CORE_READ(sk, sk_shutdown) & SHUTDOWN_RECEIVE) && BPF_CORE_READ(sk, sk_rcvlowat) <= 1 &&
	       !own->inet_conn.icsk_ulp_ops && !BPF_CORE_READ(peer, inet_conn.icsk_ulp_ops);
}

static __always_inline int unread_bytes(const struct tcp_sock *peer)
{
	return BPF_CORE_READ((const struct sock *)peer, sk_backlog.rmem_alloc.counter);
}

/* Bytes that the receive buffer has for neither what is unread nor the window that packets were promised, with an eighth for their skbs:
 * else they would be dropped when they come, and sent again by timeout; reading the other queue opens no window. */
static __always_inline int spare_bytes(const struct tcp_sock *peer, int unread)
{
	int window = BPF_CORE_READ(peer, rcv_wup) + BPF_CORE_READ(peer, rcv_wnd) - BPF_CORE_READ(peer, rcv_nxt);

	return BPF_CORE_READ((const struct sock *)peer, sk_rcvbuf) - unread - window - (window >> 3);
}
