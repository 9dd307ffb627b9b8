/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Layouts of masquerading, a part of types.h. Two rows per connection: towards the outside (local = the workload's) and back (local = this node's). */
#pragma once

struct nat_key {
	struct addr remote;
	struct addr local;
	__be16 remote_port;
	__be16 local_port;
	__u8 protocol;
	__u8 direction;		/* enum direction */
	__u8 leg;		/* of its connection; DIRECTION_INGRESS: 0 */
	__u8 pad;
};

struct nat_value {
	struct addr addr;	/* what the local side becomes */
	__be16 port;
	__u8 leg;		/* of its connection */
	__u8 pad;
};

/* Key: ifindex of a device that leads out of this node. All zero: no address of that family, nothing is masqueraded. */
struct netdev {
	struct addr ipv4;
	struct addr ipv6;
};
