/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The clock of rows that grow old: CLOCK_MONOTONIC in units of 2^TICK_SHIFT ns, 32 bits that turn over after 52 days. */
#pragma once
#include "maps.h"

#define SECOND 1000000000ULL
#define TICKS(seconds) ((__u32)((seconds) * SECOND >> TICK_SHIFT))

static __always_inline __u32 ticks(void)
{
	return bpf_ktime_get_ns() >> TICK_SHIFT;
}
