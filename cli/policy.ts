// weir policy: the verbs that need no agent. Files of policies are checked; cases are answered offline.
import { Option, type Command } from 'commander';
import { answerSelector, answerValid, answerVerdicts, readCases, type SelectorCase, type ValidCase } from '../agent/policy/cases.ts';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { formatFinding, lintPolicies } from '../agent/policy/files.ts';
import type { PolicyCase } from '../agent/policy/offline.ts';

export function register(program: Command): void {
  const policy = program.commands.find((command) => command.name() === 'policy')
    ?? program.command('policy').description('check, try and read policies');

  policy.command('validate [paths...]')
    .description('checks policy files or folders; exit code 1 when one has an error')
    .option('--cases <file>', 'answer a file of cases, one JSON line each')
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText('after', '\nExample:\n  ./weir policy validate examples/shop')
    .action((paths: string[], options: { cases?: string; output: string }, command: Command) => {
      if (options.cases !== undefined) printLines(answers<ValidCase>(options.cases, (one) => [answerValid(one)]));
      else if (paths.length === 0) command.error('error: name a file or a folder');
      else validateFiles(paths, options.output);
    });

  policy.command('verdict')
    .description('judges the flows of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'namespaces, endpoints, policies and flows, one JSON object a line')
    .addHelpText('after', '\nExample:\n  ./weir policy verdict --cases agent/policy/testdata/surprises.jsonl')
    .action((options: { cases: string }) => printLines(answers<PolicyCase>(options.cases, answerVerdicts)));

  policy.command('selector')
    .description('matches the selectors of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'selector and labels, one JSON object a line')
    .addHelpText('after', '\nExample:\n  ./weir policy selector --cases agent/policy/testdata/selectors.jsonl')
    .action((options: { cases: string }) => printLines(answers<SelectorCase>(options.cases, (one) => [answerSelector(one)])));
}

/** A file that is no list of cases is the user's to mend. */
function answers<Case>(file: string, answer: (one: Case) => readonly object[]): object[] {
  try {
    return readCases<Case>(file).flatMap(answer);
  } catch (error) {
    throw new ConfigError(`cases of ${file}: ${messageOf(error)}`, 'one JSON object a line, as in agent/policy/testdata');
  }
}

const printLines = (lines: readonly object[]): void => {
  process.stdout.write(lines.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
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
