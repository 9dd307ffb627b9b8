// Gives merged policies and classes their numbers in the kernel's maps, and writes what is new. Rows that the running
// generation reads are never touched: what is new gets fresh numbers, what is old keeps its own until it is retired.
import { ConfigError } from '../errors.ts';
import { NumberAllocator, RangeAllocator } from '../store/allocator.ts';
import type { Datapath } from '../datapath/maps.ts';
import { limit } from '../../bpf/types.gen.ts';
import type { MergedPolicy, PeerClass, PolicyImage } from './image.ts';
import { holdsPolicy, readPlacement, stepsOf, writePolicy, type Placement } from './kernel-rows.ts';

/** Which key had which number: kept on disk, so that the next agent finds its policies in the kernel again. */
export interface SavedNumbers {
  readonly policies: readonly (readonly [key: string, id: number])[];
  readonly classes: readonly (readonly [key: string, id: number])[];
}

/** What the generation of an agent before reads; all of it is reserved until the first flip has passed. */
interface InForce { readonly policies: Map<number, Placement>; readonly classes: Set<number>; readonly saved: SavedNumbers; claimed: boolean }

/** How long a retired number rests: flow records that name it are drained within milliseconds. */
const restMs = 5_000;

export class KernelNumbers {
  readonly #datapath: Datapath;
  // Policy 0 is "not enforced"; class 0 is nobody's row and stays 0.
  readonly #policyIds = new NumberAllocator(1, limit.MAX_POLICIES - 1, restMs);
  readonly #classIds = new NumberAllocator(1, limit.MAX_CLASSES - 1, restMs);
  readonly #columns = new RangeAllocator(limit.ROW_WORDS);
  readonly #intervals = new RangeAllocator(limit.MAX_INTERVALS);
  readonly #steps = new RangeAllocator(limit.MAX_STEPS);
  readonly #placements = new Map<string, Placement>();
  readonly #classes = new Map<string, number>();
  readonly #byId = new Map<number, MergedPolicy>();
  #inForce: InForce | undefined;
  #revision = 0;

