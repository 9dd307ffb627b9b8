// Responses of the observer -> lines: compact, dict, table or JSON. Node status goes to standard error.
import { toJson } from '../json.ts';
import { enumNames, flowMessage, getFlowsResponseMessage } from '../proto.ts';
import type { GetFlowsResponse, LostEvent } from '../types.ts';
import { noColors, type Colors } from './color.ts';
import { endsOf, type End } from './ends.ts';
import { escape, escapeJson } from './escape.ts';
import { formatTime } from './time-format.ts';
import { lostSourceText, policyText, summaryText, typeText, verdictText } from './words.ts';

export const outputForms = ['compact', 'dict', 'jsonpb', 'json', 'table', 'tab'] as const;
export type OutputForm = typeof outputForms[number];

export interface PrintOptions {
  readonly form: OutputForm;
  readonly write: (text: string) => void;
  readonly writeError: (text: string) => void;
  readonly timeFormat?: string;
  readonly nodeName?: boolean;
  readonly policyNames?: boolean;
  readonly numeric?: boolean;
  readonly translate?: boolean;
  readonly colors?: Colors;
  /** The bare flow instead of the whole response, as old scripts want it. */
  readonly bareFlow?: boolean;
  readonly debug?: boolean;
}

export interface Printer {
  readonly print: (response: GetFlowsResponse) => void;
  /** A table is printed here, when all its widths are known. */
  readonly finish: () => void;
}

const nodeStates = enumNames('relay.NodeState');
/** States that are told even when nobody asked. */
const alarming = new Set(['NODE_UNAVAILABLE', 'NODE_ERROR']);

export function createPrinter(options: PrintOptions): Printer {
  const print = options.form === 'jsonpb' || options.form === 'json' ? jsonPrinter(options) : textPrinter(options);
  return {
    finish: print.finish,
    print: (response) => {
      const status = response.node_status;
      if (status == null || options.form === 'json' || options.form === 'jsonpb') { print.print(response); return; }
      const state = nodeStates.get(status.state_change ?? 0) ?? 'UNKNOWN_NODE_STATE';
      if (alarming.has(state) || options.debug === true) {
        options.writeError(escape(`${state}: ${(status.node_names ?? []).join(', ')}${status.message ? `: ${status.message}` : ''}`) + '\n');
      }
    },
  };
}

const jsonPrinter = ({ write, bareFlow }: PrintOptions): Printer => ({
  print: (response) => {
    const json = bareFlow === true && response.flow != null ? toJson(flowMessage, response.flow) : toJson(getFlowsResponseMessage, response);
    write(`${escapeJson(JSON.stringify(json))}\n`);
  },
  finish: () => undefined,
});

/** A response in words, still in parts. */
interface Line { readonly time: string; readonly node: string; readonly source: End; readonly destination: End; readonly type: string; readonly verdict: string; readonly summary: string; readonly policies: string }

const nowhere: End = { host: '', port: '', identity: '' };

function lineOf(response: GetFlowsResponse, options: PrintOptions): Line | undefined {
  const { flow, lost_events: lost } = response;
  const time = formatTime(flow?.time ?? response.time, options.timeFormat ?? 'StampMilli');
  const node = escape(response.node_name || flow?.node_name || '');
  if (lost != null) return { time, node, source: { ...nowhere, host: lostSourceText(lost.source ?? 0) }, destination: nowhere, type: 'EVENTS LOST', verdict: '', summary: lostText(lost), policies: '' };
  if (flow == null) return undefined;
  const ends = endsOf(flow, { translate: options.translate !== false, numeric: options.numeric === true });
  const safe = ({ host, port, identity }: End): End => ({ host: escape(host), port, identity });
  return {
    time, node, source: safe(ends.source), destination: safe(ends.destination), type: escape(typeText(flow)), verdict: verdictText(flow),
    summary: escape(summaryText(flow)), policies: options.policyNames === true ? escape(policyText(flow)) : '',
  };
}

const lostText = (lost: LostEvent): string => `${lost.cpu == null ? '' : `CPU(${lost.cpu.value ?? 0}) - `}${String(lost.num_events_lost ?? 0)}`;

const address = ({ host, port }: End): string => (port === '' ? host : `${host}:${port}`);

function textPrinter(options: PrintOptions): Printer {
  switch (options.form) {
    case 'dict': return dictPrinter(options);
    case 'table': case 'tab': return tablePrinter(options);
    default: return compactPrinter(options);
  }
}

function compactPrinter(options: PrintOptions): Printer {
  const { write, nodeName, colors = noColors } = options;
  const painted = (end: End): string => `${colors.host(end.host)}${end.port === '' ? '' : `:${colors.port(end.port)}`}${end.identity === '' ? '' : ` ${colors.identity(end.identity)}`}`;
  return {
    print: (response) => {
      const line = lineOf(response, options);
      if (line === undefined) return;
      const head = `${line.time}${nodeName === true ? ` [${line.node}]` : ''}:`;
      if (response.flow == null) { write(`${head} ${line.type}: ${line.source.host} ${line.summary}\n`); return; }
      const reply = response.flow.is_reply;
      const arrow = reply == null ? '<>' : reply.value ? '<-' : '->';
      const [left, right] = arrow === '<-' ? [line.destination, line.source] : [line.source, line.destination];
      const policies = line.policies === '' ? '' : ` ${line.policies}`;
      write(`${head} ${painted(left)} ${arrow} ${painted(right)} ${line.type} ${colors.verdict(response.flow.verdict)(line.verdict)}${policies} (${line.summary})\n`);
    },
    finish: () => undefined,
  };
}

const columns = (line: Line, options: PrintOptions): [string, string][] => [
  ['TIMESTAMP', line.time],
  ...(options.nodeName === true ? [['NODE', line.node] as [string, string]] : []),
  ['SOURCE', address(line.source)],
  ['DESTINATION', address(line.destination)],
  ['TYPE', line.type],
  ['VERDICT', line.verdict],
  ...(options.policyNames === true ? [['POLICIES', line.policies] as [string, string]] : []),
  ['SUMMARY', line.summary],
];

const labelWidth = 'DESTINATION'.length;

function dictPrinter(options: PrintOptions): Printer {
  let separator = '';
  return {
    print: (response) => {
      const line = lineOf(response, options);
      if (line === undefined) return;
      options.write(separator + columns(line, options).map(([name, value]) => `${name.padStart(labelWidth)}: ${value}\n`).join(''));
      separator = '------------\n';
    },
    finish: () => undefined,
  };
}

function tablePrinter(options: PrintOptions): Printer {
  const rows: string[][] = [];
  return {
    print: (response) => {
      const line = lineOf(response, options);
      if (line === undefined) return;
      const cells = columns(line, options);
      if (rows.length === 0) rows.push(cells.map(([name]) => name));
      rows.push(cells.map(([, value]) => value));
    },
    finish: () => {
      const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
      for (const row of rows) options.write(`${row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]! + 3))).join('')}\n`);
    },
  };
}
