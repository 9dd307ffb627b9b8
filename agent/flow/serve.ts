// The agent's side of the Hubble API: hands the observer, the changes of the tables and the peers to hubble/serve.ts; exporter and metrics when asked for.
import { AgentEvents } from '../../hubble/agent-events.ts';
import { RequestError } from '../../hubble/errors.ts';
import { Exporter } from '../../hubble/exporter/exporter.ts';
import { countFlows, defaultMetrics } from '../../hubble/metrics/flows.ts';
import { Registry } from '../../hubble/metrics/registry.ts';
import { serveMetrics } from '../../hubble/metrics/serve.ts';
import { isLoopback, splitAddress } from '../../hubble/listen.ts';
import type { Observer } from '../../hubble/observer.ts';
import type { HubbleOptions } from '../../hubble/options.ts';
import { Peers, serverNameOf, type Peer } from '../../hubble/peer.ts';
import { serveHubble } from '../../hubble/serve.ts';
import type { Tables } from '../agent.ts';
import type { Datapath } from '../datapath/maps.ts';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { nodeInstance, type Membership } from '../node/cluster.ts';
import type { NodeRow } from '../node/tables.ts';
import type { Progress } from '../progress.ts';
import { reportChanges } from './agent-events.ts';
import type { Audits } from './audits.ts';
import type { Resets } from '../service/resets.ts';
import { agentMetrics } from './metrics.ts';

export interface Parts {
  readonly observer: Observer;
  readonly instance: Instance;
  /** Absent: the only node. */
  readonly cluster: Membership | undefined;
  readonly tables: Tables;
  readonly audits: Audits;
  readonly datapath: Datapath;
  readonly progress: Progress;
  readonly resets: Resets;
  readonly log: (line: string) => void;
}

/** Throws ConfigError when something of it cannot be had. The result ends it. */
export async function serveFlows(parts: Parts, options: HubbleOptions): Promise<() => Promise<void>> {
  const undo: (() => void | Promise<void>)[] = [];
  const stop = async (): Promise<void> => { for (const step of undo.splice(0).reverse()) await step(); };
  try {
    await start(parts, options, undo);
    return stop;
  } catch (error) {
    await stop();
    throw error instanceof RequestError ? new ConfigError(error.message) : error;
  }
}

async function start({ observer, audits, instance, cluster, tables, datapath, progress, resets, log }: Parts, { listen, exportFile, metrics }: HubbleOptions, undo: (() => void | Promise<void>)[]): Promise<void> {
  const events = new AgentEvents(observer.nodeName);
  const peers = new Peers();
  undo.push(reportChanges(tables, events));
  const serving = await serveHubble({ observer, events, peers }, { socketPath: instance.hubbleSocket, ...(listen && { listen }), log });
  undo.push(serving.close);
  const look = (): void => {
    const nodes = tables.nodes.rows();
    const own = nodes.find(({ local }) => local);
    peers.set([selfOf(observer.nodeName, instance, own, listen, serving.port), ...nodes.filter((row) => !row.local).map((row) => otherOf(row, instance, cluster, listen, serving.port))]);
  };
  look();
  undo.push(tables.nodes.subscribe(look));
  const exporter = exportFile === undefined ? undefined : new Exporter(exportFile, observer, log);
  if (exporter !== undefined) undo.push(async () => exporter.close());
  if (metrics === undefined) return;
  const registry = new Registry();
  undo.push(countFlows(observer, metrics.wanted ?? defaultMetrics, registry));
  const own = agentMetrics({ observer, events, exporter, audits, datapath, tables, progress, resets });
  registry.collect(own.collect);
  undo.push(own.stop, (await serveMetrics(registry, metrics.address)).close);
}

/** Who listens on every address of the node is reached by one that the other nodes know, else by its name. */
function selfOf(nodeName: string, { hubbleSocket }: Instance, own: NodeRow | undefined, listen: HubbleOptions['listen'], port: number | undefined): Peer {
  if (listen === undefined || port === undefined || (own !== undefined && isLoopback(splitAddress(listen.address).host))) return { name: nodeName, address: `unix://${hubbleSocket}` };
  const { host } = splitAddress(listen.address);
  const known = own === undefined ? nodeName : addressOf(own);
  return { name: nodeName, address: `${host === '' || host === '[::]' || host === '0.0.0.0' ? known : host}:${port}`, ...(listen.tls && { serverName: serverNameOf(nodeName) }) };
}

/** Nodes are set up alike: what this one listens on, the others do too. On one machine each has its socket. */
function otherOf(row: NodeRow, instance: Instance, cluster: Membership | undefined, listen: HubbleOptions['listen'], port: number | undefined): Peer {
  const { name } = row;
  if (listen !== undefined && port !== undefined && !isLoopback(splitAddress(listen.address).host)) return { name, address: `${addressOf(row)}:${port}`, ...(listen.tls && { serverName: serverNameOf(name) }) };
  const clusterName = instance.name.slice(0, -`-${cluster?.node ?? ''}`.length);
  return { name, address: `unix://${nodeInstance(clusterName, name).hubbleSocket}` };
}

const addressOf = ({ ipv4, ipv6 }: NodeRow): string => ipv4 ?? `[${ipv6}]`;
