// weir_*: what the agent knows of itself, for Prometheus; read when somebody asks. Every counter of a loss is among them.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { AgentEvents } from '../../hubble/agent-events.ts';
import type { Exporter } from '../../hubble/exporter/exporter.ts';
import type { Collected, Sample } from '../../hubble/metrics/registry.ts';
import type { Observer } from '../../hubble/observer.ts';
import { counter, limit } from '../../bpf/types.gen.ts';
import type { Tables } from '../agent.ts';
import { droppedIn, type Datapath } from '../datapath/maps.ts';
import { sockmapCounts } from '../datapath/sockmap.ts';
import { proxyUsed, type ProxyUsed } from '../datapath/proxy-share.ts';
import { RowCounts } from '../datapath/rows.ts';
import { heldOf } from '../datapath/usage.ts';
import type { Progress } from '../progress.ts';
import type { Resets } from '../service/resets.ts';
import { version } from '../version.ts';
import type { Audits } from './audits.ts';

export interface Measured {
  readonly observer: Observer;
  readonly events: AgentEvents;
  readonly exporter: Exporter | undefined;
  readonly audits: Pick<Audits, 'uncounted'>;
  readonly datapath: Datapath;
  readonly tables: Tables;
  readonly progress: Progress;
  readonly resets: Pick<Resets, 'counts'>;
}

const one = (value: number | bigint): Sample[] => [{ value: Number(value) }];
const by = <Key extends string>(label: Key, values: Readonly<Record<string, number>>): Sample[] => Object.entries(values).map(([text, value]) => ({ labels: { [label]: text }, value }));

function countBy<Row>(rows: readonly Row[], key: (row: Row) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const row of rows) counts[key(row)] = (counts[key(row)] ?? 0) + 1;
  return counts;
}

const resetSamples = ({ counts }: Measured['resets'], packets: bigint): Sample[] =>
  [...Object.entries(counts).map(([protocol, value]) => ({ labels: { protocol, by: 'socket' }, value })), { labels: { protocol: 'TCP', by: 'packet' }, value: Number(packets) }];

