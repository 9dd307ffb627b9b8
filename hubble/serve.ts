// The gRPC side of the observer: observer.Observer and grpc.health.v1.Health on a unix socket that only root can open.
import { rmSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { RequestError } from './errors.ts';
import { compileEntryFilters } from './filters/raw.ts';
import type { Observer } from './observer.ts';
import { healthService, observerService, type HealthCheckRequest, type HealthCheckResponse } from './proto.ts';
import { compileQuery, type Query } from './query.ts';
import { FlowStream } from './stream.ts';
import type { GetFlowsRequest, GetFlowsResponse } from './types.ts';

const serving: HealthCheckResponse = { status: 1 };
const services = new Set(['', 'observer.Observer', 'grpc.health.v1.Health']);

type FlowsCall = grpc.ServerWritableStream<GetFlowsRequest, GetFlowsResponse | Buffer>;

const unimplemented = (name: string): Partial<grpc.StatusObject> =>
  ({ code: grpc.status.UNIMPLEMENTED, details: `${name}: this agent does not offer it; GetFlows, GetNamespaces and ServerStatus it does` });

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

/** Adds the services; agents, and tests with a server of their own, call it. */
export function addServices(server: grpc.Server, observer: Observer): void {
  const versioned = <Call extends { sendMetadata: (metadata: grpc.Metadata) => void }>(call: Call): Call => {
    const metadata = new grpc.Metadata();
    metadata.set('hubble-server-version', observer.version);
    call.sendMetadata(metadata);
    return call;
  };
  const refuseStream = (name: string) => (call: grpc.ServerWritableStream<object, object>) => { call.emit('error', unimplemented(name)); };
  server.addService(observerService, {
    GetFlows: (call: FlowsCall) => { getFlows(observer, versioned(call)); },
    GetAgentEvents: refuseStream('GetAgentEvents'),
    GetDebugEvents: refuseStream('GetDebugEvents'),
    GetNodes: (_: unknown, done: grpc.sendUnaryData<object>) => { done(unimplemented('GetNodes')); },
    GetNamespaces: (call: grpc.ServerUnaryCall<object, object>, done: grpc.sendUnaryData<object>) => { versioned(call); done(null, observer.namespaces()); },
    ServerStatus: (call: grpc.ServerUnaryCall<object, object>, done: grpc.sendUnaryData<object>) => { versioned(call); done(null, observer.status()); },
  });
  server.addService(healthService, {
    Check: (call: grpc.ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>, done: grpc.sendUnaryData<HealthCheckResponse>) => {
      if (services.has(call.request.service ?? '')) done(null, serving);
      else done({ code: grpc.status.NOT_FOUND, details: `unknown service ${JSON.stringify(call.request.service)}` });
    },
  });
}

/** The folder of the socket must exist. The result closes it and ends every stream. */
export async function serveHubble(observer: Observer, socketPath: string): Promise<() => void> {
  const server = new grpc.Server();
  addServices(server, observer);
  rmSync(socketPath, { force: true });
  const mask = process.umask(0o177); // the socket is 0600 from its first moment
  try {
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix://${socketPath}`, grpc.ServerCredentials.createInsecure(), (error) => { if (error) reject(error); else resolve(); });
    });
  } finally {
    process.umask(mask);
  }
  return () => {
    server.forceShutdown();
    rmSync(socketPath, { force: true });
  };
}
