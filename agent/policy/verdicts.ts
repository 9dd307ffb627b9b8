// Many verdicts of one image, without the rules behind them: policies and classes as flat numbers, made when first asked for.
// verdict.ts says the same step by step, as the kernel does, and names the rules.
import type { MergedPolicy, PeerClass, PolicyImage } from './image.ts';
import { keyOf } from './intervals.ts';
import { bitsIn } from './rule-set.ts';

export type Action = 'none' | 'allow' | 'deny' | 'default-deny';

/** Interval n: bounds[n]; its peer sets are sets[starts[n]] up to sets[starts[n + 1]], denies before allowAt[n], -1 for anybody; DNS and L7 rules allow. */
interface FlatPolicy {
  readonly bounds: Int32Array;
  readonly starts: Int32Array;
  readonly allowAt: Int32Array;
  readonly sets: Int32Array;
  readonly defaultAction: Action;
}

/** Ends with its image, at the next compile. */
export class Verdicts {
  readonly #image: PolicyImage;
  readonly #policies = new Map<string, FlatPolicy>();
  /** By key of a class: a bit for each peer set that it is in. */
  readonly #classes = new Map<string, Int32Array>();

  constructor(image: PolicyImage) { this.#image = image; }

  /** `policy` is the key of the endpoint's merged policy, `peer` that of the peer's class. */
  action(policy: string | undefined, peer: string, protocol: number, port: number): Action {
    if (policy === undefined) return 'none';
    const flat = this.#policies.get(policy) ?? this.#flatten(policy);
    const member = this.#classes.get(peer) ?? this.#spread(peer);
    const key = keyOf(protocol, port);
    const { bounds, starts, allowAt, sets } = flat;
    let low = 0;
    let high = bounds.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (bounds[middle]! <= key) low = middle;
      else high = middle - 1;
    }
    for (let index = starts[low]!, end = starts[low + 1]!; index < end; index += 1) {
      const set = sets[index]!;
      if (set === -1 || (member[set >> 5]! >> (set & 31) & 1) === 1) return index < allowAt[low]! ? 'deny' : 'allow';
    }
    return flat.defaultAction;
  }

  #flatten(key: string): FlatPolicy {
    const policy = this.#image.policies.get(key);
    if (policy === undefined) throw new Error(`no policy ${key} in the image`);
    const flat = flatten(policy);
    this.#policies.set(key, flat);
    return flat;
  }

  #spread(key: string): Int32Array {
    const peer: PeerClass | undefined = this.#image.classes.get(key);
    if (peer === undefined) throw new Error(`no class ${key} in the image`);
    const bits = new Int32Array((Math.max(-1, ...peer.sets) >> 5) + 1);
    for (const set of peer.sets) bits[set >> 5]! |= 1 << (set & 31);
    this.#classes.set(key, bits);
    return bits;
  }
}

function flatten({ intervals, peerSets, defaultAction }: MergedPolicy): FlatPolicy {
  const starts = [0];
  const allowAt: number[] = [];
  const sets: number[] = [];
  for (const { steps } of intervals) {
    for (const denies of [true, false]) {
      if (!denies) allowAt.push(sets.length);
      for (const step of steps) if ((step.action === 'deny') === denies) for (const bit of bitsIn(step.mask)) sets.push(setAt(peerSets, step.word * 64 + bit));
    }
    starts.push(sets.length);
  }
  return { bounds: Int32Array.from(intervals, ({ lower }) => lower), starts: Int32Array.from(starts), allowAt: Int32Array.from(allowAt), sets: Int32Array.from(sets), defaultAction };
}

function setAt(peerSets: MergedPolicy['peerSets'], bit: number): number {
  const set = peerSets[bit]!;
  return set === 'any' ? -1 : set;
}
