// policy verdict: may this flow pass? From files alone, from a running agent, or for a file of cases with known answers.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { verdictText, verdictsOf, type Answer } from '../agent/policy/answer.ts';
import { answerVerdicts } from '../agent/policy/cases.ts';
import { protocolName } from '../agent/policy/icmp.ts';
import type { PolicyCase } from '../agent/policy/offline.ts';
import { ask, questionOf, questionOptions, type Asked } from './explain.ts';
import { instanceOption, type Common } from './options.ts';
import { answers, printLines } from './policy-cases.ts';
import { printError, printObject, printable } from './print.ts';

interface VerdictOptions extends Asked, Pick<Common, 'instance'> { readonly cases?: string; readonly output: 'text' | 'json' }

const help = `
Example:
  ./weir policy verdict --from shop/intruder --to shop/db --port 5432 examples/shop
  ./weir policy verdict --from 192.0.2.1 --to shop/web --port http -o json examples/shop
  ./weir policy verdict --from shop/web --to shop/catalog --port 8080 --http-method DELETE --http-path /items/1 examples/shop
  ./weir policy verdict --cases agent/policy/testdata/surprises.jsonl

Both ends are judged; the rules that decide are named with file and line. Without files the running agent answers.
Where L7 rules judge a connection the verdict is redirected, unless the request is given too; header values and the host are compared as
they are written, the path as Envoy normalises it.

Exit codes: 0 allowed or redirected, 1 denied, 2 the question or the files are wrong.`;

export function register(policy: Command): void {
  questionOptions(policy.command('verdict [paths...]').description('says whether a flow is allowed, by manifests alone or by the running agent'))
    .option('--cases <file>', 'judge the flows of a file of cases instead: namespaces, endpoints, policies and flows, one JSON object a line')
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['text', 'json']).default('text'))
    .addOption(instanceOption()).addHelpText('after', help)
    .action(async (paths: string[], options: VerdictOptions) => {
      if (options.cases !== undefined) printLines(answers<PolicyCase>(options.cases, answerVerdicts));
      else await judge(paths, options);
    });
}

async function judge(paths: readonly string[], options: VerdictOptions): Promise<void> {
  try {
    const question = questionOf(options);
    if (question === undefined) throw new ConfigError('which flow?', 'name it with --from, --to, --port and --protocol, or give --cases FILE');
    print(await ask(paths, question, options), options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printError(error);
    process.exitCode = 2;
  }
}

function print(answer: Answer, { output }: VerdictOptions): void {
  const verdicts = verdictsOf(answer);
  const { direction, subject, peer, port, protocol } = answer.sides[0]!;
  const [from, to] = direction === 'ingress' ? [peer, subject] : [subject, peer];
  if (output === 'json') printObject({ verdict: answer.verdict, from: from.name, to: to.name, ...(answer.service === undefined ? {} : { service: answer.service }), protocol: protocolName(protocol), port, sides: verdicts }, 'json');
  else process.stdout.write(`${printable(verdictText(answer, verdicts))}\n`);
  if (answer.verdict === 'denied') process.exitCode = 1;
}
