// weir edges and observe --top: flows of a while counted by group, once or again and again.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { escape, escapeJson } from '../hubble/print/escape.ts';
import { timestampOfMs } from '../hubble/time.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf, type Server } from './connection.ts';
import { withClient } from './hubble-client.ts';
import { aligned } from './observe-events.ts';
import { addFilterFlags, type FlowFilters } from './observe-flags.ts';
import { parseDurationMs } from './observe-times.ts';
import { columnsOf, groupings, successOf, Tally, talliedFields, type Grouping } from './tally.ts';

const refreshMs = 2_000;
const form = (): Option => new Option('-o, --output <form>', 'how to print').choices(['table', 'json']).default('table');

interface Words { readonly since: string; readonly by: Grouping; readonly follow?: boolean; readonly output: 'table' | 'json' }

export function register(program: Command): void {
  const command = connectionFlags(program.command('edges').description('who talks to whom: connections a second, drops, share that was let through'))
    .option('--since <duration>', 'of how long', '1m').option('-f, --follow', 'again every two seconds')
    .addOption(new Option('--by <group>', 'what is counted together').choices([...groupings]).default('edge')).addOption(form());
  const filters = addFilterFlags(command);
  command.addHelpText('after', '\nExample:\n  sudo ./weir edges --since 5m -n shop\n  sudo ./weir edges --by workload')
    .action(async ({ since, by, follow, output }: Words) => {
      const windowMs = parseDurationMs(since);
      if (windowMs === undefined || windowMs <= 0) throw new ConfigError(`--since ${since}: expected a duration`, 'use for example 5m');
      await tally(by, connectionOf(command), filters(), { windowMs, follow: follow === true, json: output === 'json' });
    });
}

export interface TallyOptions { readonly windowMs: number; readonly follow: boolean; readonly json: boolean }

/** With `follow` until it is ended: everything since the start and the window before it. */
export async function tally(by: Grouping, server: Server, { whitelist, blacklist }: FlowFilters, { windowMs, follow, json }: TallyOptions): Promise<void> {
  const startedMs = Date.now() - windowMs;
  const request: GetFlowsRequest = { since: timestampOfMs(startedMs), whitelist, blacklist, field_mask: { paths: talliedFields }, ...(follow && { follow }) };
  const counts = new Tally(by);
  const receive = ({ flow, lost_events: lost }: GetFlowsResponse): void => {
    if (flow != null) counts.count(flow);
    if (lost != null) counts.lost += Number(lost.num_events_lost ?? 0);
  };
  const print = (): void => { process.stdout.write(textOf(by, counts, (Date.now() - startedMs) / 1_000, json)); };
  await withClient(server, async (client) => {
    if (!follow) { await client.getFlows(request, receive); return; }
    const timer = setInterval(() => {
      if (process.stdout.isTTY) process.stdout.write('\u001b[H\u001b[2J');
      print();
    }, refreshMs);
    await client.getFlows(request, receive).finally(() => { clearInterval(timer); });
  });
  print();
}

export function textOf(by: Grouping, counts: Tally, seconds: number, json: boolean): string {
  const rows = counts.rows();
  const rate = (count: number): string => (count / seconds).toFixed(2);
  if (json) {
    const keys = columnsOf[by].map((name) => name.toLowerCase());
    return `${escapeJson(JSON.stringify({
      seconds: Math.round(seconds), lost: counts.lost, others: counts.others,
      rows: rows.map((row) => ({ ...Object.fromEntries(keys.map((key, index) => [key, row.names[index]])), opened: row.opened, dropped: row.dropped })),
    }))}\n`;
  }
  const lines = aligned([
    [...columnsOf[by], 'OPENED', 'PER SECOND', 'DROPPED', 'SUCCESS'],
    ...rows.map((row) => [...row.names.map(escape), String(row.opened), rate(row.opened), String(row.dropped), successOf(row)]),
  ]);
  const notes = [...(counts.lost > 0 ? [`${counts.lost} events were lost and are not counted`] : []), ...(counts.others > 0 ? [`${counts.others} flows of more groups are not shown`] : [])];
  return [...lines, ...notes].map((line) => `${line}\n`).join('');
}
