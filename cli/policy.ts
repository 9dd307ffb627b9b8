// weir policy: files of policies are checked, cases are answered offline; verbs in files of their own register here.
import { Option, type Command } from 'commander';
import { answerFqdn, answerSelector, answerValid, type FqdnCase, type SelectorCase, type ValidCase } from '../agent/policy/cases.ts';
import { lintPolicies } from '../agent/policy/files.ts';
import { formatFinding } from '../agent/policy/manifests.ts';
import { answers, printLines } from './policy-cases.ts';
import { register as registerAudit } from './policy-audit.ts';
import { register as registerDiff } from './policy-diff.ts';
import { register as registerList } from './policy-list.ts';
import { register as registerSimulate } from './policy-simulate.ts';
import { register as registerVerdict } from './policy-verdict.ts';
import { printObject, printable } from './print.ts';

const validateHelp = `
Example:
  ./weir policy validate examples/shop
  ./weir policy validate --strict -o json deploy/ > findings.json

Warnings, as far as the manifests at hand tell:
  selects-nothing   no workload, group or port is meant by this selector, name or list
  shadowed          denies take away all that this allows
  duplicate         another rule says all of this already
  allows-world      anybody on the network may connect, or be reached
  unprotected       an empty selector lets everybody of the namespace or the cluster in
  no-dns            egress is enforced and no rule leads to port 53/UDP
  open-l7           every request passes: a rule beside asks nothing, or nothing is denied by default
  mixed-l7          connections are refused that would have to be read in two ways at once
  not-enforced      valid, but weir refuses the policy as it does not enforce this yet
  octal-port, ignored-field
A policy keeps them quiet by the annotation weir/lint-ignore: "no-dns, allows-world".

Exit codes: 0 no error, 1 errors (with --strict or --fail-on warning: warnings too), 2 wrong usage.`;

export function register(program: Command): void {
  const policy = program.commands.find((command) => command.name() === 'policy')
    ?? program.command('policy').description('check, try and read policies');

  policy.command('validate [paths...]')
    .description('checks policy files or folders, and warns of what may not be meant')
    .option('--cases <file>', 'answer a file of cases, one JSON line each').option('--strict', 'warnings fail as errors do, as --fail-on warning')
    .addOption(new Option('--fail-on <severity>', 'what makes the exit code 1').choices(['error', 'warning']).default('error'))
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText('after', validateHelp)
    .action((paths: string[], options: ValidateOptions, command: Command) => {
      if (options.cases !== undefined) printLines(answers<ValidCase>(options.cases, (one) => [answerValid(one)]));
      else if (paths.length === 0) command.error('error: name a file or a folder');
      else validateFiles(paths, options);
    });

  registerList(policy);
  registerAudit(policy);
  registerVerdict(policy);
  registerDiff(policy);
  registerSimulate(policy);

  policy.command('selector')
    .description('matches the selectors of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'selector and labels, one JSON object a line')
    .addHelpText('after', '\nExample:\n  ./weir policy selector --cases agent/policy/testdata/selectors.jsonl')
    .action((options: { cases: string }) => printLines(answers<SelectorCase>(options.cases, (one) => [answerSelector(one)])));

  policy.command('fqdn')
    .description('matches names against the DNS names and patterns of a file of cases, one JSON line each')
    .requiredOption('--cases <file>', 'matchName or matchPattern, and qname, one JSON object a line')
    .addHelpText('after', '\nExample:\n  ./weir policy fqdn --cases agent/policy/testdata/fqdn.jsonl')
    .action((options: { cases: string }) => printLines(answers<FqdnCase>(options.cases, (one) => [answerFqdn(one)])));
}

interface ValidateOptions { readonly cases?: string; readonly output: string; readonly strict?: boolean; readonly failOn: string }

function validateFiles(paths: readonly string[], { output, strict, failOn }: ValidateOptions): void {
  const { policies, findings } = lintPolicies(paths);
  const errors = findings.filter((finding) => finding.severity === 'error').length;
  const warnings = findings.length - errors;
  if (output === 'json') printObject({ policies, errors, warnings, findings }, 'json');
  else {
    for (const finding of findings) process.stdout.write(`${printable(formatFinding(finding))}\n`);
    process.stderr.write(policies === 0 ? `no policies in ${paths.join(' ')}\n` : `${count(policies, 'policy', 'policies')} checked, ${count(errors, 'error')}${warnings === 0 ? '' : `, ${count(warnings, 'warning')}`}\n`);
  }
  if (errors > 0 || (warnings > 0 && (strict === true || failOn === 'warning'))) process.exitCode = 1;
}

const count = (number: number, one: string, many = `${one}s`): string => `${number} ${number === 1 ? one : many}`;
