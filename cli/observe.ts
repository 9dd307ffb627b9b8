// weir observe: the flows that were or are seen, filtered by the agent and printed here, in every form of `hubble observe`.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { RequestError } from '../hubble/errors.ts';
import { toJson } from '../hubble/json.ts';
import { ansiColors, noColors } from '../hubble/print/color.ts';
import { createPrinter, outputForms, type OutputForm, type Printer } from '../hubble/print/printer.ts';
import { timeFormats } from '../hubble/print/time-format.ts';
import { filterMessage } from '../hubble/proto.ts';
import { compileQuery } from '../hubble/query.ts';
import type { FlowFilter, GetFlowsRequest, GetFlowsResponse } from '../hubble/types.ts';
import { HubbleClient, serverOf } from './hubble-client.ts';
import { addFilterFlags, type FlowFilters } from './observe-flags.ts';
import { readFlows } from './observe-input.ts';
import { requestOf, type SelectorOptions } from './observe-request.ts';
import { parseDurationMs } from './observe-times.ts';

interface ObserveOptions extends SelectorOptions {
  readonly output: OutputForm;
  readonly printNodeName?: boolean;
  readonly printPolicyNames?: boolean;
  readonly timeFormat: string;
  readonly numeric?: boolean;
  readonly ipTranslation: string;
  readonly color: 'auto' | 'always' | 'never';
  readonly silentErrors?: boolean;
  readonly printRawFilters?: boolean;
  readonly debug?: boolean;
  readonly server?: string;
  readonly instance: string;
  readonly timeout: string;
}

/** Where the lines go; tests pass their own. */
export interface Output {
  readonly write: (text: string) => void;
  readonly writeError: (text: string) => void;
  readonly isTerminal: boolean;
  /** Kept when more may be written; undefined: now. */
  readonly drained: () => Promise<void> | undefined;
}

const standardOutput: Output = {
  write: (text) => { process.stdout.write(text); },
  writeError: (text) => { process.stderr.write(text); },
  isTerminal: process.stdout.isTTY === true,
  drained: () => (process.stdout.writableNeedDrain ? new Promise((resolve) => { process.stdout.once('drain', resolve); }) : undefined),
};

export function register(program: Command, output: Output = standardOutput): void {
  const command = program.command('observe').description('flows, as they are judged: what was allowed, what was dropped and by which policy')
    .argument('[what]', 'flows', 'flows')
    .allowUnknownOption().allowExcessArguments();
  addSelectorFlags(command);
  const filters = addFilterFlags(command);
  addOutputFlags(command);
  command.addHelpText('after', '\nExample:\n  sudo ./weir observe --verdict DROPPED --print-policy-names --follow')
    .action(async (what: string, options: ObserveOptions) => {
      refuseUnknown(what, command.args);
      try {
        await observe(options, filters(), output);
      } catch (error) {
        if (options.silentErrors !== true) throw error instanceof RequestError ? new ConfigError(error.message) : error;
        process.exitCode = 1;
      }
    });
}

function addSelectorFlags(command: Command): void {
  command
    .option('-f, --follow', 'goes on with every new flow')
    .option('--last <number>', 'the last flows that match (20 when nothing else is said)')
    .option('--first <number>', 'the first flows that match')
    .option('--all', 'every flow that is kept')
    .option('--since <time>', 'from then on: 5m, or a date')
    .option('--until <time>', 'until then: 5m, or a date')
    .option('--input-file <file>', 'flows from a file of JSON lines; - is standard input')
    .option('--field-mask <fields>', 'only these fields of a flow, for JSON')
    .option('--use-default-field-masks <boolean>', 'asks the server only for what is printed', 'true');
}

