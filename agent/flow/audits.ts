// What audited policies would have done, counted from the audit records: by policy, endpoint, peer, port and both verdicts.
// `weir policy audit-report` prints it. Since this agent started, and only of the versions of policies that are audited now.
import { protocolName } from '../policy/icmp.ts';
import type { Direction, PolicyRef } from '../policy/image.ts';
import { action, direction as directions, flow_event, type FlowRecord } from '../../bpf/types.gen.ts';
import { ipText } from '../../hubble/address.ts';
import { endpointOf, protocolNumber, type Lookups } from '../../hubble/flow.ts';
import { decodeRecord, field, headerBytes, recordBytes, slotBytes } from '../../hubble/record.ts';

interface Counted {
  readonly policy: PolicyRef;
  readonly endpoint: string;
  readonly direction: Direction;
  readonly peer: string;
  readonly port: string;
  readonly is: 'allowed' | 'denied';
  readonly wouldBe: 'allowed' | 'denied';
}

export interface AuditRow extends Counted {
  /** Connections; packets where they are dropped. */
  readonly count: number;
  readonly firstSeen: string;
  readonly lastSeen: string;
}

/** `version`: of the policy; rows of another one go. Times as records have them. */
interface Row extends Counted { readonly version: string; count: number; readonly firstNs: bigint; lastNs: bigint }

const mostRows = 4_096;
/** Kinds of records that are remembered by their bytes: then all are forgotten, and named anew. */
const mostKinds = 4_096;
const icmp = new Set<number>([protocolNumber.ICMPv4, protocolNumber.ICMPv6]);

const policyKey = ({ kind, namespace, name }: PolicyRef): string => `${kind}/${namespace}/${name}`;

export class Audits {
  readonly #lookups: Lookups;
  readonly #versionOf: (key: string) => string | undefined;
  readonly #rows = new Map<string, Row>();
  readonly #kinds = new Map<string, readonly Row[]>();
  #changedNs = 0;
  #uncounted = 0;

  /** `versionOf`: of `Kind/namespace/name`; undefined: it is not audited. */
  constructor(lookups: Lookups, versionOf: (key: string) => string | undefined) {
    this.#lookups = lookups;
    this.#versionOf = versionOf;
  }

