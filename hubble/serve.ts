// The gRPC side of an agent's observer: observer.Observer, peer.Peer, health and reflection, on a unix socket and, when asked, on TCP.
import { streamAgentEvents, type AgentEvents } from './agent-events.ts';
import { RequestError } from './errors.ts';
import { compileEntryFilters } from './filters/raw.ts';
import type { Call } from './grpc/call.ts';
import { GrpcServer } from './grpc/server.ts';
import { status, StatusError } from './grpc/status.ts';
import { Health } from './health.ts';
import { listenTcp, listenUnix, type Listen } from './listen.ts';
import type { Observer } from './observer.ts';
import type { Peers } from './peer.ts';
import { observerService } from './proto.ts';
import { compileQuery, type Query } from './query.ts';
import { addReflection } from './reflection.ts';
import { CallSink } from './sink.ts';
import { FlowStream } from './stream.ts';
import { nodeState, type GetFlowsRequest, type GetFlowsResponse, type GetNodesResponse } from './types.ts';

/** What an agent offers. */
export interface Served {
  readonly observer: Observer;
  readonly events: AgentEvents;
  readonly peers: Peers;
}

const services = ['observer.Observer', 'peer.Peer', 'grpc.health.v1.Health'];

function getFlows(observer: Observer, call: Call<GetFlowsRequest, GetFlowsResponse>): void {
  const { entries } = observer;
  let query: Query;
  let matches: (number: number) => boolean;
  try {
    query = compileQuery(call.request);
    matches = compileEntryFilters(entries, call.request.whitelist, call.request.blacklist);
  } catch (error) {
    if (error instanceof RequestError) throw new StatusError(status.invalidArgument, error.message);
    throw error;
  }
  const stream = new FlowStream(entries, query, matches, new CallSink(call, entries, query.mask), observer.nodeName, observer.now);
  call.whenOver(() => { stream.stop(); });
  stream.run();
}

/** An agent knows the flows of its own node only. */
function nodesOf({ observer, peers }: Served): GetNodesResponse {
  const { version, uptime_ns: uptime, num_flows: kept, max_flows: capacity, seen_flows: seen } = observer.status();
  const self = peers.list().find(({ name }) => name === observer.nodeName);
  const serverName = self?.serverName;
  return {
    nodes: [{
      name: observer.nodeName, address: self?.address ?? '', state: nodeState.connected, version: version!, uptime_ns: uptime!, num_flows: kept!, max_flows: capacity!, seen_flows: seen!,
      tls: { enabled: serverName !== undefined, ...(serverName !== undefined && { server_name: serverName }) },
    }],
  };
}

/** Agents, and tests that listen by themselves, call it. */
export function hubbleServer(served: Served): GrpcServer {
  const { observer } = served;
  const server = new GrpcServer({ 'hubble-server-version': observer.version });
  server.stream(observerService.GetFlows, (call) => { getFlows(observer, call); });
  server.stream(observerService.GetAgentEvents, (call) => { streamAgentEvents(served.events, call); });
  // Nothing here writes debug events: none are there, and who follows waits.
  server.stream(observerService.GetDebugEvents, (call) => { if (call.request.follow !== true) call.end(); });
  server.unary(observerService.GetNodes, () => nodesOf(served));
  server.unary(observerService.GetNamespaces, () => observer.namespaces());
  server.unary(observerService.ServerStatus, () => observer.status());
  served.peers.addTo(server);
  new Health(services).addTo(server);
  addReflection(server, services);
  return server;
}

export interface ServeOptions {
  /** Its folder must exist. */
  readonly socketPath: string;
  readonly listen?: Listen;
  readonly log: (line: string) => void;
}

export interface Serving {
  /** Of the TCP listener. */
  readonly port: number | undefined;
  /** Ends every stream. */
  readonly close: () => void;
}

/** Throws RequestError when it cannot listen where it shall. */
export async function serveHubble(served: Served, { socketPath, listen, log }: ServeOptions): Promise<Serving> {
  const server = hubbleServer(served);
  const removeSocket = await listenUnix(server, socketPath);
  const close = (): void => {
    server.close();
    removeSocket();
  };
  if (listen === undefined) return { port: undefined, close };
  try {
    const tcp = await listenTcp(server, listen, log);
    return { port: tcp.port, close: () => { close(); tcp.close(); } };
  } catch (error) {
    close();
    throw error;
  }
}
