// Gives merged policies and classes their numbers in the kernel's maps, and writes what is new. Rows that the running
// generation reads are never touched: what is new gets fresh numbers, what is old keeps its own until it is retired.
import { ConfigError } from '../errors.ts';
import { NumberAllocator, RangeAllocator } from '../store/allocator.ts';
import type { Datapath } from '../datapath/maps.ts';
import { action, limit } from '../../bpf/types.gen.ts';
import type { MergedPolicy, PeerClass, PolicyImage } from './image.ts';

interface Placement { readonly id: number; readonly column: number; readonly firstInterval: number; readonly firstStep: number; readonly steps: number }

/** How long a retired number rests: flow records that name it are drained within milliseconds. */
const restMs = 5_000;
const noStep = 0xffffffff;
const stepBytes = 16;

const stepsOf = (policy: MergedPolicy): number => policy.intervals.reduce((sum, interval) => sum + interval.steps.length, 0);

export class KernelNumbers {
  readonly #datapath: Datapath;
  // Policy 0 is "not enforced"; class 0 is nobody's row and stays 0.
  readonly #policyIds = new NumberAllocator(1, limit.MAX_POLICIES - 1, restMs);
  readonly #classIds = new NumberAllocator(1, limit.MAX_CLASSES - 1, restMs);
  readonly #columns = new RangeAllocator(limit.ROW_WORDS);
  readonly #intervals = new RangeAllocator(limit.MAX_INTERVALS);
  readonly #steps = new RangeAllocator(limit.MAX_STEPS);
  readonly #placements = new Map<string, Placement>();
  readonly #policies = new Map<string, MergedPolicy>();
  readonly #classes = new Map<string, number>();
  readonly #byId = new Map<number, MergedPolicy>();

  constructor(datapath: Datapath) { this.#datapath = datapath; }

  policyId(key: string | undefined): number { return key === undefined ? 0 : this.#placements.get(key)!.id; }
  classId(key: string): number { return this.#classes.get(key)!; }
  /** The policy that a flow record names, also for a while after it was retired. */
  policyOf(id: number): MergedPolicy | undefined { return this.#byId.get(id); }

  /** Writes every policy and class of the image that the kernel does not have; throws ConfigError, with nothing taken, when it does not fit. */
  place(image: PolicyImage): void {
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
    const old = new Set(freshClasses.map((peers) => peers.key));
    for (const peers of image.classes.values()) {
      this.#writeRow(peers, old.has(peers.key) ? image.policies.values() : fresh);
    }
  }

  /** Takes back what the image no longer has. Only when no program reads the generation before it any more. */
  retire(image: PolicyImage): void {
    for (const key of [...this.#placements.keys()]) if (!image.policies.has(key)) this.#forgetPolicy(key);
    for (const key of [...this.#classes.keys()]) if (!image.classes.has(key)) this.#forgetClass(key);
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
    this.#placements.set(policy.key, { id, column, firstInterval, firstStep, steps });
    this.#policies.set(policy.key, policy);
    this.#byId.set(id, policy);
    this.#writePolicy(policy);
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

  #writePolicy(policy: MergedPolicy): void {
    const { id, column, firstInterval, firstStep } = this.#placements.get(policy.key)!;
    const { intervals, steps } = this.#datapath;
    let next = firstStep;
    policy.intervals.forEach((interval, index) => {
      intervals[(firstInterval + index) * 2] = interval.lower;
      intervals[(firstInterval + index) * 2 + 1] = interval.steps.length === 0 ? noStep : next;
      interval.steps.forEach((step, order) => {
        const at = next * stepBytes;
        steps.setBigUint64(at, step.mask, true);
        steps.setUint16(at + 8, step.word, true);
        steps.setUint8(at + 10, step.action === 'deny' ? action.ACTION_DENY : action.ACTION_ALLOW);
        steps.setUint8(at + 11, order === interval.steps.length - 1 ? 1 : 0);
        next += 1;
      });
    });
    this.#datapath.policies.set(id, {
      first_interval: firstInterval, intervals: policy.intervals.length, column,
      default_action: policy.defaultAction === 'allow' ? action.ACTION_ALLOW : action.ACTION_DEFAULT_DENY,
    });
  }

  #writeRow(peers: PeerClass, policies: Iterable<MergedPolicy>): void {
    const row = this.#classes.get(peers.key)! * limit.ROW_WORDS;
    for (const policy of policies) {
      const { column } = this.#placements.get(policy.key)!;
      peers.row(policy).forEach((word, index) => { this.#datapath.classRows[row + column + index] = word; });
    }
  }

  #forgetPolicy(key: string): void {
    const placement = this.#placements.get(key);
    const policy = this.#policies.get(key);
    if (placement === undefined || policy === undefined) return;
    this.#placements.delete(key);
    this.#policies.delete(key);
    this.#columns.giveBack(placement.column, policy.words);
    this.#intervals.giveBack(placement.firstInterval, policy.intervals.length);
    this.#steps.giveBack(placement.firstStep, placement.steps);
    this.#policyIds.giveBack(placement.id);
  }

  #forgetClass(key: string): void {
    const id = this.#classes.get(key);
    if (id === undefined) return;
    this.#classes.delete(key);
    this.#classIds.giveBack(id);
  }
}