  /** Records that found the table full. */
  get uncounted(): number { return this.#uncounted; }

  /** The busiest first. */
  rows(): AuditRow[] {
    for (const [key, row] of [...this.#rows]) if (!this.#isCurrent(row)) this.#rows.delete(key);
    const text = (ns: bigint): string => new Date(Number(this.#lookups.toUnixNs(ns) / 1_000_000n)).toISOString();
    return [...this.#rows.values()].sort((a, b) => b.count - a.count)
      .map(({ version: _, firstNs, lastNs, ...row }) => ({ ...row, firstSeen: text(firstNs), lastSeen: text(lastNs) }));
  }

  /** Each behind its header, as the kernel's ring has them. */
  records(slots: Uint8Array): void {
    for (let at = headerBytes; at < slots.length; at += slotBytes) {
      if (slots[at + field.event] === flow_event.FLOW_AUDIT) this.#count(Buffer.from(slots.buffer, slots.byteOffset + at, recordBytes));
    }
  }

  /** Only the first of a kind is decoded. */
  #count(bytes: Buffer): void {
    const changedNs = this.#lookups.changedNs();
    if (changedNs !== this.#changedNs || this.#kinds.size >= mostKinds) this.#kinds.clear();
    this.#changedNs = changedNs;
    const kind = kindOf(bytes);
    let rows = this.#kinds.get(kind);
    if (rows === undefined || !rows.every((row) => this.#isCurrent(row))) {
      rows = this.#rowsOf(decodeRecord(new DataView(bytes.buffer, bytes.byteOffset), 0));
      if (rows.length > 0) this.#kinds.set(kind, rows);
    }
    // A connection that goes on or ends was counted when it began.
    const live = bytes[field.live]!;
    const first = live !== flow_event.FLOW_ACTIVE && live !== flow_event.FLOW_CLOSE;
    const timeNs = bytes.readBigUInt64LE(field.time);
    for (const row of rows) {
      if (first || row.count === 0) row.count += 1;
      row.lastNs = timeNs;
    }
  }

  #rowsOf(record: FlowRecord): Row[] {
    const found: Row[] = [];
    for (const side of sidesOf(record)) {
      const timeNs = Number(record.time_ns);
      const policies = this.#lookups.policies(record[side], side, timeNs).flatMap((policy) => {
        const version = this.#versionOf(policyKey(policy));
        return version === undefined ? [] : [{ policy, version }];
      });
      // The packet's ends, turned to those of its connection.
      const isSource = (side === 'egress') !== (record.is_reply !== 0);
      const ends = [this.#nameOf(record.saddr.word, record.source_identity, timeNs), this.#nameOf(record.daddr.word, record.destination_identity, timeNs)];
      const [endpoint, peer] = isSource ? [ends[0]!, ends[1]!] : [ends[1]!, ends[0]!];
      for (const { policy: { kind, namespace, name }, version } of policies) {
        const row = this.#row({
          version, policy: { kind, namespace, name }, endpoint, direction: side, peer, port: portOf(record),
          is: record.live === flow_event.FLOW_DROP ? 'denied' : 'allowed', wouldBe: record.reason === 0 ? 'allowed' : 'denied',
          count: 0, firstNs: record.time_ns, lastNs: record.time_ns,
        });
        if (row !== undefined) found.push(row);
      }
    }
    return found;
  }

  #isCurrent({ policy, version }: Row): boolean { return this.#versionOf(policyKey(policy)) === version; }

  #row(row: Row): Row | undefined {
    const key = [policyKey(row.policy), row.endpoint, row.direction, row.peer, row.port, row.is].join(' ');
    const known = this.#rows.get(key);
    if (known?.version === row.version) return known;
    if (known === undefined && this.#rows.size >= mostRows) {
      this.#uncounted += 1;
      return undefined;
    }
    this.#rows.set(key, row);
    return row;
  }

  #nameOf(address: Uint8Array, identity: number, timeNs: number): string {
    const { text } = ipText(address);
    const end = endpointOf(text, identity, timeNs, this.#lookups);
    if (end.pod_name !== undefined) return `${end.namespace ?? ''}/${end.pod_name}`;
    const reserved = end.labels?.find((label) => label.startsWith('reserved:'));
    return reserved === undefined ? text : `${text} (${reserved.slice('reserved:'.length)})`;
  }
}

/** All that a row says, and nothing that two records of it differ in. */
function kindOf(bytes: Buffer): string {
  const port = bytes[field.isReply] === 0 ? field.dport : field.sport;
  return `${bytes.toString('latin1', field.saddr, field.packets)}${bytes.toString('latin1', port, port + 2)}${bytes.toString('latin1', field.sourceIdentity, field.generation)}`
    + `${bytes[field.protocol]} ${bytes[field.reason]} ${bytes[field.direction]} ${bytes[field.isReply]} ${bytes[field.live] === flow_event.FLOW_DROP}`;
}

/** Those that would deny; where it would be allowed, the one that denies now. */
function sidesOf(record: FlowRecord): Direction[] {
  if (record.reason === 0) return [record.direction === directions.DIRECTION_EGRESS ? 'egress' : 'ingress'];
  return (['egress', 'ingress'] as const).filter((side) => record[side].action === action.ACTION_DENY || record[side].action === action.ACTION_DEFAULT_DENY);
}

function portOf({ protocol, sport, dport, is_reply: isReply }: FlowRecord): string {
  return icmp.has(protocol) ? protocolName(protocol) : `${isReply ? sport : dport}/${protocolName(protocol)}`;
}
