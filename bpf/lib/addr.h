/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Addresses of both families in the one form that the tables have. */
#pragma once
#include <bpf/bpf_endian.h>
#include "types.h"

static __always_inline void addr_from_ipv4(struct addr *to, __be32 from)
{
	to->word[0] = 0;
	to->word[1] = 0;
	to->word[2] = bpf_htonl(0xffff);
	to->word[3] = from;
}
