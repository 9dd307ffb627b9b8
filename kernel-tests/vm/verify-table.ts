// What the verifier said on each kernel as one table, judged by the budget.
import { budget, type VerifyRow } from '../../bpf/verify.ts';

const columns = ['kernel', 'program', 'processed', 'of budget', 'verify ms', 'largest frame', 'deepest calls', 'instructions', 'machine code'] as const;

const cells = (kernel: string, row: VerifyRow): string[] => [
  kernel, row.program, String(row.processed), `${Math.round(row.processed / budget * 100)} %`, row.verifyMs.toFixed(0), `${row.largestFrame} of 512`, row.deepestChain === undefined ? 'not shown' : `${row.deepestChain} of 512`, String(row.instructions), `${row.machineBytes} B`,
];

export function table(found: readonly (readonly [kernel: string, rows: readonly VerifyRow[]])[]): string {
  const all = [[...columns], ...found.flatMap(([kernel, rows]) => rows.map((row) => cells(kernel, row)))];
  const widths = columns.map((_, index) => Math.max(...all.map((line) => line[index]!.length)));
  return all.map((line) => line.map((cell, index) => (index < 2 ? cell.padEnd(widths[index]!) : cell.padStart(widths[index]!))).join('  ').trimEnd()).join('\n');
}

export const overBudget = (rows: readonly VerifyRow[]): VerifyRow[] => rows.filter((row) => !(row.processed <= budget));
