// weir policy: the verbs that need no agent. Files of policies are checked; cases are answered offline.
import type { Command } from 'commander';
import { answerSelector, answerValid, answerVerdicts, readCases, type SelectorCase, type ValidCase } from '../agent/policy/cases.ts';
import { formatFinding, lintPolicies } from '../agent/policy/files.ts';
import type { PolicyCase } from '../agent/policy/offline.ts';

export function register(program: Command): void {
  const policy = program.commands.find((command) => command.name() === 'policy')
    ?? program.command('policy').description('Check, try and read policies');

  policy.command('validate [paths...]')
    .description('Check policy files or folders; exit code 1 when one has an error')
    .option('--cases <file>', 'answer a file of cases, one JSON line each')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText('after', '\nExample:\n  weir policy validate examples/shop')
    .action((paths: string[], options: { cases?: string; output: string }, command: Command) => {
      if (options.cases !== undefined) printLines(readCases<ValidCase>(options.cases).map(answerValid));
      else if (paths.length === 0) command.error('name a file or a folder: weir policy validate FILES|DIR');
      else validateFiles(paths, options.output);
    });

  policy.command('verdict')
    .description('Judge the flows of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'namespaces, endpoints, policies and flows, one JSON object a line')
    .addHelpText('after', '\nExample:\n  weir policy verdict --cases agent/policy/testdata/surprises.jsonl')
    .action((options: { cases: string }) => printLines(readCases<PolicyCase>(options.cases).flatMap(answerVerdicts)));

  policy.command('selector')
    .description('Match the selectors of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'selector and labels, one JSON object a line')
    .addHelpText('after', '\nExample:\n  weir policy selector --cases agent/policy/testdata/selectors.jsonl')
    .action((options: { cases: string }) => printLines(readCases<SelectorCase>(options.cases).map(answerSelector)));
}

const printLines = (answers: readonly object[]): void => {
  process.stdout.write(answers.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
};

function validateFiles(paths: readonly string[], output: string): void {
  const { policies, findings } = lintPolicies(paths);
  const errors = findings.filter((finding) => finding.severity === 'error').length;
  if (output === 'json') {
    process.stdout.write(`${JSON.stringify({ policies, errors, findings }, undefined, 2)}\n`);
  } else {
    for (const finding of findings) process.stdout.write(`${formatFinding(finding)}\n`);
    process.stderr.write(policies === 0 ? `no policies in ${paths.join(' ')}\n`
      : `${policies} ${policies === 1 ? 'policy' : 'policies'} checked, ${errors} ${errors === 1 ? 'error' : 'errors'}\n`);
  }
  if (errors > 0) process.exitCode = 1;
}
