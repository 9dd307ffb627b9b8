/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* cgroup hook before a bind, attached while an agent runs: the agent binds a socket in a network namespace and is told the cookie of that
 * (agent/datapath/clients.ts). SO_NETNS_COOKIE, which tells it as well, came with 5.14. */
#include "lib/maps.h"

SEC("cgroup/bind4")
int netns_cookie(struct bpf_sock_addr *ctx)
{
	__u32 zero = 0;
	struct netns_question *question = bpf_map_lookup_elem(&netns_questions, &zero);

	if (question && question->socket && question->socket == bpf_get_socket_cookie(ctx))
		question->netns = bpf_get_netns_cookie(ctx);
	return 1;
}
