// The gRPC side of an agent's observer: observer.Observer, peer.Peer, health and reflection, on a unix socket and, when asked, on TCP.
import grpc from '@grpc/grpc-js';
import { streamAgentEvents, type AgentEvents } from './agent-events.ts';
import { RequestError } from './errors.ts';
import { compileEntryFilters } from './filters/raw.ts';
import { Health } from './health.ts';
import { listenTcp, listenUnix, type Listen } from './listen.ts';
import type { Observer } from './observer.ts';
import type { Peers } from './peer.ts';
import { observerService } from './proto.ts';
import { compileQuery, type Query } from './query.ts';
import { addReflection } from './reflection.ts';
import { FlowStream } from './stream.ts';
import { nodeState, type GetEventsRequest, type GetFlowsRequest, type GetFlowsResponse, type GetNodesResponse } from './types.ts';

/** What an agent offers. */
export interface Served {
  readonly observer: Observer;
  readonly events: AgentEvents;
  readonly peers: Peers;
}

const services = ['observer.Observer', 'peer.Peer', 'grpc.health.v1.Health'];

type FlowsCall = grpc.ServerWritableStream<GetFlowsRequest, GetFlowsResponse | Buffer>;

function getFlows(observer: Observer, call: FlowsCall): void {
  let query: Query;
  let matches: (number: number) => boolean;
  try {
    query = compileQuery(call.request);
    matches = compileEntryFilters(observer.entries, call.request.whitelist, call.request.blacklist);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    call.emit('error', { code: grpc.status.INVALID_ARGUMENT, details: error.message });
    return;
  }
  const stream = new FlowStream(observer.entries, query, matches, {
    write: (response) => call.write(response),
    whenDrained: (go) => { call.once('drain', go); },
    end: () => { call.end(); },
  }, observer.nodeName, observer.now);
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => { stream.stop(); });
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

/** Adds the services; agents, and tests with a server of their own, call it. */
export function addServices(server: grpc.Server, served: Served): void {
  const { observer } = served;
  const versioned = <Call extends { sendMetadata: (metadata: grpc.Metadata) => void }>(call: Call): Call => {
    const metadata = new grpc.Metadata();
    metadata.set('hubble-server-version', observer.version);
    call.sendMetadata(metadata);
    return call;
  };
  type UnaryCall = grpc.ServerUnaryCall<object, object>;
  const unary = (answer: () => object) => (call: UnaryCall, done: grpc.sendUnaryData<object>): void => { versioned(call); done(null, answer()); };
  server.addService(observerService, {
    GetFlows: (call: FlowsCall) => { getFlows(observer, versioned(call)); },
    GetAgentEvents: (call: Parameters<typeof streamAgentEvents>[1]) => { streamAgentEvents(served.events, versioned(call)); },
    // Nothing here writes debug events: none are there, and who follows waits.
    GetDebugEvents: (call: grpc.ServerWritableStream<GetEventsRequest, object>) => { if (versioned(call).request.follow !== true) call.end(); },
    GetNodes: unary(() => nodesOf(served)),
    GetNamespaces: unary(() => observer.namespaces()),
    ServerStatus: unary(() => observer.status()),
  });
  served.peers.addTo(server);
  new Health(services).addTo(server);
  addReflection(server, services);
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
  const server = new grpc.Server();
  addServices(server, served);
  const removeSocket = await listenUnix(server, socketPath);
  const close = (): void => {
    server.forceShutdown();
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
