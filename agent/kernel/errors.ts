// What a system call that failed becomes: what was tried, on what, and errno's name.
import { constants } from 'node:os';

const names = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
export const errno = constants.errno;

export class KernelError extends Error {
  /** Negative numbers never occur: as errno(3) has it. */
  readonly errno: number;
  readonly code: string;

  /** `operation` as the kernel names it: `bpf(BPF_LINK_CREATE)`; `object` in the user's words: `to_workload on weir_7`. */
  constructor(object: string, operation: string, number: number) {
    const code = names.get(number) ?? `errno ${number}`;
    super(`${object}: ${operation}: ${code}`);
    this.name = 'KernelError';
    this.errno = number;
    this.code = code;
  }
}

const counts = /^(processed|verification time|stack depth|-- (BEGIN|END))/;

/** The lines of a verifier's log but its counts, which it prints of what it took as well. */
export const walkOf = (log: string): string[] => log.split('\n').filter((line) => line.trim() !== '' && !counts.test(line));

/** The verifier's refusal: its log is long, the cause stands at the end. */
export class VerifierError extends Error {
  readonly log: string;

  constructor(program: string, log: string) {
    const telling = walkOf(log).slice(-12);
    super(`load ${program}: the kernel's verifier refused it:\n  ${telling.join('\n  ')}`);
    this.name = 'VerifierError';
    this.log = log;
  }
}
