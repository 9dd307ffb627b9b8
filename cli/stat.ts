// weir stat: HTTP requests of a while by who asked whom: rate, failures, latencies. The agent counts them as they come (hubble/requests);
// of other servers, of a file, and where filters are asked for, flows are counted here.
import { Option, type Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { ConfigError } from '../agent/errors.ts';
import { escape } from '../hubble/print/escape.ts';
import { compileQuery } from '../hubble/query.ts';
import { RequestTable, requestGroupings, type RequestGrouping, type RequestReport, type RequestRow } from '../hubble/requests/table.ts';
import { timestampOfMs } from '../hubble/time.ts';
import type { Flow, FlowFilter, GetFlowsRequest, Timestamp } from '../hubble/types.ts';
import { connectionFlags, connectionOf, givenFlags, type Server } from './connection.ts';
import { withClient } from './hubble-client.ts';
import { aligned } from './observe-events.ts';
import { addFilterFlags, type FlowFilters } from './observe-flags.ts';
import { readFlows } from './observe-input.ts';
import { parseDurationMs } from './observe-times.ts';
import { chosenInstance, outputOption } from './options.ts';
import { printObject, type Output } from './print.ts';
import { Settings } from './settings.ts';

const refreshMs = 2_000;
const defaultSince = '1m';

interface Words { readonly since?: string; readonly by: RequestGrouping; readonly watch?: boolean; readonly output: Output; readonly inputFile?: string; readonly instance: string }

/** `lost`: events that were lost on their way here, so that requests may be missing. */
export interface Stat extends RequestReport { readonly lost: number }

export function register(program: Command): void {
  const command = connectionFlags(program.command('stat').description('HTTP requests by who asked whom: rate, failures, latencies (of what policies send through Envoy)'))
    .option('--since <duration>', `of how long (${defaultSince}; the agent counts ten minutes)`).option('-w, --watch', 'again every two seconds')
    .addOption(new Option('--by <group>', 'each pair of workloads; or by pod, and by method or route of the request too').choices([...requestGroupings]).default('workload'))
    .option('--input-file <file>', 'of a recording of ./weir record, or JSON lines of observe; - is standard input').addOption(outputOption());
  const filters = addFilterFlags(command);
  command.addHelpText('after', '\nFilters are about requests: --to-pod shop/web means those that it was asked.\n\nExample:\n  sudo ./weir stat --by route --since 5m\n  sudo ./weir stat -w --to-pod shop/web\n  ./weir stat --input-file flows.bin')
    .action(async (words: Words) => {
      const sinceMs = parseDurationMs(words.since ?? defaultSince);
      if (sinceMs === undefined || sinceMs <= 0) throw new ConfigError(`--since ${words.since}: expected a duration`, 'use for example 5m');
      if (words.watch === true && words.inputFile !== undefined) throw new ConfigError('--watch and --input-file cannot be combined', 'a file does not change: leave --watch out');
      const look = lookOf(command, words, sinceMs, filters());
      for (;;) {
        const stat = await look();
        if (words.watch === true && words.output === 'table' && process.stdout.isTTY) process.stdout.write('\u001b[H\u001b[2J');
        if (words.output === 'table') process.stdout.write(statText(words.by, stat));
        else printObject({ ...stat }, words.output);
        if (words.watch !== true) return;
        await new Promise((resolve) => { setTimeout(resolve, refreshMs); });
      }
    });
}

function lookOf(command: Command, { by, inputFile, since, instance }: Words, sinceMs: number, filters: FlowFilters): () => Promise<Stat> {
  if (inputFile !== undefined) return async () => ofFile(inputFile, by, filters, since === undefined ? undefined : sinceMs);
  const flags = givenFlags(command);
  // Who names an instance means its agent, whatever the environment says.
  const elsewhere = ('server' in flags || !('instance' in flags)) && new Settings(flags).text('server') !== undefined;
  if (!elsewhere && filters.whitelist.length + filters.blacklist.length === 0) {
    return async () => ({ ...await callAgent<RequestReport>(chosenInstance({ instance }), 'requests', { by, sinceMs }), lost: 0 });
  }
  const server = connectionOf(command);
  return async () => ofServer(server, by, filters, sinceMs);
}

/** What answers carry: the asked one is their source. */
function turned(filter: FlowFilter): FlowFilter {
  const name = (field: string): string => field.replace(/^(source|destination)_/, (_, side: string) => (side === 'source' ? 'destination_' : 'source_'));
  return Object.fromEntries(Object.entries(filter).map(([field, values]) => [name(field), values as unknown]));
}

function requestFor({ whitelist, blacklist }: FlowFilters): Pick<GetFlowsRequest, 'whitelist' | 'blacklist'> {
  return { whitelist: whitelist.length === 0 ? [{ protocol: ['http'], reply: [true] }] : whitelist.map(turned), blacklist: blacklist.map(turned) };
}

const countedFields = ['l7', 'IP', ...['source', 'destination'].flatMap((side) => ['identity', 'namespace', 'pod_name', 'workloads'].map((field) => `${side}.${field}`))];

async function ofServer(server: Server, by: RequestGrouping, filters: FlowFilters, sinceMs: number): Promise<Stat> {
  const table = new RequestTable(by);
  let lost = 0;
  const request: GetFlowsRequest = { ...requestFor(filters), since: timestampOfMs(Date.now() - sinceMs), field_mask: { paths: countedFields } };
  await withClient(server, async (client) => {
    await client.getFlows(request, ({ flow, lost_events: loss }) => {
      if (flow != null) table.addFlow(flow);
      lost += Number(loss?.num_events_lost ?? 0);
    });
  });
  return { ...table.report(sinceMs / 1_000), lost };
}

/** What is older than the time that is asked for goes after so many. */
const heldFlows = 65_536;

const msOf = ({ seconds, nanos = 0 }: Timestamp): number => Number(seconds) * 1_000 + nanos / 1e6;

/** Rates are over the time that its flows cover; `sinceMs`: back from the last of them. */
export async function ofFile(path: string, by: RequestGrouping, filters: FlowFilters, sinceMs: number | undefined): Promise<Stat> {
  /** Only where a time is asked for, which the last flow says: all that is in it. */
  const recent: Flow[] = [];
  const table = new RequestTable(by);
  let [lost, first, last] = [0, Infinity, -Infinity];
  await readFlows(path, compileQuery(requestFor(filters)), (response) => {
    lost += Number(response.lost_events?.num_events_lost ?? 0);
    if (response.flow?.time == null) return;
    const atMs = msOf(response.flow.time);
    [first, last] = [Math.min(first, atMs), Math.max(last, atMs)];
    if (sinceMs === undefined) table.addFlow(response.flow);
    else recent.push(response.flow);
    if (sinceMs !== undefined && recent.length % heldFlows === 0) recent.splice(0, recent.findIndex(({ time }) => msOf(time!) >= last - sinceMs));
  }, (text) => { process.stderr.write(escape(text.trimEnd()) + '\n'); });
  const from = sinceMs === undefined ? first : Math.max(first, last - sinceMs);
  for (const flow of recent) if (msOf(flow.time!) >= from) table.addFlow(flow);
  return { ...table.report(Math.max(1, first === Infinity ? 0 : (last - from) / 1_000)), lost };
}

const share = (value: number): string => `${(100 * value).toFixed(1)}%`;
/** Three digits that count. */
const latency = (ms: number | undefined): string => (ms === undefined ? '' : ms >= 10_000 ? `${(ms / 1_000).toFixed(1)}s` : ms >= 100 ? `${ms.toFixed(0)}ms` : ms >= 1 ? `${ms.toFixed(1)}ms` : `${ms.toFixed(2)}ms`);

export function statText(by: RequestGrouping, { rows, others, lost, seconds }: Stat): string {
  const named = by === 'route' ? ['METHOD', 'ROUTE'] : by === 'method' ? ['METHOD'] : [];
  const names = ({ source, destination, method = '', route = '' }: RequestRow): string[] => [source, destination, ...[method, route].slice(0, named.length)].map(escape);
  const lines = rows.length === 0 ? [`no HTTP request in ${Math.round(seconds)} s: only what a policy with rules for HTTP selects is seen (an empty rule is enough: http: [{}])`] : aligned([
    ['SOURCE', 'DESTINATION', ...named, 'REQUESTS', 'PER SECOND', 'SUCCESS', '5XX', '403', 'BROKEN', 'P50', 'P95', 'P99'],
    ...rows.map((row) => [...names(row), String(row.requests), row.perSecond.toFixed(2), share(row.success), String(row.errors), String(row.forbidden), String(row.unanswered), latency(row.p50Ms), latency(row.p95Ms), latency(row.p99Ms)]),
  ]);
  const notes = [...(lost > 0 ? [`${lost} events were lost: requests may be missing`] : []), ...(others > 0 ? [`${others} requests of more groups are not shown`] : [])];
  return [...lines, ...notes].map((line) => `${line}\n`).join('');
}
