/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The object that the agent loads: one program per hook, all on the same maps. */
#include "from_netdev.c"
#include "from_overlay.c"
#include "from_proxy.c"
#include "from_workload.c"
#include "dns.c"
#include "dns_tcp.c"
#include "netns_cookie.c"
#include "proxy_socket.c"
#include "socket.c"
#include "socket_bind.c"
#include "sweep.c"
#include "to_netdev.c"
#include "to_workload.c"
#include "xdp.c"

char weir_license[] SEC("license") = "Dual BSD/GPL";