  constructor(datapath: Datapath) { this.#datapath = datapath; }

  /** Grows when a key got a number. */
  get revision(): number { return this.#revision; }
  policyId(key: string | undefined): number { return key === undefined ? 0 : this.#placements.get(key)!.id; }
  classId(key: string): number { return this.#classes.get(key)!; }
  /** The policy that a flow record names, also for a while after it was retired. */
  policyOf(id: number): MergedPolicy | undefined { return this.#byId.get(id); }

  save(): SavedNumbers {
    return { policies: [...this.#placements].map(([key, { id }]) => [key, id]), classes: [...this.#classes] };
  }

  /** Reserves what the kernel reads now. Throws when it does not fit together: then nothing of it can be adopted. */
  adopt(policyIds: ReadonlySet<number>, classIds: ReadonlySet<number>, saved: SavedNumbers): void {
    const policies = new Map([...policyIds].sort((a, b) => a - b).map((id) => [id, readPlacement(this.#datapath, id)]));
    for (const at of policies.values()) {
      const free = this.#policyIds.reserve(at.id) && this.#columns.reserve(at.column, at.words)
        && this.#intervals.reserve(at.firstInterval, at.intervals) && this.#steps.reserve(at.firstStep, at.steps);
      if (!free) throw new Error(`policy ${at.id} of the kernel overlaps with another`);
    }
    for (const id of [...classIds].sort((a, b) => a - b)) if (!this.#classIds.reserve(id)) throw new Error(`class ${id} of the kernel is no class`);
    this.#inForce = { policies, classes: new Set(classIds), saved, claimed: false };
  }

  /** Writes every policy and class of the image that the kernel does not have; throws ConfigError, with nothing taken, when it does not fit. */
  place(image: PolicyImage): void {
    this.#claim(image);
    const fresh = [...image.policies.values()].filter((policy) => !this.#placements.has(policy.key));
    const freshClasses = [...image.classes.values()].filter((peers) => !this.#classes.has(peers.key));
    const placed: MergedPolicy[] = [];
    try {
      for (const policy of fresh) {
        this.#placePolicy(policy);
        placed.push(policy);
      }
      for (const peers of freshClasses) {
        const id = this.#classIds.take();
        if (id === undefined) throw new ConfigError(`policies need more than ${limit.MAX_CLASSES - 1} classes of peers`, 'use fewer different peer selectors');
        this.#classes.set(peers.key, id);
      }
    } catch (error) {
      for (const policy of placed) this.#forgetPolicy(policy.key);
      for (const peers of freshClasses) this.#forgetClass(peers.key);
      throw error;
    }
    if (fresh.length > 0 || freshClasses.length > 0) this.#revision += 1;
    const unwritten = new Set(freshClasses.map((peers) => peers.key));
    for (const peers of image.classes.values()) {
      for (const policy of unwritten.has(peers.key) ? image.policies.values() : fresh) this.#rowOf(peers, policy).set(peers.row(policy));
    }
  }

  /** Takes back what the image no longer has. Only when no program reads the generation before it any more. */
  retire(image: PolicyImage): void {
    for (const key of [...this.#placements.keys()]) if (!image.policies.has(key)) this.#forgetPolicy(key);
    for (const key of [...this.#classes.keys()]) if (!image.classes.has(key)) this.#forgetClass(key);
    for (const at of this.#inForce?.policies.values() ?? []) this.#giveBack(at);
    for (const id of this.#inForce?.classes ?? []) this.#classIds.giveBack(id);
    this.#inForce = undefined;
  }

  /**
   * Policies and classes that stand in the kernel already keep their numbers, once, if their rows are exactly what would be
   * written: the names on disk are trusted no further than that. What is claimed is never rolled back, for it is in force.
   */
  #claim(image: PolicyImage): void {
    const inForce = this.#inForce;
    if (inForce === undefined || inForce.claimed) return;
    inForce.claimed = true;
    const standing: MergedPolicy[] = [];
    for (const [key, id] of inForce.saved.policies) {
      const policy = image.policies.get(key);
      const at = inForce.policies.get(id);
      if (policy === undefined || at === undefined || !holdsPolicy(this.#datapath, policy, at)) continue;
      inForce.policies.delete(id);
      this.#settle(policy, at);
      standing.push(policy);
    }
    for (const [key, id] of inForce.saved.classes) {
      const peers = image.classes.get(key);
      if (peers === undefined || !inForce.classes.has(id)) continue;
      this.#classes.set(key, id);
      if (standing.every((policy) => this.#rowOf(peers, policy).every((word, index) => word === peers.row(policy)[index]))) inForce.classes.delete(id);
      else this.#classes.delete(key);
    }
  }

  #settle(policy: MergedPolicy, at: Placement): void {
    this.#placements.set(policy.key, at);
    this.#byId.set(at.id, policy);
    this.#revision += 1;
  }

  #placePolicy(policy: MergedPolicy): void {
    const steps = stepsOf(policy);
    this.#checkShape(policy);
    const column = this.#columns.take(policy.words);
    const firstInterval = this.#intervals.take(policy.intervals.length);
    const firstStep = this.#steps.take(steps);
    const id = this.#policyIds.take();
    if (column === undefined || firstInterval === undefined || firstStep === undefined || id === undefined) {
      if (column !== undefined) this.#columns.giveBack(column, policy.words);
      if (firstInterval !== undefined) this.#intervals.giveBack(firstInterval, policy.intervals.length);
      if (firstStep !== undefined) this.#steps.giveBack(firstStep, steps);
      if (id !== undefined) this.#policyIds.giveBack(id);
      throw new ConfigError(`the policies do not fit: at most ${limit.MAX_POLICIES - 1} different sets of rules with ${limit.ROW_WORDS} x 64 rules `
        + `and ${limit.MAX_INTERVALS} port intervals together`, 'remove policies, or let more endpoints share the same ones');
    }
    const at = { id, column, words: policy.words, firstInterval, intervals: policy.intervals.length, firstStep, steps };
    this.#settle(policy, at);
    writePolicy(this.#datapath, policy, at);
  }

  #checkShape(policy: MergedPolicy): void {
    if (policy.intervals.length > 2 ** limit.SEARCH_DEPTH) {
      throw new ConfigError(`a policy has ${policy.intervals.length} port intervals, at most ${2 ** limit.SEARCH_DEPTH} fit`, 'join neighbouring ports into ranges');
    }
    const most = Math.max(0, ...policy.intervals.map((interval) => interval.steps.length));
    if (most > limit.POLICY_STEPS) {
      throw new ConfigError(`a policy has ${policy.rules.length} rules on one port, at most about ${limit.POLICY_STEPS * 32} fit`, 'join rules that have the same ports');
    }
  }

  /** A class's words for a policy, in the kernel's memory. */
  #rowOf(peers: PeerClass, policy: MergedPolicy): BigUint64Array {
    const { column, words } = this.#placements.get(policy.key)!;
    const start = this.#classes.get(peers.key)! * limit.ROW_WORDS + column;
    return this.#datapath.classRows.subarray(start, start + words);
  }

  #forgetPolicy(key: string): void {
    const at = this.#placements.get(key);
    if (at === undefined) return;
    this.#placements.delete(key);
    this.#giveBack(at);
  }

  #giveBack(at: Placement): void {
    this.#columns.giveBack(at.column, at.words);
    this.#intervals.giveBack(at.firstInterval, at.intervals);
    this.#steps.giveBack(at.firstStep, at.steps);
    this.#policyIds.giveBack(at.id);
  }

  #forgetClass(key: string): void {
    const id = this.#classes.get(key);
    if (id === undefined) return;
    this.#classes.delete(key);
    this.#classIds.giveBack(id);
  }
}
