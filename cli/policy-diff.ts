// policy diff: who reaches whom after a change of manifests, and did not before, or no longer.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { diffFiles, type FileDiff } from '../agent/policy/diff-files.ts';
import { diffJson, diffRows, fewText, markdown } from '../agent/policy/diff-text.ts';
import { printError, printObject, printable, tableText } from './print.ts';

interface DiffOptions { readonly with: readonly string[]; readonly output: 'table' | 'json' | 'markdown' }

const help = `
Example:
  ./weir policy diff deploy-before/ deploy-after/
  git worktree add /tmp/before HEAD~1 && ./weir policy diff -o markdown /tmp/before/deploy deploy
  ./weir policy diff old-policies.yaml new-policies.yaml --with workloads/

Workloads of the same labels are one group. Both ends count: a flow passes when the egress of one and the ingress of the other let it.

requests: L7 rules let other requests pass than before.

Exit codes: 0 nothing is closed, 1 something that was allowed is denied now, or other requests pass, 2 the files are wrong.`;

export function register(policy: Command): void {
  policy.command('diff <old> <new>').description('which flows a change of manifests opens and closes')
    .option('--with <paths...>', 'manifests that belong to both, such as those of the workloads', [])
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['table', 'json', 'markdown']).default('table'))
    .addHelpText('after', help)
    .action((old: string, now: string, options: DiffOptions) => {
      try {
        print(diffFiles([old], [now], options.with), options);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        printError(error);
        process.exitCode = 2;
      }
    });
}

function print({ changes, workloads, notices }: FileDiff, { output }: DiffOptions): void {
  for (const notice of notices) process.stderr.write(`${printable(notice)}\n`);
  if (workloads === 0) throw new ConfigError('these manifests have no workloads, so no flow can be compared', 'give those of the workloads too: --with DIR');
  const rows = diffRows(changes);
  const [closed, requests] = (['closed', 'requests'] as const).map((kind) => changes.filter(({ change }) => change === kind).length) as [number, number];
  if (output === 'json') printObject({ closed, opened: changes.length - closed - requests, requests, changes: diffJson(changes) }, 'json');
  else if (output === 'markdown') process.stdout.write(printable(markdown(rows)));
  else if (rows.length === 0) process.stdout.write('no flow changes\n');
  else process.stdout.write(`${tableText(rows.map((row) => ({ ...row, from: fewText(row.from), to: fewText(row.to), by: fewText(row.by) })), ['change', 'from', 'to', 'ports', 'by'])}\n`);
  if (closed + requests > 0) process.exitCode = 1;
}
