/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a cgroup socket hook returns when it refuses. */
#pragma once
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;

/* 0 alone is EPERM, and all that there is before 6.1. */
static __always_inline int refused(int error)
{
	if (LINUX_KERNEL_VERSION >= KERNEL_VERSION(6, 1, 0))
		bpf_set_retval(-error);
	return 0;
}
