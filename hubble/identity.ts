// Identities with fixed numbers, as flows and flags name them.

const names = ['unknown', 'host', 'world', 'unmanaged', 'health', 'init', 'remote-node', 'kube-apiserver', 'ingress', 'world-ipv4', 'world-ipv6'] as const;

export const reservedIdentityName = (id: number): string | undefined => names[id];

export function reservedIdentity(name: string): number | undefined {
  const id = (names as readonly string[]).indexOf(name.toLowerCase());
  return id < 0 ? undefined : id;
}
