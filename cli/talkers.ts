// Flows folded by who talks to whom: counts and rates, for the live table.
import { dropText } from '../hubble/print/words.ts';
import { flowType, type Flow } from '../hubble/types.ts';

export interface Talker {
  readonly source: string;
  readonly destination: string;
  readonly port: string;
  /** REDIRECTED: through Envoy. */
  readonly verdict: 'FORWARDED' | 'REDIRECTED' | 'DROPPED';
  /** The policies, or the reason when none was asked. */
  readonly decidedBy: string;
  /** Which node told. */
  readonly node: string;
  readonly total: number;
  readonly perSecond: number;
}

/** `seen`: how many in each slice of time, oldest first. */
interface Entry { talker: Omit<Talker, 'total' | 'perSecond'>; total: number; seen: { readonly atMs: number; count: number }[]; lastMs: number }

const windowMs = 10_000;
const sliceMs = 100;
const maxEntries = 2_000;
/** A pair that has changed its verdict loses the old one after so long a silence. */
const turnedMs = 2_000;
const verdicts: Readonly<Record<number, Talker['verdict']>> = { 1: 'FORWARDED', 2: 'DROPPED', 5: 'REDIRECTED' };
const passed = ['FORWARDED', 'REDIRECTED'] as const;

/** Rates are of connections that were opened or packets that were dropped, over the last ten seconds. */
export class Talkers {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) { this.#now = now; }

  /** The pair that `count` flows like this one belong to; undefined for replies and what Envoy sends on, which say nothing new. */
  count(flow: Flow, count: number): Talker | undefined {
    const talker = talkerOf(flow);
    if (talker === undefined || this.#isOnward(talker)) return undefined;
    const key = keyOf(talker);
    const entry = this.#entries.get(key) ?? { talker, total: 0, seen: [], lastMs: 0 };
    entry.talker = talker;
    entry.total += count;
    entry.lastMs = this.#now();
    const slice = entry.seen.at(-1);
    if (slice !== undefined && entry.lastMs - slice.atMs < sliceMs) slice.count += count;
    else entry.seen.push({ atMs: entry.lastMs, count });
    // Delete and set: the map's order is by last use, the oldest goes first.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
    return this.#told(entry);
  }

  /** Drops first, then the busiest. */
  top(limit: number): Talker[] {
    return [...this.#entries.values()].filter((entry) => !this.#turned(entry)).map((entry) => this.#told(entry))
      .sort((a, b) => Number(b.verdict === 'DROPPED') - Number(a.verdict === 'DROPPED') || b.perSecond - a.perSecond || b.total - a.total).slice(0, limit);
  }

  /** Envoy's own connection for a client: judged no more. */
  #isOnward(talker: Entry['talker']): boolean {
    return talker.verdict === 'FORWARDED' && talker.decidedBy === '' && this.#entries.has(keyOf({ ...talker, verdict: 'REDIRECTED' }));
  }

  #turned({ talker, lastMs }: Entry): boolean {
    const others = talker.verdict === 'DROPPED' ? passed : ['DROPPED'] as const;
    return lastMs < this.#now() - turnedMs && others.some((verdict) => (this.#entries.get(keyOf({ ...talker, verdict }))?.lastMs ?? 0) > lastMs);
  }

  #told(entry: Entry): Talker {
    const since = this.#now() - windowMs;
    while (entry.seen.length > 0 && entry.seen[0]!.atMs < since) entry.seen.shift();
    return { ...entry.talker, total: entry.total, perSecond: entry.seen.reduce((sum, { count }) => sum + count, 0) / (windowMs / 1000) };
  }
}

const keyOf = ({ source, destination, port, verdict }: Entry['talker']): string => `${source} ${destination} ${port} ${verdict}`;

function talkerOf(flow: Flow): Entry['talker'] | undefined {
  const isReply = flow.is_reply?.value === true;
  const verdict = verdicts[flow.verdict ?? 0];
  // What passed at layer 7 went in a connection that was told of.
  if (verdict === undefined || (flow.Type === flowType.l7 && verdict === 'FORWARDED') || (isReply && verdict !== 'DROPPED')) return undefined;
  const policies = verdict === 'DROPPED' ? [...flow.egress_denied_by ?? [], ...flow.ingress_denied_by ?? []] : [...flow.egress_allowed_by ?? [], ...flow.ingress_allowed_by ?? []];
  return {
    source: endName(flow.source, flow.IP?.source), destination: endName(flow.destination, flow.IP?.destination), port: portOf(flow), verdict, node: flow.node_name ?? '',
    decidedBy: [...new Set(policies.map((policy) => policy.name ?? ''))].join(', ') || (verdict !== 'DROPPED' ? '' : flow.l7?.dns === undefined ? dropText(flow.drop_reason_desc ?? 0) : 'no rule allows the name'),
  };
}

const endName = (end: Flow['source'], address: string | undefined): string => {
  if (end?.pod_name) return `${end.namespace ?? ''}/${end.pod_name}`;
  const reserved = end?.labels?.find((label) => label.startsWith('reserved:'));
  return reserved === undefined ? address ?? '?' : `${address ?? ''} (${reserved.slice('reserved:'.length).replace(/=$/, '')})`;
};

function portOf(flow: Flow): string {
  const { TCP, UDP, SCTP, ICMPv4, ICMPv6 } = flow.l4 ?? {};
  if (TCP) return `${TCP.destination_port ?? 0}/TCP`;
  if (UDP) return `${UDP.destination_port ?? 0}/UDP`;
  if (SCTP) return `${SCTP.destination_port ?? 0}/SCTP`;
  if (ICMPv4 || ICMPv6) return ICMPv4 ? 'ICMP' : 'ICMPv6';
  return '';
}
