// weir hubble: the verbs of the `hubble` command under its own name, for scripts that know it (alias hubble='./weir hubble'), with its `status`.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { version } from '../agent/version.ts';
import { toJson } from '../hubble/json.ts';
import { escape, escapeJson } from '../hubble/print/escape.ts';
import { root } from '../hubble/proto.ts';
import type { ServerStatusResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf } from './connection.ts';
import { withClient } from './hubble-client.ts';
import { register as registerConfig } from './hubble-config.ts';
import { ageText, register as registerList } from './hubble-list.ts';
import { register as registerReflect } from './hubble-reflect.ts';
import { aligned } from './observe-events.ts';
import { register as registerObserve } from './observe.ts';

const forms = ['compact', 'dict', 'json', 'table', 'tab'] as const;
type Form = typeof forms[number];

export function register(program: Command): void {
  const hubble = program.command('hubble').description('the verbs of the hubble command: status, observe, list, watch, config, reflect, version').addHelpText('after', '\nExample:\n  sudo ./weir hubble status --server unix:///run/weir/relay.sock');
  registerObserve(hubble);
  registerList(hubble);
  registerConfig(hubble);
  registerReflect(hubble);
  hubble.command('version').description('the version of this command line').addHelpText('after', '\nExample:\n  ./weir hubble version').action(() => { process.stdout.write(`weir ${version}\n`); });
  connectionFlags(hubble.command('status').description('how the observer is doing: an agent, or a relay with its nodes'))
    .addOption(new Option('-o, --output <form>', 'how to print').choices([...forms]).default('compact'))
    .addHelpText('after', '\nExample:\n  sudo ./weir hubble status')
    .action(async ({ output }: { output: Form }, command: Command) => {
      const server = connectionOf(command);
      const status = await withClient(server, async (client) => {
        if (!await client.isHealthy()) throw new ConfigError(`healthcheck (via ${server.address}): not healthy`, 'the server runs, but reaches no node');
        return client.serverStatus();
      });
      if (output === 'compact') process.stdout.write(`Healthcheck (via ${escape(server.address)}): Ok\n`);
      process.stdout.write(statusText(status, output));
    });
}

const withCommas = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

export function statusText(status: ServerStatusResponse, form: Form): string {
  if (form === 'json') return `${escapeJson(JSON.stringify(toJson(root.lookupType('observer.ServerStatusResponse'), status)))}\n`;
  const [kept, capacity, seen, uptime] = [status.num_flows, status.max_flows, status.seen_flows, status.uptime_ns].map((value) => Number(value ?? 0)) as [number, number, number, number];
  const rate = status.flows_rate || (uptime > 0 ? seen / (uptime / 1e9) : 0);
  const connected = status.num_connected_nodes?.value;
  const away = status.num_unavailable_nodes?.value ?? 0;
  if (form === 'compact') {
    const share = capacity === 0 ? '' : ` (${((kept / capacity) * 100).toFixed(2)}%)`;
    return [
      `Current/Max Flows: ${withCommas(kept)}/${withCommas(capacity)}${share}`, `Flows/s: ${uptime === 0 ? 'N/A' : rate.toFixed(2)}`,
      ...(connected === undefined ? [] : [`Connected Nodes: ${connected}/${connected + away}`]),
      ...(away === 0 ? [] : [`Unavailable Nodes: ${away}`, ...(status.unavailable_nodes ?? []).map((name) => `  - ${escape(name)}`)]),
    ].map((line) => `${line}\n`).join('');
  }
  const cells: [string, string][] = [
    ['NUM FLOWS', withCommas(kept)], ['MAX FLOWS', withCommas(capacity)], ['SEEN FLOWS', withCommas(seen)], ['FLOWS PER SECOND', rate.toFixed(2)], ['UPTIME', ageText(uptime)],
    ...(connected === undefined ? [] : [['NUM CONNECTED NODES', String(connected)], ['NUM UNAVAILABLE NODES', String(away)]] as [string, string][]),
    ['VERSION', escape(status.version ?? '')],
  ];
  if (form === 'dict') return cells.map(([name, value]) => `${name.padStart(21)}: ${value}\n`).join('');
  return aligned([cells.map(([name]) => name), cells.map(([, value]) => value)]).map((line) => `${line}\n`).join('');
}
