// weir observe agent-events|debug-events: what became of the agent itself, in every form of `hubble observe agent-events`.
import { ConfigError } from '../agent/errors.ts';
import { toJson } from '../hubble/json.ts';
import { escape, escapeJson } from '../hubble/print/escape.ts';
import { formatTime } from '../hubble/print/time-format.ts';
import { enumNames, root } from '../hubble/proto.ts';
import type { AgentEvent, GetAgentEventsResponse, GetDebugEventsResponse, GetEventsRequest } from '../hubble/types.ts';
import type { Server } from './connection.ts';
import { withClient } from './hubble-client.ts';

export type EventKind = 'agent-events' | 'debug-events';

export interface EventsForm { readonly output: string; readonly timeFormat: string; readonly printNodeName?: boolean; readonly write: (text: string) => void; readonly drained: () => Promise<void> | undefined }

const types = enumNames('flow.AgentEventType');
const debugTypes = enumNames('flow.DebugEventType');
const messages = { 'agent-events': root.lookupType('observer.GetAgentEventsResponse'), 'debug-events': root.lookupType('observer.GetDebugEventsResponse') };

export async function observeEvents(kind: EventKind, server: Server, request: GetEventsRequest, form: EventsForm): Promise<void> {
  const printer = printerOf(kind, form);
  await withClient(server, async (client) => {
    const receive = (response: GetAgentEventsResponse & GetDebugEventsResponse): Promise<void> | undefined => { printer.print(response); return form.drained(); };
    if (kind === 'agent-events') await client.getAgentEvents(request, receive);
    else await client.getDebugEvents(request, receive);
  });
  printer.finish();
}

type Response = GetAgentEventsResponse & GetDebugEventsResponse;

function printerOf(kind: EventKind, { output, timeFormat, printNodeName, write }: EventsForm): { print: (response: Response) => void; finish: () => void } {
  const cells = (response: Response): [string, string][] => {
    const { type, details } = kind === 'agent-events' ? agentText(response.agent_event ?? {}, timeFormat) : debugText(response.debug_event ?? {});
    return [['TIMESTAMP', formatTime(response.time, timeFormat)], ...(printNodeName === true ? [['NODE', escape(response.node_name ?? '')] as [string, string]] : []), ['TYPE', escape(type)], ['DETAILS', escape(details)]];
  };
  const rows: string[][] = [];
  let separator = '';
  switch (output) {
    case 'json': case 'jsonpb':
      return { print: (response) => { write(`${escapeJson(JSON.stringify(toJson(messages[kind], response)))}\n`); }, finish: () => undefined };
    case 'dict':
      return { print: (response) => { write(separator + cells(response).map(([name, value]) => `${name.padStart(9)}: ${value}\n`).join('')); separator = '------------\n'; }, finish: () => undefined };
    case 'table': case 'tab':
      return {
        print: (response) => { const row = cells(response); if (rows.length === 0) rows.push(row.map(([name]) => name)); rows.push(row.map(([, value]) => value)); },
        finish: () => { for (const line of aligned(rows)) write(`${line}\n`); },
      };
    case 'compact':
      return {
        print: (response) => {
          const values = Object.fromEntries(cells(response));
          write(`${values['TIMESTAMP']}${printNodeName === true ? ` [${values['NODE']}]` : ''}: ${values['TYPE']} (${values['DETAILS']})\n`);
        },
        finish: () => undefined,
      };
    default: throw new ConfigError(`-o ${output}: no form of events`);
  }
}

/** Columns three spaces apart, the last as it is. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]! + 3))).join(''));
}

function agentText(event: AgentEvent, timeFormat: string): { type: string; details: string } {
  const { agent_start: start, policy_update: policy, endpoint_regenerate: judged, endpoint_update: endpoint, ipcache_update: prefix } = event;
  const type = types.get(event.type ?? 0) ?? String(event.type);
  const some = (name: string, value: string | number | undefined): string => (value === undefined || value === '' ? '' : `, ${name}: ${value}`);
  const labels = (list: readonly string[] | undefined): string => `[${(list ?? []).join(',')}]`;
  const details = start ? `start time: ${formatTime(start.time, timeFormat)}`
    : policy ? `labels: ${labels(policy.labels)}, revision: ${String(policy.revision ?? 0)}, count: ${String(policy.rule_count ?? 0)}`
      : judged ? `id: ${String(judged.id)}, labels: ${labels(judged.labels)}${some('error', judged.error)}`
        : endpoint ? `id: ${String(endpoint.id)}${some('namespace', endpoint.namespace)}${some('pod name', endpoint.pod_name)}`
          : prefix ? `cidr: ${prefix.cidr ?? ''}, identity: ${prefix.identity ?? 0}${some('old identity', prefix.old_identity?.value)}${some('host ip', prefix.host_ip)}${some('old host ip', prefix.old_host_ip)}`
            : 'UNKNOWN';
  return { type, details };
}

function debugText(event: { type?: number; message?: string }): { type: string; details: string } {
  return { type: debugTypes.get(event.type ?? 0) ?? String(event.type), details: event.message ?? '' };
}
