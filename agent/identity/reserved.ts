// Identities with fixed numbers (below 256): the node itself, the outside and what Kubernetes runs on nodes.
import type { IdentityInput } from '../policy/image.ts';

const NUMBERS = {
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
} as const;

export type ReservedName = keyof typeof NUMBERS;

export const RESERVED: Readonly<Record<ReservedName, number>> = NUMBERS;

/** Numbers from here on are free for workloads. */
export const FIRST_WORKLOAD_IDENTITY = 256;
export const LAST_WORKLOAD_IDENTITY = 65_535;
/** Identities that only this node knows: those of address prefixes. */
export const FIRST_LOCAL_IDENTITY = 0x01000001;
export const LAST_LOCAL_IDENTITY = 0x01ffffff;

export const isReservedName = (name: string): name is ReservedName => Object.hasOwn(NUMBERS, name);

export const reservedName = (id: number): ReservedName | undefined =>
  (Object.keys(NUMBERS) as ReservedName[]).find((name) => NUMBERS[name] === id);

/** The API server sits on a node, so its identity is that of a remote node too. */
export const reservedLabels = (name: ReservedName): string[] =>
  name === 'kube-apiserver' ? ['reserved:kube-apiserver=', 'reserved:remote-node='] : [`reserved:${name}=`];

/** Every reserved identity with its labels, in the order of their numbers. */
export const reservedIdentities = (): IdentityInput[] =>
  (Object.keys(NUMBERS) as ReservedName[]).map((name) => ({ id: NUMBERS[name], labels: reservedLabels(name) }));