/** The result collects; `stop` ends what it measures meanwhile. */
export function agentMetrics({ observer, events, exporter, audits, datapath, tables, progress, resets }: Measured): { readonly collect: () => Collected[]; readonly stop: () => Promise<void> } {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const counted = new RowCounts(['nat', 'fragments'].map((name) => datapath.object.maps.get(name)!), () => { progress.failed('conntrack'); });
  const gauge = (name: string, help: string, samples: readonly Sample[]): Collected => ({ name: `weir_${name}`, help, type: 'gauge', samples });
  const total = (name: string, help: string, samples: readonly Sample[]): Collected => ({ name: `weir_${name}_total`, help, type: 'counter', samples });
  const collect = (): Collected[] => {
    const sockets = sockmapCounts(datapath);
    const { capacity, kept, seen, overwritten, untold, lost } = observer.stats;
    const logs = exporter?.stats ?? [];
    const ofLogs = (key: 'written' | 'lost' | 'errors' | 'rotations'): Sample[] => logs.map(({ name, stats }) => ({ labels: { log: name }, value: stats[key] }));
    const { rss, heapUsed } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    const loop = [0.5, 0.99].map((quantile) => ({ labels: { quantile: String(quantile) }, value: delay.percentile(quantile * 100) / 1e9 }));
    delay.reset();
    const full: Record<string, readonly [number, number]> = {
      conntrack: [heldOf(datapath.usage), datapath.connections], ipcache: [tables.ipcache.size, limit.MAX_PREFIXES], endpoints: [tables.endpoints.size, limit.MAX_ENDPOINTS],
      ...counted.look(),
    };
    const ofMaps = (of: (rows: number, capacity: number) => number): Sample[] => by('map', Object.fromEntries(Object.entries(full).map(([map, [rows, capacity]]) => [map, of(rows, capacity)])));
    const used = tables.endpoints.rows().map(({ id, key }) => ({ key, ...proxyUsed(datapath.proxyUses, id) }));
    const ofEndpoints = (of: (row: ProxyUsed) => number): Sample[] => used.filter((row) => of(row) > 0).map((row) => ({ labels: { endpoint: row.key }, value: of(row) }));
    return [
      gauge('info', 'The agent', [{ labels: { version, node: observer.nodeName }, value: 1 }]),
      total('packets_forwarded', 'Packets that the datapath delivered', one(datapath.counter(counter.COUNTER_FORWARDED))),
      total('packets_dropped', 'Packets that the datapath dropped', one(droppedIn(datapath.drops()))),
      total('connections_refused', 'Connections that found no place in their quota', one(datapath.counter(counter.COUNTER_CT_REFUSED))),
      total('flow_records_lost', 'Flow records that found no place in the ring of the kernel', one(datapath.counter(counter.COUNTER_RECORDS_LOST))),
      total('service_connections_reset', 'Connections to a backend of a service that were reset as it went: by their socket, or in answer to a packet (each that was under way has its own)', resetSamples(resets, datapath.counter(counter.COUNTER_SERVICE_RESETS))),
      total('service_sockets_unkept', 'Requests of sockets for a service that found no place in the table, and were left to packets', one(datapath.counter(counter.COUNTER_SOCK_PEERS_FULL))),
      total('proxy_connections', 'Connections that went to Envoy', one(datapath.counter(counter.COUNTER_PROXY_CONNECTIONS))),
      total('proxy_connections_reset', 'Packets of connections through Envoy that were answered by a reset: nobody listens, or the way is another now', one(datapath.counter(counter.COUNTER_PROXY_RESETS))),
      total('proxy_packets_limited', 'Packets for Envoy beyond the share of their endpoint', ofEndpoints(({ dropped }) => dropped)),
      total('proxy_connections_limited', 'Connections through Envoy beyond those that their endpoint may have', ofEndpoints(({ refused }) => refused)),
      total('sockmap_messages', 'Messages of sockets that are joined, by the way they went', by('way', { socket: Number(sockets.messages), packets: Number(sockets.packets) })),
      total('sockmap_bytes', 'Bytes that went from socket to socket', one(sockets.bytes)),
      total('sockmap_sockets_refused', 'Sockets that found no place in the table', one(sockets.full)),
      total('rules_uncounted', 'Judgements that found no place among the counts by rule', one(datapath.counter(counter.COUNTER_RULES_UNCOUNTED))),
      total('audits_uncounted', 'Audit records that found no place in their report', one(audits.uncounted)),
      total('flows_seen', 'Flows that the observer took', one(seen)),
      total('flows_overwritten', 'Flows that later ones pushed out of the ring', one(overwritten)),
      total('flows_untold', 'Records of too many kinds at once for the live table', one(untold)),
      total('requests_uncounted', 'HTTP requests that found no place among those of weir stat', one(observer.requests.uncounted)),
      total('events_lost', 'Events lost before the observer, by place', by('source', lost)),
      total('agent_events_missed', 'Agent events overwritten before a reader took them', one(events.missed)),
      gauge('flow_ring_flows', 'Flows that are kept', one(kept)),
      gauge('flow_ring_capacity', 'Flows that can be kept', one(capacity)),
      total('export_lines_written', 'Lines written, by log', ofLogs('written')),
      total('export_lines_lost', 'Lines lost to a full or slow disk, by log', ofLogs('lost')),
      total('export_errors', 'Failed writes, by log', ofLogs('errors')),
      total('export_rotations', 'Files rotated, by log', ofLogs('rotations')),
      gauge('map_entries', 'Rows of the maps of the kernel', ofMaps((rows) => rows)),
      gauge('map_pressure_ratio', 'The same as a share of what the map can hold', ofMaps((rows, capacity) => rows / capacity)),
      gauge('table_rows', 'Rows of the tables', by('table', Object.fromEntries(Object.values(tables).map((table) => [table.name, table.size])))),
      total('table_changes', 'Transactions that changed a table', by('table', Object.fromEntries(Object.values(tables).map((table) => [table.name, table.revision])))),
      gauge('policies', 'Policies by state', by('state', { enforced: 0, audited: 0, off: 0, refused: 0, ...countBy(tables.policies.rows(), (row) => row.state) })),
      gauge('problems', 'Errors and warnings in the manifests', by('severity', { error: 0, warning: 0, ...countBy(tables.problems.rows(), (row) => row.severity) })),
      gauge('workloads', 'Workloads by phase', by('phase', countBy(tables.workloads.rows(), (row) => row.phase))),
      total('reconcile_errors', 'What a reconciler could not do; it tries again', by('reconciler', progress.errors)),
      gauge('queue_length', 'What waits: changes for the policy, ends of workloads, lines of each log', by('queue', { ...progress.queues, ...Object.fromEntries(logs.map(({ name, waiting }) => [`export ${name}`, waiting])) })),
      gauge('event_loop_delay_seconds', 'How late timers of the agent were since the last look', loop),
      gauge('memory_bytes', 'Memory of the agent', [{ labels: { kind: 'resident' }, value: rss }, { labels: { kind: 'heap' }, value: heapUsed }]),
      total('cpu_seconds', 'CPU time of the agent', [{ labels: { mode: 'user' }, value: user / 1e6 }, { labels: { mode: 'system' }, value: system / 1e6 }]),
    ];
  };
  return {
    collect,
    stop: async () => {
      delay.disable();
      await counted.idle();
    },
  };
}
