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
};

#pragma clang attribute pop

enum { TCP_STATE_ESTABLISHED = 1, TCP_STATE_FIN_WAIT1 = 4, TCP_STATE_FIN_WAIT2 = 5 };	/* linux/tcp.h of the kernel */
enum { SHUTDOWN_RECEIVE = 1 };

/* Bytes that wait to be read; -1: the end takes no message now. `own` and `peer` are the two sockets of a connection.
 * What went as packets must be read to its end before anything is put into the other queue, which is read first: our next sequence number
 * is then the one that the reader will read next. No other socket's numbers agree, should `peer` be an address where another stands by now. */
static __always_inline int unread_bytes(const struct tcp_sock *own, const struct tcp_sock *peer)
{
	const struct sock *sk = (const struct sock *)peer;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	int unread = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);

	if (own->write_seq != BPF_CORE_READ(peer, copied_seq))
		return -1;
	if (state != TCP_STATE_ESTABLISHED && state != TCP_STATE_FIN_WAIT1 && state != TCP_STATE_FIN_WAIT2)
		return -1;
	if (unread >= BPF_CORE_READ(sk, sk_rcvbuf))
		return -1;
	/* Packets honour a low-water mark and encryption in the kernel, messages do not. */
	if (BPF_CORE_READ(sk, sk_rcvlowat) > 1 || BPF_CORE_READ(peer, inet_conn.icsk_ulp_ops) || own->inet_conn.icsk_ulp_ops)
		return -1;
	return BPF_CORE_READ(sk, sk_shutdown) & SHUTDOWN_RECEIVE ? -1 : unread;
}
