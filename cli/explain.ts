// explain and policy explain: why a flow passes or not, from what an agent has seen, from what it holds, or from files alone.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { ConfigError } from '../agent/errors.ts';
import { answerOf, type Answer } from '../agent/policy/answer.ts';
import { askFiles, notEnforced } from '../agent/policy/ask-files.ts';
import { readClusterFiles } from '../agent/policy/cluster-files.ts';
import type { Question } from '../agent/policy/question.ts';
import type { L7Request } from '../agent/policy/request.ts';
import { chosenInstance, instanceOption, outputOption, type Common } from './options.ts';
import { printObject, printable, type Row } from './print.ts';

export interface Asked {
  readonly from?: string; readonly to?: string; readonly port?: string; readonly protocol: string;
  readonly httpMethod?: string; readonly httpPath?: string; readonly httpHost?: string; readonly httpHeader?: readonly string[]; readonly sni?: string;
}
interface ExplainOptions extends Common, Asked { readonly uuid?: string; readonly lastDrop?: boolean; readonly yaml?: boolean }

/** The flags that name a flow, on every verb that takes them. */
export const questionOptions = (command: Command): Command => command
  .option('--from <party>', 'where it comes from: NAMESPACE/NAME, an IP address, or an entity such as host or world')
  .option('--to <party>', 'where it goes; from files also a Service, by its name (web.shop.svc) or an address of it')
  .option('--port <port>', 'its destination port, by number or by the receiver\'s name for it; the type of ICMP and ICMPv6')
  .option('--protocol <protocol>', 'TCP, UDP, SCTP, ICMP or ICMPv6', 'TCP')
  .option('--http-method <method>', 'of a request, for L7 rules; GET unless it is given')
  .option('--http-path <path>', 'its path, with the query; / unless it is given').option('--http-host <host>', 'its host, as the client sends it')
  .option('--http-header <name: value>', 'one of its headers; once for each', (value: string, before: readonly string[] | undefined) => [...before ?? [], value]).option('--sni <name>', 'the name that a TLS client asks for');

/** Both ends or none. */
export function questionOf({ from, to, port, protocol, ...asked }: Asked): Question | undefined {
  if (from === undefined && to === undefined) return undefined;
  if (from === undefined || to === undefined) throw new ConfigError(`--${from === undefined ? 'from' : 'to'} is missing`, 'a flow has two ends: --from shop/web --to shop/db --port 5432');
  return { from, to, protocol, ...(port === undefined ? {} : { port }), ...requestOf(asked) };
}

function requestOf({ httpMethod, httpPath, httpHost, httpHeader, sni }: Omit<Asked, 'protocol'>): { request?: L7Request } {
  const isHttp = [httpMethod, httpPath, httpHost, httpHeader].some((one) => one !== undefined);
  if (!isHttp && sni === undefined) return {};
  const headers = (httpHeader ?? []).map((text): [string, string] => {
    const [, name, value] = /^([^:\s]+):\s?(.*)$/.exec(text) ?? [];
    if (name === undefined) throw new ConfigError(`${JSON.stringify(text)} is no header`, 'write --http-header "Name: value"');
    return [name.toLowerCase(), value!];
  });
  return { request: { ...(isHttp ? { http: { method: httpMethod ?? 'GET', path: httpPath ?? '/', host: httpHost ?? '', headers } } : {}), ...(sni === undefined ? {} : { sni }) } };
}

/** From files, or where there are none from the running agent. */
export async function ask(paths: readonly string[], question: Question, options: Pick<Common, 'instance'>): Promise<Answer> {
  if (paths.length === 0) return callAgent<Answer>(chosenInstance(options), 'explain', question);
  const files = readClusterFiles(paths);
  for (const finding of notEnforced(files)) process.stderr.write(`${printable(finding)}\n`);
  const { sides, service } = askFiles(files, question);
  return answerOf(sides, service);
}

const help = (verb: string): string => `
Example:
  ./weir ${verb} --last-drop
  ./weir ${verb} --last-drop --yaml > examples/shop/allow.yaml
  ./weir ${verb} --from shop/intruder --to shop/db --port 5432
  ./weir ${verb} --from shop/intruder --to shop/db --port 5432 examples/shop

Without files the running agent answers. With files or folders of manifests no agent is needed.`;

export function register(program: Command): void {
  const policy = program.commands.find((command) => command.name() === 'policy') ?? program.command('policy');
  for (const [parent, verb] of [[program, 'explain'], [policy, 'policy explain']] as const) {
    questionOptions(parent.command('explain [paths...]').description('why a flow was dropped or passed, and what would change it'))
      .option('--last-drop', 'the last flow that was dropped (the default)').option('--uuid <uuid>', 'the flow with this uuid, as ./weir observe -o json prints it')
      .option('--yaml', 'only the policy that would allow it').addOption(instanceOption()).addOption(outputOption())
      .addHelpText('after', help(verb))
      .action(async (paths: string[], options: ExplainOptions) => { print(await answer(paths, options), options, verb); });
  }
}

async function answer(paths: readonly string[], options: ExplainOptions): Promise<Answer> {
  const question = questionOf(options);
  if (question !== undefined) {
    if (options.uuid !== undefined || options.lastDrop === true) throw new ConfigError('--from and --to ask for a flow of your own', 'leave out --uuid and --last-drop, or ask for the flow that was seen');
    return ask(paths, question, options);
  }
  if (paths.length > 0) throw new ConfigError('files tell of no flow', 'add --from, --to, --port and --protocol');
  return callAgent<Answer>(chosenInstance(options), 'explain', options.uuid === undefined ? {} : { uuid: options.uuid });
}

function print(found: Answer, { output, yaml }: ExplainOptions, verb: string): void {
  if (output !== 'table') printObject({ ...found } as Row, output);
  else if (yaml !== true) process.stdout.write(`${printable(found.text)}\n`);
  else if (found.yaml === '') throw new ConfigError('no policy would allow this flow', `see ./weir ${verb} for the rules that stand in its way`);
  else process.stdout.write(found.yaml);
}
