// Services of a record's two ends: who is reached by that address and port. Most ports are nobody's, which a bit says.
import { ipText } from './address.ts';
import { field } from './record.ts';
import type { Lookups } from './flow.ts';
import type { Service } from './types.ts';

export interface ServiceLookup {
  /** A bit for each port that any service or backend has. */
  readonly ports: Uint8Array;
  /** Moves with each change of what `at` says. */
  readonly revision: number;
  readonly at: (address: string, port: number, protocol: number) => Service | undefined;
}

export type Side = 'source' | 'destination';
export const places = { source: { address: field.saddr, port: field.sport }, destination: { address: field.daddr, port: field.dport } } as const;

/** `at`: where the record begins in `bytes`. */
export function serviceOf(bytes: Uint8Array, at: number, side: Side, { services }: Pick<Lookups, 'services'>): Service | undefined {
  if (services === undefined || !mayBeService(bytes, at, side, services)) return undefined;
  return services.at(ipText(bytes.subarray(at + places[side].address, at + places[side].address + 16)).text, portAt(bytes, at, side), bytes[at + field.protocol]!);
}

/** By the bits of ports alone. */
export const mayBeService = (bytes: Uint8Array, at: number, side: Side, services: ServiceLookup): boolean => hasPort(services, portAt(bytes, at, side));
export const hasPort = ({ ports }: ServiceLookup, port: number): boolean => (ports[port >> 3]! & (1 << (port & 7))) !== 0;

const portAt = (bytes: Uint8Array, at: number, side: Side): number => (bytes[at + places[side].port]! << 8) | bytes[at + places[side].port + 1]!;
