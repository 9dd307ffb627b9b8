// service maglev: the tables of recorded cases, each as one digest. Needs no agent.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { maglevTable, seedOf, type MaglevBackend } from '../agent/service/maglev.ts';

interface Case { readonly id: string; readonly m: number; readonly seed: string; readonly backends: readonly MaglevBackend[] }

export function registerMaglev(service: Command): void {
  service.command('maglev').description('Maglev tables of cases, a JSON object in each line: id, m, seed, backends').requiredOption('--cases <file>', 'the cases')
    .addHelpText('after', '\nExample:\n  ./weir service maglev --cases maglev.jsonl')
    .action(({ cases }: { cases: string }) => {
      let wrong = false;
      for (const [index, line] of readLines(cases).entries()) {
        try {
          const { id, m, seed, backends } = JSON.parse(line) as Case;
          process.stdout.write(`${JSON.stringify({ id, sha256_u16be: digestOf(maglevTable(backends, m, seedOf(seed))) })}\n`);
        } catch (error) {
          wrong = true;
          const mend = error instanceof ConfigError && error.mend !== undefined ? ` (${error.mend})` : '';
          process.stderr.write(`weir: ${cases}:${index + 1}: ${messageOf(error)}${mend}\n`);
        }
      }
      if (wrong) process.exitCode = 1;
    });
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter((line) => line.trim() !== '');
  } catch (error) {
    throw new ConfigError(messageOf(error));
  }
}

/** Of the entries as big-endian 16-bit words. */
export function digestOf(table: Uint32Array): string {
  const bytes = Buffer.alloc(table.length * 2);
  table.forEach((entry, slot) => { bytes.writeUInt16BE(entry, slot * 2); });
  return createHash('sha256').update(bytes).digest('hex');
}
