// How much of BPF's stack of 512 bytes a program takes: the frames that the verifier tells of, added up along its calls.
import type { ProgramCode } from '../agent/kernel/bpf.ts';

const instructionBytes = 8;
const call = 0x85; // BPF_JMP | BPF_CALL
const ofSubprogram = 1; // BPF_PSEUDO_CALL, in src_reg
/** What the verifier rounds a frame up to (check_max_stack_depth); newer kernels to 16. */
const frameStep = 32;

/** Which subprograms each one calls; undefined: the kernel does not show them (kptr_restrict). */
export function callsOf({ instructions, starts }: ProgramCode): ReadonlySet<number>[] | undefined {
  const view = new DataView(instructions.buffer, instructions.byteOffset, instructions.byteLength);
  const calls = starts.map(() => new Set<number>());
  for (let at = 0; at < instructions.length; at += instructionBytes) {
    if (view.getUint8(at) !== call || view.getUint8(at + 1) >> 4 !== ofSubprogram) continue;
    const callee = view.getInt32(at + 4, true);
    // The first one is the program itself, which nobody calls.
    if (callee <= 0 || callee >= starts.length) return undefined;
    calls[starts.findLastIndex((start) => start <= at / instructionBytes)]!.add(callee);
  }
  return calls;
}

/** Bytes along the deepest chain from the program itself. BPF has no recursion. */
export function deepestChain(calls: readonly ReadonlySet<number>[], frames: readonly number[]): number {
  const known = new Map<number, number>();
  const from = (number: number): number => {
    const before = known.get(number);
    if (before !== undefined) return before;
    const own = Math.ceil(Math.max(frames[number]!, 1) / frameStep) * frameStep;
    const depth = own + Math.max(0, ...[...calls[number]!].map(from));
    known.set(number, depth);
    return depth;
  };
  return from(0);
}
