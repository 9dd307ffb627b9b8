// Packets and bytes by the rules that decided, from the kernel's counts by policy number and bits. Read about once a second, so that a
// number is named before it means another policy (it rests 5 s, policy/kernel-numbers.ts); `weir policy list` and `get` print them.
import type { Datapath } from '../datapath/maps.ts';
import { messageOf } from '../errors.ts';
import { mapBatch, mapDelete, type Batch } from '../kernel/bpf.ts';
import { codecOf } from '../kernel/codec.ts';
import type { Direction, MergedPolicy, PolicyRef } from '../policy/image.ts';
import type { KernelNumbers } from '../policy/kernel-numbers.ts';
import type { PolicyRow } from '../policy/tables.ts';
import { rulesOf } from '../policy/verdict.ts';
import type { Table } from '../store/table.ts';
import { action, type RuleCount, type RuleKey } from '../../bpf/types.gen.ts';

export interface Count { packets: number; bytes: number; /** CLOCK_MONOTONIC. */ lastNs: bigint }
interface Known { readonly policy: MergedPolicy; packets: bigint; bytes: bigint }

const batchRows = 1_024;
/** Where packets are counted that no rule of a policy took, and that it denies by being there. */
export const defaultDenyPath = (direction: Direction): string => `default deny, ${direction}`;
export const keyOfPolicy = ({ kind, namespace, name }: PolicyRef): string => `${kind}/${namespace}/${name}`;

export class RuleCounts {
  readonly #datapath: Pick<Datapath, 'object' | 'ruleCounts'>;
  readonly #numbers: Pick<KernelNumbers, 'revision' | 'policyOf' | 'isInUse'>;
  /** By the bytes of the kernel's key: what was read of it. */
  readonly #known = new Map<string, Known>();
  /** By policy, then by path. */
  readonly #counts = new Map<string, Map<string, Count>>();
  readonly #isKnown: (policy: string) => boolean;
  #reading: Promise<void> | undefined;

  /** `isKnown`: whether there is `Kind/namespace/name`; others are not counted. */
  constructor(datapath: Pick<Datapath, 'object' | 'ruleCounts'>, numbers: Pick<KernelNumbers, 'revision' | 'policyOf' | 'isInUse'>, isKnown: (policy: string) => boolean) {
    this.#isKnown = isKnown;
    this.#datapath = datapath;
    this.#numbers = numbers;
  }

  /** Of `Kind/namespace/name`: by rule path, and `defaultDenyPath`. */
  of(policy: string): ReadonlyMap<string, Count> { return this.#counts.get(policy) ?? new Map(); }

  /** Those of other policies go; one that was read anew starts at 0. */
  keep(isKept: (policy: string) => boolean): void {
    for (const policy of [...this.#counts.keys()]) if (!isKept(policy)) this.#counts.delete(policy);
  }

  /** Resolves when what the kernel has counted until now is named. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => { this.#reading = undefined; });
    return this.#reading;
  }

  async #read(): Promise<void> {
    // An agent before this one may have left numbers that have no names yet.
    if (this.#numbers.revision === 0) return;
    const { object: { btf }, ruleCounts: map } = this.#datapath;
    const [key, row] = [codecOf<RuleKey>(btf.struct('rule_key')), codecOf<RuleCount>(btf.struct('rule_count'))];
    for (let batch: Batch | undefined, more = true; more;) {
      batch = await mapBatch(map, batchRows, batch?.next, batch);
      more = batch.next !== undefined;
      const values = new DataView(batch.values.buffer);
      const keys = new DataView(batch.keys.buffer);
      for (let index = 0; index < batch.count; index += 1) {
        const bytes = batch.keys.slice(index * map.keySize, (index + 1) * map.keySize);
        const what = key.decode(keys, index * map.keySize);
        this.#take(Buffer.from(bytes).toString('latin1'), what, row.decode(values, index * map.valueSize));
        if (this.#numbers.isInUse(what.policy)) continue;
        // Nothing counts for a number that is not in use: this was its last word.
        mapDelete(map.fd, bytes, map.name);
        this.#known.delete(Buffer.from(bytes).toString('latin1'));
      }
    }
  }

  #take(id: string, what: RuleKey, { packets, bytes, last_ns: lastNs }: RuleCount): void {
    const policy = this.#numbers.policyOf(what.policy);
    if (policy === undefined) return;
    const known = this.#known.get(id);
    const before = known?.policy.key === policy.key ? known : { packets: 0n, bytes: 0n };
    this.#known.set(id, { policy, packets, bytes });
    if (packets <= before.packets) return;
    const fresh = { packets: Number(packets - before.packets), bytes: Number(bytes - before.bytes), lastNs };
    for (const { policy: ref, path } of rulesIn(policy, what)) this.#add(keyOfPolicy(ref), path, fresh);
  }

  #add(policy: string, path: string, fresh: Count): void {
    if (!this.#isKnown(policy)) return;
    let paths = this.#counts.get(policy);
    if (paths === undefined) this.#counts.set(policy, paths = new Map());
    const count = paths.get(path);
    if (count === undefined) paths.set(path, { ...fresh });
    else {
      count.packets += fresh.packets;
      count.bytes += fresh.bytes;
      if (fresh.lastNs > count.lastNs) count.lastNs = fresh.lastNs;
    }
  }
}

/** A rule that is several bits counts once. */
function rulesIn(policy: MergedPolicy, { word, bits, action: did }: RuleKey): { policy: PolicyRef; path: string }[] {
  if (did === action.ACTION_DEFAULT_DENY) return policy.enforcedBy.map((ref) => ({ policy: ref, path: defaultDenyPath(policy.direction) }));
  return [...new Map(rulesOf(policy, word, bits).map((rule) => [`${keyOfPolicy(rule.policy)} ${rule.path}`, rule])).values()];
}

const readMs = 1_000;

/** Reads it now and then; the result ends it. */
export function followRules(ruleCounts: RuleCounts, policies: Table<PolicyRow>, log: (line: string) => void): () => void {
  const read = (): Promise<void> => ruleCounts.read().catch((error: unknown) => { log(`rules: ${messageOf(error)}`); });
  // A rule at the same place of another version is another rule: what the one before counted is named, and goes.
  const unsubscribe = policies.subscribe((changes) => {
    const others = new Set(changes.filter(({ old, row }) => old?.since !== row?.since).map(({ key }) => key));
    if (others.size > 0) void read().then(() => { ruleCounts.keep((key) => !others.has(key)); });
  });
  const timer = setInterval(() => { void read(); }, readMs);
  return () => {
    clearInterval(timer);
    unsubscribe();
  };
}
