/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What sockmap.c shares with user space, beside ct_entry. */
#pragma once

enum sockmap_limit {
	MAX_SOCKETS = 65536,	/* of connections that may go from socket to socket: two for each */
	SOCKET_UNREAD = 256,	/* messages, since the receiver's queue was seen empty */
};

/* Which workloads' sockets are joined. */
enum sockmap_mode {
	SOCKMAP_OFF = 0,
	SOCKMAP_MARKED = 1,
	SOCKMAP_ALL = 2,
};

enum sockmap_counter {
	SOCKMAP_MESSAGES = 0,	/* that went from socket to socket */
	SOCKMAP_BYTES = 1,
	SOCKMAP_PACKETS = 2,	/* messages of joined sockets that went as packets */
	SOCKMAP_FULL = 3,	/* sockets that the table had no room for */
	SOCKMAP_COUNTERS = 4,
};