function addOutputFlags(command: Command): void {
  command
    .addOption(new Option('-o, --output <form>', 'how to print').choices([...outputForms]).default('compact'))
    .option('--print-node-name', 'with the name of the node')
    .option('--print-policy-names', 'with the policies that allowed or denied')
    .addOption(new Option('--time-format <format>', 'how times are written').choices([...timeFormats]).default('StampMilli'))
    .option('--numeric', 'numbers instead of names')
    .option('--ip-translation <boolean>', 'names instead of addresses', 'true')
    .addOption(new Option('--color <when>', 'colours in the compact form').choices(['auto', 'always', 'never']).default('auto'))
    .option('-s, --silent-errors', 'only the exit code tells of an error')
    .option('--print-raw-filters', 'the filters as they are sent, and nothing else')
    .option('--debug', 'tells of connected nodes too')
    .addOption(new Option('--server <address>', 'unix:///PATH or HOST:PORT instead of the agent of this machine').env('HUBBLE_SERVER'))
    .addOption(new Option('--timeout <duration>', 'how long to wait for a connection').default('5s').env('HUBBLE_TIMEOUT'))
    .addOption(new Option('--instance <name>', 'the agent that is meant, when several run on this machine').default('default').env('WEIR_INSTANCE'));
}

function refuseUnknown(what: string, rest: readonly string[]): void {
  const flag = rest.find((argument) => argument.startsWith('-'));
  if (flag !== undefined) throw new ConfigError(`unknown flag: ${flag.split('=')[0]}`, 'see ./weir observe --help');
  if (what !== 'flows' || rest.length > 1) throw new ConfigError(`observe ${rest.join(' ')}: only flows can be observed`, 'see ./weir observe --help');
}

async function observe(options: ObserveOptions, filters: FlowFilters, output: Output): Promise<void> {
  if (options.printRawFilters === true) {
    output.write(rawFilters(filters));
    return;
  }
  const request = requestOf(options, filters, Date.now());
  const printer = printerOf(options, output);
  const receive = (response: GetFlowsResponse): void | Promise<void> => {
    printer.print(response);
    // A pipe that is read slowly slows the server down, it does not fill this process.
    return output.drained();
  };
  if (options.inputFile !== undefined) await readFlows(options.inputFile, compileQuery(request), receive, output.writeError);
  else await fromServer(options, request, receive);
  printer.finish();
}

async function fromServer(options: ObserveOptions, request: GetFlowsRequest, receive: (response: GetFlowsResponse) => void | Promise<void>): Promise<void> {
  const timeoutMs = parseDurationMs(options.timeout);
  if (timeoutMs === undefined) throw new ConfigError(`--timeout ${options.timeout}: expected a duration`, 'use for example 5s');
  const client = new HubbleClient(serverOf(options.server, options.instance));
  try {
    await client.connect(timeoutMs);
    await client.getFlows(request, receive);
  } finally {
    client.close();
  }
}

function printerOf(options: ObserveOptions, { write, writeError, isTerminal }: Output): Printer {
  const colored = options.color === 'always' || (options.color === 'auto' && isTerminal && process.env['NO_COLOR'] === undefined);
  return createPrinter({
    form: options.output, write, writeError,
    timeFormat: options.timeFormat, nodeName: options.printNodeName === true, policyNames: options.printPolicyNames === true,
    numeric: options.numeric === true, translate: flagValue('--ip-translation', options.ipTranslation), debug: options.debug === true,
    colors: colored ? ansiColors : noColors,
    bareFlow: options.output === 'json' && (process.env['HUBBLE_COMPAT'] ?? '').split(',').includes('legacy-json-output'),
  });
}

function flagValue(flag: string, text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new ConfigError(`${flag} ${text}: expected true or false`);
  return text === 'true';
}

/** YAML, each filter one string of JSON. */
function rawFilters({ whitelist, blacklist }: FlowFilters): string {
  const list = (name: string, filters: readonly FlowFilter[]): string => (filters.length === 0 ? ''
    : `${name}:\n${filters.map((filter) => `    - '${JSON.stringify(toJson(filterMessage, filter)).replaceAll('\'', '\'\'')}'\n`).join('')}`);
  return list('allowlist', whitelist) + list('denylist', blacklist) || '{}\n';
}
