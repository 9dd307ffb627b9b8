// What kube-proxy would put in place for the same services, by its published schemes: nftables (a verdict map of all services, a chain for each
// and for each backend) and iptables (a rule for each service, one after the other). Written here from those descriptions, for IPv4.
export interface BenchService { readonly address: string; readonly port: number; readonly backend: string; readonly backendPort: number }

/** Pods' own range: what comes from elsewhere would be masqueraded. */
const pods = '10.77.0.0/16';
const mark = '0x4000';

export function nftables(services: readonly BenchService[]): string {
  const elements = services.map(({ address, port }, index) => `      ${address} . tcp . ${port} : goto service-${index},`);
  const chains = services.flatMap(({ address, port, backend, backendPort }, index) => [
    `  chain service-${index} {`, `    ip daddr ${address} tcp dport ${port} ip saddr != ${pods} jump mark-for-masquerade`, `    numgen random mod 1 vmap { 0 : goto endpoint-${index} }`, '  }',
    `  chain endpoint-${index} {`, `    ip saddr ${backend} jump mark-for-masquerade`, `    meta l4proto tcp dnat to ${backend}:${backendPort}`, '  }',
  ]);
  return [
    'table ip kube-proxy {', '  chain mark-for-masquerade {', `    meta mark set meta mark or ${mark}`, '  }', ...chains,
    '  map service-ips {', '    type ipv4_addr . inet_proto . inet_service : verdict', '    elements = {', ...elements, '    }', '  }',
    '  map no-endpoint-services {', '    type ipv4_addr . inet_proto . inet_service : verdict', '  }', '  map service-nodeports {', '    type inet_proto . inet_service : verdict', '  }',
    '  chain services {', '    ip daddr . meta l4proto . th dport vmap @service-ips', '    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports', '  }',
    '  chain masquerading {', `    meta mark & ${mark} == 0 return`, `    meta mark set meta mark xor ${mark}`, '    masquerade fully-random', '  }',
    '  chain nat-prerouting {', '    type nat hook prerouting priority dstnat; policy accept;', '    jump services', '  }',
    '  chain nat-output {', '    type nat hook output priority -100; policy accept;', '    jump services', '  }',
    '  chain nat-postrouting {', '    type nat hook postrouting priority srcnat; policy accept;', '    jump masquerading', '  }',
    '  chain filter-forward {', '    type filter hook forward priority -110; policy accept;', '    ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services', '  }',
    '}', '',
  ].join('\n');
}

/** For iptables-restore. */
export function iptables(services: readonly BenchService[]): string {
  const each = (lines: (service: BenchService, index: number) => readonly string[]): string[] => services.flatMap(lines);
  return [
    '*nat', ':KUBE-SERVICES - [0:0]', ':KUBE-POSTROUTING - [0:0]', ':KUBE-MARK-MASQ - [0:0]',
    ...each((_, index) => [`:KUBE-SVC-${index} - [0:0]`, `:KUBE-SEP-${index} - [0:0]`]),
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES', '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    `-A KUBE-POSTROUTING -m mark ! --mark ${mark}/${mark} -j RETURN`, `-A KUBE-POSTROUTING -j MARK --xor-mark ${mark}`, '-A KUBE-POSTROUTING -j MASQUERADE --random-fully', `-A KUBE-MARK-MASQ -j MARK --or-mark ${mark}`,
    ...each(({ address, port }, index) => [`-A KUBE-SERVICES -d ${address}/32 -p tcp -m comment --comment "bench/s${index} cluster IP" -m tcp --dport ${port} -j KUBE-SVC-${index}`]),
    ...each(({ address, port, backend, backendPort }, index) => [
      `-A KUBE-SVC-${index} ! -s ${pods} -d ${address}/32 -p tcp -m tcp --dport ${port} -j KUBE-MARK-MASQ`, `-A KUBE-SVC-${index} -m comment --comment "bench/s${index} -> ${backend}:${backendPort}" -j KUBE-SEP-${index}`,
      `-A KUBE-SEP-${index} -s ${backend}/32 -j KUBE-MARK-MASQ`, `-A KUBE-SEP-${index} -p tcp -m tcp -j DNAT --to-destination ${backend}:${backendPort}`,
    ]),
    'COMMIT',
    '*filter', ':KUBE-FORWARD - [0:0]', '-A FORWARD -j KUBE-FORWARD', '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP', `-A KUBE-FORWARD -m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT', 'COMMIT', '',
  ].join('\n');
}

/** A user-space proxy that listens at each address; `limit`: connections at a time. */
export function haproxy(services: readonly BenchService[], limit = 1_000): string {
  return [
    'global', `  maxconn ${limit}`, 'defaults', '  mode tcp', '  timeout connect 5s', '  timeout client 1m', '  timeout server 1m',
    ...services.flatMap(({ address, port, backend, backendPort }, index) => [`listen s${index}`, `  bind ${address}:${port}`, `  server b ${backend}:${backendPort}`]), '',
  ].join('\n');
}
