// What each program costs the verifier of the running kernel: `VERIFY {...}` lines for kernel-tests/vm/verify.ts, which shows them.
import { loading } from '../agent/datapath/maps.ts';
import { messageOf } from '../agent/errors.ts';
import { programCode, programSize } from '../agent/kernel/bpf.ts';
import { VerifierError } from '../agent/kernel/errors.ts';
import { loadObject } from '../agent/kernel/object.ts';
import { callsOf, deepestChain } from './stack.ts';

/** Instructions walked: a tenth of the kernel's own limit of 1,000,000. */
export const budget = 100_000;

export interface VerifyRow {
  readonly program: string;
  /** Instructions that the verifier walked. */
  readonly processed: number;
  readonly verifyMs: number;
  /** Of the subprogram that takes most. */
  readonly largestFrame: number;
  /** Stack along the deepest chain of calls; undefined: the kernel does not show them. */
  readonly deepestChain?: number;
  readonly instructions: number;
  readonly machineBytes: number;
}
export interface Refusal { readonly refused: string }

const numberIn = (log: string, pattern: RegExp): number => Number(pattern.exec(log)?.[1] ?? NaN);

/** Bytes of stack of each subprogram; the first is the program itself. */
export const framesOf = (log: string): number[] => /^stack depth ([\d+]+)/m.exec(log)?.[1]?.split('+').map(Number) ?? [NaN];

/** The verifier's three lines; `print_verification_stats`, kernel/bpf/verifier.c. */
export function countsOf(log: string): Pick<VerifyRow, 'processed' | 'verifyMs' | 'largestFrame'> {
  const frames = framesOf(log);
  return { processed: numberIn(log, /^processed (\d+) insns/m), verifyMs: numberIn(log, /^verification time (\d+) usec/m) / 1000, largestFrame: Math.max(...frames) };
}

/** The last line of C that the verifier had come to; its log names it before the instructions. */
export const sourceOf = (log: string): string | undefined => log.split('\n').findLast((line) => line.startsWith('; '))?.slice(2);

export function verify(objectPath: string): VerifyRow[] | Refusal {
  const logs = new Map<string, string>();
  try {
    const object = loadObject(objectPath, { ...loading, statistics: (program, log) => { logs.set(program, log); } });
    const rows = [...object.programs].map(([program, fd]): VerifyRow => {
      const calls = callsOf(programCode(fd, program));
      const chain = calls === undefined ? {} : { deepestChain: deepestChain(calls, framesOf(logs.get(program)!)) };
      return { program, ...countsOf(logs.get(program)!), ...chain, ...programSize(fd, program) };
    });
    object.close();
    return rows;
  } catch (error) {
    return refusalOf(objectPath, error);
  }
}

/** Loads once more with the whole walk, to say where it ended. */
function refusalOf(objectPath: string, first: unknown): Refusal {
  try {
    loadObject(objectPath, loading).close();
  } catch (error) {
    if (error instanceof VerifierError) return { refused: `${error.message}\n  in: ${sourceOf(error.log) ?? 'no line of C in the log'}` };
  }
  return { refused: messageOf(first) };
}
