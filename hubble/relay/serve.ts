// The relay: observer.Observer for all nodes together, health and reflection. What each node answers comes from nodes.ts.
import { GrpcServer } from '../grpc/server.ts';
import { status, StatusError } from '../grpc/status.ts';
import { Health } from '../health.ts';
import { observerService } from '../proto.ts';
import { addReflection } from '../reflection.ts';
import {
  nodeState, type GetNamespacesResponse, type GetNodesResponse, type Node, type ServerStatusResponse,
} from '../types.ts';
import { MergedFlows, type RelayOptions } from './flows.ts';
import type { NodeConnection, Nodes } from './nodes.ts';

/** A node that says nothing for so long is left out of an answer. */
const answerMs = 5_000;
/** Names of nodes in a ServerStatus; the rest is in the count. */
const maxUnavailableNames = 10;

const services = ['observer.Observer', 'grpc.health.v1.Health'];

type Method<Response> = { readonly path: string; readonly requestSerialize: (request: object) => Buffer; readonly responseDeserialize: (data: Buffer) => Response };
type Answer<Response> = { readonly node: NodeConnection; readonly response: Response } | { readonly node: NodeConnection; readonly error: string };

/** Of every node, or why not; never longer than `answerMs`. */
const askAll = async <Response>(nodes: Nodes, method: Method<Response>): Promise<Answer<Response>[]> => Promise.all(nodes.list().map(async (node): Promise<Answer<Response>> => new Promise((resolve) => {
  if (!node.connected) { resolve({ node, error: node.trouble! }); return; }
  node.client!.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, {}, { deadline: Date.now() + answerMs },
    (error, response) => { resolve(error ? { node, error: error.message } : { node, response: response! }); });
})));

const sum = (values: readonly unknown[]): number => values.reduce((total: number, value) => total + Number(value ?? 0), 0);

async function statusOf(nodes: Nodes, version: string): Promise<ServerStatusResponse> {
  const answers = await askAll(nodes, observerService.ServerStatus);
  const all = answers.flatMap((answer) => ('response' in answer ? [answer.response] : []));
  const away = answers.flatMap((answer) => ('error' in answer ? [answer.node.peer.name] : [])).sort();
  const rate = ({ flows_rate: given, seen_flows: seen, uptime_ns: uptime }: ServerStatusResponse): number => given || (Number(uptime) > 0 ? Number(seen) / (Number(uptime) / 1e9) : 0);
  return {
    num_flows: sum(all.map((one) => one.num_flows)), max_flows: sum(all.map((one) => one.max_flows)), seen_flows: sum(all.map((one) => one.seen_flows)),
    uptime_ns: Math.max(0, ...all.map((one) => Number(one.uptime_ns))), flows_rate: sum(all.map(rate)), version,
    num_connected_nodes: { value: all.length }, num_unavailable_nodes: { value: away.length }, unavailable_nodes: away.slice(0, maxUnavailableNames),
  };
}

async function nodesOf(nodes: Nodes): Promise<GetNodesResponse> {
  const answers = await askAll(nodes, observerService.ServerStatus);
  const rows = answers.map((answer): Node => {
    const { name, address, serverName } = answer.node.peer;
    const node: Node = { name, address, tls: { enabled: serverName !== undefined, ...(serverName !== undefined && { server_name: serverName }) } };
    if ('error' in answer) return { ...node, state: answer.node.connected ? nodeState.error : nodeState.unavailable };
    const { version, uptime_ns: uptime, num_flows: kept, max_flows: capacity, seen_flows: seen } = answer.response;
    return { ...node, state: nodeState.connected, version: version!, uptime_ns: uptime!, num_flows: kept!, max_flows: capacity!, seen_flows: seen! };
  });
  return { nodes: rows.sort((a, b) => (a.name! < b.name! ? -1 : 1)) };
}

async function namespacesOf(nodes: Nodes): Promise<GetNamespacesResponse> {
  const answers = await askAll(nodes, observerService.GetNamespaces);
  const known = new Map<string, { cluster: string; namespace: string }>();
  for (const answer of answers) {
    for (const { cluster = '', namespace = '' } of ('response' in answer ? answer.response.namespaces : undefined) ?? []) known.set(`${cluster}/${namespace}`, { cluster, namespace });
  }
  return { namespaces: [...known].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one) };
}

export interface Relay {
  readonly server: GrpcServer;
  /** Ends every call, and what it does by itself. */
  readonly close: () => void;
}

export function relayServer(nodes: Nodes, version: string, options: RelayOptions): Relay {
  const server = new GrpcServer({ 'hubble-relay-version': version });
  const refuse = (name: string) => (): never => { throw new StatusError(status.unimplemented, `${name}: a relay has none; ask the agent of a node`); };
  server.stream(observerService.GetFlows, (call) => { new MergedFlows(nodes, call, options); });
  server.stream(observerService.GetAgentEvents, refuse('GetAgentEvents'));
  server.stream(observerService.GetDebugEvents, refuse('GetDebugEvents'));
  server.unary(observerService.GetNodes, async () => nodesOf(nodes));
  server.unary(observerService.GetNamespaces, async () => namespacesOf(nodes));
  server.unary(observerService.ServerStatus, async () => statusOf(nodes, version));
  const health = new Health(services);
  const look = (): void => { health.serving = nodes.list().some((node) => node.connected); };
  look();
  health.addTo(server);
  addReflection(server, services);
  const stop = nodes.subscribe(look);
  return { server, close: () => { stop(); server.close(); } };
}
