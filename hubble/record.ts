// A flow record as it comes out of the kernel's ring: the fields of `struct flow_record` (bpf/lib/types.h) by their C names.
// Hubble's side of the seam: the agent decodes, this folder reads.

/** 16 bytes in network order; IPv4 as ::ffff:a.b.c.d. */
export interface Address { readonly word: Uint8Array }

/** One policy's answer, with what took part in it. */
export interface Judgement {
  readonly bits: bigint;
  readonly policy: number;
  readonly interval: number;
  readonly word: number;
  readonly action: number;
}

export interface FlowRecord {
  /** CLOCK_MONOTONIC. */
  readonly time_ns: bigint;
  readonly saddr: Address;
  readonly daddr: Address;
  readonly egress: Judgement;
  readonly ingress: Judgement;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Host order. ICMP: the code. */
  readonly sport: number;
  /** Host order. ICMP: the type. */
  readonly dport: number;
  readonly source_identity: number;
  readonly destination_identity: number;
  readonly generation: number;
  readonly ifindex: number;
  readonly smac: Uint8Array;
  readonly dmac: Uint8Array;
  readonly protocol: number;
  readonly tcp_flags: number;
  readonly event: number;
  readonly reason: number;
  readonly direction: number;
  readonly is_reply: number;
  readonly observation_point: number;
}

/** `enum action`. */
export const action = { allow: 1, deny: 2, defaultDeny: 3 } as const;
/** `enum flow_event`. */
export const flowEvent = { opened: 1, change: 2, active: 3, close: 4, drop: 5 } as const;
