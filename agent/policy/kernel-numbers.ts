// Gives merged policies and classes their numbers in the kernel's maps, and writes what is new. Rows that the running
// generation reads are never touched: what is new gets fresh numbers, what is old keeps its own until it is retired.
import { ConfigError } from '../errors.ts';
import { NumberAllocator, RangeAllocator } from '../store/allocator.ts';
import type { Datapath } from '../datapath/maps.ts';
import { limit } from '../../bpf/types.gen.ts';
import { ClassRows, type PlacedBits } from './class-rows.ts';
import type { MergedPolicy, PolicyImage } from './image.ts';
import { holdsPolicy, linesOf, readPlacement, stepsOf, writePolicy, type Placement } from './kernel-rows.ts';

/** Which key had which number: kept on disk, so that the next agent finds its policies in the kernel again. */
export interface SavedNumbers {
  readonly policies: readonly (readonly [key: string, id: number])[];
  readonly classes: readonly (readonly [key: string, id: number])[];
}

/** What the generation of an agent before reads; all of it is reserved until the first flip has passed. */
interface InForce { readonly policies: Map<number, Placement>; readonly classes: Set<number>; readonly saved: SavedNumbers; claimed: boolean }

/** How long a retired number rests: flow records that name it are drained within milliseconds. */
const restMs = 5_000;
const wordBits = 64;

export class KernelNumbers {
  readonly #datapath: Datapath;
  // Policy 0 is "not enforced"; class 0 is nobody's row and stays 0.
  readonly #policyIds = new NumberAllocator(1, limit.MAX_POLICIES - 1, restMs);
  readonly #classIds = new NumberAllocator(1, limit.MAX_CLASSES - 1, restMs);
  readonly #bits = new RangeAllocator(limit.ROW_WORDS * wordBits);
  readonly #lines = new RangeAllocator(limit.MAX_BOUND_LINES);
  // Step 0 is the end of every chain.
  readonly #steps = new RangeAllocator(limit.MAX_STEPS, 1);
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
      const free = this.#policyIds.reserve(at.id) && this.#bits.reserve(at.firstBit, at.bits)
        && this.#lines.reserve(at.firstLine, at.lines) && this.#steps.reserve(at.firstStep, at.steps);
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
    const placed = new Set<MergedPolicy>();
    try {
      for (const policy of fresh) {
        this.#placePolicy(policy);
        placed.add(policy);
      }
      for (const peers of freshClasses) {
        const id = this.#classIds.take();
        if (id === undefined) throw new ConfigError(`policies tell more than ${limit.MAX_CLASSES - 1} classes of peers apart`, 'use fewer different peer selectors');
        this.#classes.set(peers.key, id);
      }
    } catch (error) {
      for (const policy of placed) this.#unplace(policy.key);
      for (const { key } of freshClasses) {
        const id = this.#classes.get(key);
        if (id !== undefined) this.#classIds.untake(id);
        this.#classes.delete(key);
      }
      throw error;
    }
    if (fresh.length > 0 || freshClasses.length > 0) this.#revision += 1;
    const unwritten = new Set(freshClasses.map((peers) => peers.key));
    const numbered = [...image.classes.values()].map((peers) => [this.classId(peers.key), peers] as const);
    if (fresh.length > 0) new ClassRows(this.#datapath, this.#placed(fresh)).write(numbered);
    const standing = [...image.policies.values()].filter((policy) => !placed.has(policy));
    if (unwritten.size > 0) new ClassRows(this.#datapath, this.#placed(standing)).write(numbered.filter(([, peers]) => unwritten.has(peers.key)));
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
    const rows = new ClassRows(this.#datapath, this.#placed(standing));
    for (const [key, id] of inForce.saved.classes) {
      const peers = image.classes.get(key);
      if (peers === undefined || !inForce.classes.has(id) || !rows.holds(id, peers)) continue;
      this.#classes.set(key, id);
      inForce.classes.delete(id);
    }
  }

  #settle(policy: MergedPolicy, at: Placement): void {
    this.#placements.set(policy.key, at);
    this.#byId.set(at.id, policy);
    this.#revision += 1;
  }

  #placePolicy(policy: MergedPolicy): void {
    this.#checkShape(policy);
    const bits = policy.rules.length;
    const lines = linesOf(policy.intervals.length);
    const steps = stepsOf(policy);
    const firstBit = this.#bits.take(bits, wordBits);
    const firstLine = this.#lines.take(lines);
    const firstStep = this.#steps.take(steps);
    const id = this.#policyIds.take();
    if (firstBit !== undefined && firstLine !== undefined && firstStep !== undefined && id !== undefined) {
      const at = { id, firstBit, bits, firstLine, lines, firstStep, steps };
      this.#settle(policy, at);
      writePolicy(this.#datapath, policy, at);
      return;
    }
    if (firstBit !== undefined) this.#bits.giveBack(firstBit, bits);
    if (firstLine !== undefined) this.#lines.giveBack(firstLine, lines);
    if (firstStep !== undefined) this.#steps.giveBack(firstStep, steps);
    if (id !== undefined) this.#policyIds.untake(id);
    const full = id === undefined ? `${limit.MAX_POLICIES - 1} different sets of rules`
      : firstBit === undefined ? `${limit.ROW_WORDS * wordBits} rules over all different sets of rules`
        : `${limit.MAX_STEPS - 1} port intervals over all different sets of rules`;
    throw new ConfigError(`the policies do not fit: at most ${full}, the old and the new ones of a change together`,
      'remove policies, let more endpoints share the same ones, or change fewer at once');
  }

  #checkShape(policy: MergedPolicy): void {
    if (policy.intervals.length > limit.POLICY_INTERVALS) {
      throw new ConfigError(`a policy has ${policy.intervals.length} port intervals, at most ${limit.POLICY_INTERVALS} fit`, 'join neighbouring ports into ranges');
    }
    const most = Math.max(0, ...policy.intervals.map((interval) => interval.steps.length));
    if (most > limit.POLICY_STEPS) {
      throw new ConfigError(`a policy has ${policy.rules.length} rules on one port, at most about ${limit.POLICY_STEPS * 32} fit`, 'join rules that have the same ports');
    }
  }

  #placed(policies: readonly MergedPolicy[]): PlacedBits[] {
    return policies.map((policy) => ({ policy, firstBit: this.#placements.get(policy.key)!.firstBit }));
  }

  #forgetPolicy(key: string): void {
    const at = this.#placements.get(key);
    if (at === undefined) return;
    this.#placements.delete(key);
    this.#giveBack(at);
  }

  /** Takes back what no program has read. */
  #unplace(key: string): void {
    const at = this.#placements.get(key)!;
    this.#placements.delete(key);
    this.#byId.delete(at.id);
    this.#freeRows(at);
    this.#policyIds.untake(at.id);
  }

  #giveBack(at: Placement): void {
    this.#freeRows(at);
    this.#policyIds.giveBack(at.id);
  }

  #freeRows(at: Placement): void {
    this.#bits.giveBack(at.firstBit, at.bits);
    this.#lines.giveBack(at.firstLine, at.lines);
    this.#steps.giveBack(at.firstStep, at.steps);
  }

  #forgetClass(key: string): void {
    const id = this.#classes.get(key);
    if (id === undefined) return;
    this.#classes.delete(key);
    this.#classIds.giveBack(id);
  }
}
