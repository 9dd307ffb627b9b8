// weir list nodes|namespaces, watch peers: what a relay or an agent knows, in the forms of the `hubble` command.
import { Option, type Command } from 'commander';
import { escape, escapeJson } from '../hubble/print/escape.ts';
import { enumNames, root } from '../hubble/proto.ts';
import { toJson } from '../hubble/json.ts';
import type { ChangeNotification, Node } from '../hubble/types.ts';
import { connectionFlags, connectionOf } from './connection.ts';
import { withClient } from './hubble-client.ts';
import { aligned } from './observe-events.ts';

type Form = 'table' | 'wide' | 'json';
const formOption = (): Option => new Option('-o, --output <form>', 'how to print').choices(['table', 'wide', 'json']).default('table');

const states = enumNames('relay.NodeState');
const changes = enumNames('peer.ChangeNotificationType');
const none = 'N/A';

const stateText = (state: number | undefined): string => {
  const name = (states.get(state ?? 0) ?? '').replace(/^(UNKNOWN_)?NODE(_STATE)?_?/, '').toLowerCase() || 'unknown';
  return name[0]!.toUpperCase() + name.slice(1);
};

/** Go's form, to the second. */
export function ageText(ns: number): string {
  const seconds = Math.floor(ns / 1e9);
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  return `${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds % 60}s`;
}

export function nodeCells(node: Node, wide: boolean): string[] {
  const { name = '', version = '', address = '', tls } = node;
  const [uptime, kept, capacity, seen] = [node.uptime_ns, node.num_flows, node.max_flows, node.seen_flows].map((value) => Number(value ?? 0)) as [number, number, number, number];
  return [
    name, stateText(node.state), uptime === 0 ? none : ageText(uptime), uptime === 0 ? none : (seen / (uptime / 1e9)).toFixed(2),
    capacity === 0 ? none : `${kept}/${capacity} (${((kept / capacity) * 100).toFixed(2).padStart(6)}%)`,
    ...(wide ? [version || none, address, tls?.enabled === true ? 'Enabled' : 'Disabled'] : []),
  ].map(escape);
}

const printRows = (header: readonly string[], rows: readonly (readonly string[])[]): void => { for (const line of aligned([header, ...rows])) process.stdout.write(`${line.trimEnd()}\n`); };

export function register(program: Command): void {
  const list = program.command('list').description('nodes and namespaces, as the observer knows them').addHelpText('after', '\nExample:\n  ./weir list nodes -o wide');
  connectionFlags(list.command('nodes').alias('node').description('the nodes of a relay, or the agent itself')).addOption(formOption())
    .addHelpText('after', '\nExample:\n  sudo ./weir list nodes --server unix:///run/weir/relay.sock')
    .action(async ({ output }: { output: Form }, command: Command) => {
      const { nodes = [] } = await withClient(connectionOf(command), async (client) => client.nodes());
      nodes.sort((a, b) => (a.name! < b.name! ? -1 : 1));
      if (output === 'json') printJson(nodes.map((node) => toJson(root.lookupType('observer.Node'), node)));
      else printRows(['NAME', 'STATUS', 'AGE', 'FLOWS/S', 'CURRENT/MAX-FLOWS', ...(output === 'wide' ? ['VERSION', 'ADDRESS', 'TLS'] : [])], nodes.map((node) => nodeCells(node, output === 'wide')));
    });
  connectionFlags(list.command('namespaces').aliases(['namespace', 'ns']).description('namespaces that flows of the last hour named')).addOption(formOption())
    .addHelpText('after', '\nExample:\n  sudo ./weir list namespaces')
    .action(async ({ output }: { output: Form }, command: Command) => {
      const { namespaces = [] } = await withClient(connectionOf(command), async (client) => client.namespaces());
      if (output === 'json') printJson(namespaces.map((one) => toJson(root.lookupType('observer.Namespace'), one)));
      else printRows(['NAMESPACE', ...(output === 'wide' ? ['CLUSTER'] : [])], namespaces.map(({ namespace = '', cluster = '' }) => [namespace, ...(output === 'wide' ? [cluster] : [])].map(escape)));
    });
  const watch = program.command('watch').alias('w').description('what a server tells as it changes').addHelpText('after', '\nExample:\n  ./weir watch peers');
  connectionFlags(watch.command('peers').alias('peer').description('nodes that come, change and go, as an agent tells relays'))
    .addHelpText('after', '\nExample:\n  sudo ./weir watch peers')
    .action(async (_: object, command: Command) => {
      await withClient(connectionOf(command), async (client) => client.watchPeers((change) => { process.stdout.write(`${peerLine(change)}\n`); }));
    });
}

export function peerLine({ type, address = '', name = '', tls }: ChangeNotification): string {
  const serverName = tls?.server_name ?? '';
  return escape(`${(changes.get(type ?? 0) ?? 'UNKNOWN').padEnd(12)} ${address} ${name}${serverName === '' ? '' : ` (TLS.ServerName: ${serverName})`}`);
}

const printJson = (value: object): void => { process.stdout.write(`${escapeJson(JSON.stringify(value, null, 2))}\n`); };
