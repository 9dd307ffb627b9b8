/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The clock of connections and learned addresses: units of 2^20 ns in 32 bits (TICK_SHIFT). */
#pragma once
#include <bpf/bpf_helpers.h>
#include "types.h"

#define SECOND 1000000000ULL
#define TICKS(seconds) ((__u32)((seconds) * SECOND >> TICK_SHIFT))

static __always_inline __u32 ticks(void)
{
	return bpf_ktime_get_ns() >> TICK_SHIFT;
}
