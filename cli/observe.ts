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
import type { FlowFilter, GetFlowsResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf, givenFlags } from './connection.ts';
import { tally } from './edges.ts';
import { explanationOf } from './observe-explain.ts';
import { observeEvents, type EventKind } from './observe-events.ts';
import { followFlows } from './observe-follow.ts';
import { addFilterFlags, type FlowFilters } from './observe-flags.ts';
import { readFlows } from './observe-input.ts';
import { requestOf, type SelectorOptions } from './observe-request.ts';
import { parseDurationMs } from './observe-times.ts';
import { booleanValues, chosenInstance } from './options.ts';
import { Settings } from './settings.ts';
import { groupings, type Grouping } from './tally.ts';

interface ObserveOptions extends SelectorOptions {
  readonly output: OutputForm;
  readonly printNodeName?: boolean;
  readonly printPolicyNames?: boolean;
  readonly timeFormat: string;
  readonly numeric?: boolean;
  readonly ipTranslation: string | true;
  readonly experimentalFieldMask?: string;
  readonly experimentalUseDefaultFieldMasks?: string | true;
  readonly color: 'auto' | 'always' | 'never';
  readonly silentErrors?: boolean;
  readonly printRawFilters?: boolean;
  readonly reconnect: string;
  readonly explain?: boolean;
  readonly top?: Grouping;
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
  const command = booleanValues(program.command('observe')).description('flows, as they are judged: what was allowed, what was dropped and by which policy')
    .argument('[what]', 'flows, agent-events or debug-events', 'flows')
    .allowUnknownOption().allowExcessArguments();
  addSelectorFlags(command);
  const filters = addFilterFlags(command);
  addOutputFlags(command);
  command.addHelpText('after', '\nExample:\n  sudo ./weir observe --verdict DROPPED --print-policy-names --follow')
    .action(async (what: string, options: ObserveOptions) => {
      refuseUnknown(what, command.args);
      try {
        const settings = new Settings(givenFlags(command));
        if (what === 'flows') await observe(command, options, filters((name) => settings.filters(name)), output);
        else await events(what as EventKind, command, options, filters(), output);
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
    .option('--field-mask <fields>', 'only these fields of a flow, for JSON', joined)
    .option('--use-default-field-masks [boolean]', 'asks the server only for what is printed', 'true')
    .addOption(new Option('--experimental-field-mask <fields>', 'its older name').argParser(joined).hideHelp())
    .addOption(new Option('--experimental-use-default-field-masks [boolean]', 'its older name').hideHelp());
}

const joined = (fields: string, before: string | undefined): string => (before === undefined ? fields : `${before},${fields}`);

function addOutputFlags(command: Command): void {
  command
    .addOption(new Option('-o, --output <form>', 'how to print').choices([...outputForms]).default('compact'))
    .option('--print-node-name', 'with the name of the node')
    .option('--print-policy-names', 'with the policies that allowed or denied')
    .addOption(new Option('--time-format <format>', 'how times are written').choices([...timeFormats]).default('StampMilli'))
    .option('--numeric', 'numbers instead of names')
    .option('--ip-translation [boolean]', 'names instead of addresses', 'true')
    .addOption(new Option('--color <when>', 'colours in the compact form').choices(['auto', 'always', 'never']).default('auto'))
    .option('-s, --silent-errors', 'only the exit code tells of an error')
    .option('--print-raw-filters', 'the filters as they are sent, and nothing else')
    .option('--explain', 'under each drop, why')
    .addOption(new Option('--top <group>', 'live: the busiest of each group').choices([...groupings]))
    .option('--reconnect <duration>', 'with --follow: how long a server may be away', '30s');
  connectionFlags(command);
}

/** What --top knows before the first new flow. */
const topWindowMs = 10_000;

const kinds = new Set(['flows', 'agent-events', 'debug-events']);

function refuseUnknown(what: string, rest: readonly string[]): void {
  const flag = rest.find((argument) => argument.startsWith('-'));
  if (flag !== undefined) throw new ConfigError(`unknown flag: ${flag.split('=')[0]}`, 'see ./weir observe --help');
  if (!kinds.has(what) || rest.length > 1) throw new ConfigError(`observe ${rest.join(' ')}: only ${[...kinds].join(', ')} can be observed`, 'see ./weir observe --help');
}

async function observe(command: Command, options: ObserveOptions, filters: FlowFilters, output: Output): Promise<void> {
  if (options.printRawFilters === true) {
    output.write(rawFilters(filters));
    return;
  }
  const request = requestOf(renamed(options), filters, Date.now());
  const forward = (['port-forward', 'auto-port-forward'] as const).find((name) => name in givenFlags(command));
  if (options.inputFile !== undefined && forward !== undefined) throw new ConfigError(`--input-file and --${forward} cannot be combined`, 'leave one of them out');
  const printer = printerOf(command, options, output);
  const receive = (response: GetFlowsResponse): void | Promise<void> => {
    printer.print(response);
    if (options.explain === true) return explain(command, response, output);
    // A pipe that is read slowly slows the server down, it does not fill this process.
    return output.drained();
  };
  if (options.explain === true) refuseExplain(command, options);
  if (options.top !== undefined) {
    await tally(options.top, connectionOf(command), filters, { windowMs: topWindowMs, follow: true, json: options.output === 'json' });
    return;
  }
  if (options.inputFile !== undefined) await readFlows(options.inputFile, compileQuery(request), receive, output.writeError);
  else {
    const reconnectMs = parseDurationMs(options.reconnect);
    if (reconnectMs === undefined) throw new ConfigError(`--reconnect ${options.reconnect}: expected a duration`, 'use for example 30s');
    await followFlows(connectionOf(command), request, receive, { reconnectMs: request.follow === true ? reconnectMs : 0, tell: output.writeError });
  }
  printer.finish();
}

/** A flag that was given without its value is on. */
const on = (value: string | true): string => (value === true ? 'true' : value);

function renamed(options: ObserveOptions): ObserveOptions {
  const fieldMask = options.fieldMask ?? options.experimentalFieldMask;
  return { ...options, ...(fieldMask !== undefined && { fieldMask }), useDefaultFieldMasks: on(options.experimentalUseDefaultFieldMasks ?? options.useDefaultFieldMasks) };
}

/** Only the agent that judged can explain, and only between lines. */
function refuseExplain(command: Command, { inputFile, output }: ObserveOptions): void {
  if (inputFile !== undefined || 'server' in givenFlags(command)) throw new ConfigError('--explain asks the agent of this machine', 'leave --server and --input-file out');
  if (output !== 'compact' && output !== 'dict') throw new ConfigError(`--explain and -o ${output} cannot be combined`, 'use -o compact');
}

async function explain(command: Command, response: GetFlowsResponse, output: Output): Promise<void> {
  output.write(await explanationOf(chosenInstance(command.opts<{ instance: string }>()), response));
  await output.drained();
}

/** Of the flags of flows, events know those that say how many, from when and how to print. */
async function events(kind: EventKind, command: Command, options: ObserveOptions, { whitelist, blacklist }: FlowFilters, output: Output): Promise<void> {
  if (whitelist.length + blacklist.length > 0) throw new ConfigError(`observe ${kind}: filters are for flows`, 'leave the filter flags out');
  const { field_mask: _, whitelist: __, blacklist: ___, ...request } = requestOf(renamed(options), { whitelist, blacklist }, Date.now());
  await observeEvents(kind, connectionOf(command), request, { ...options, write: output.write, drained: output.drained });
}

function printerOf(command: Command, options: ObserveOptions, { write, writeError, isTerminal }: Output): Printer {
  const colored = options.color === 'always' || (options.color === 'auto' && isTerminal && process.env['NO_COLOR'] === undefined);
  return createPrinter({
    form: options.output, write, writeError,
    timeFormat: options.timeFormat, nodeName: options.printNodeName === true, policyNames: options.printPolicyNames === true,
    numeric: options.numeric === true, translate: flagValue('--ip-translation', on(options.ipTranslation)), debug: new Settings(givenFlags(command)).flag('debug'),
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
