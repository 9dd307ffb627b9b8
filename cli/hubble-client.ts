// The command line's side of the Hubble API: a connection to an agent's socket, or to any other server that speaks it.
import { accessSync, constants } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { ConfigError } from '../agent/errors.ts';
import { escape } from '../hubble/print/escape.ts';
import { healthService, observerService, peerService, reflectionServices } from '../hubble/proto.ts';
import type {
  ChangeNotification, GetAgentEventsResponse, GetDebugEventsResponse, GetEventsRequest, GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, ReflectionRequest, ReflectionResponse, ServerStatusResponse,
} from '../hubble/types.ts';
import type { Server } from './connection.ts';
import { newerThanThis } from './server-version.ts';

/** A server that was there and is not any more: somebody who follows may try again. */
export class ServerGone extends ConfigError {}

type Receive<Response> = (response: Response) => void | Promise<void>;
interface Method<Request, Response> { readonly path: string; readonly requestSerialize: (request: Request) => Buffer; readonly responseDeserialize: (data: Buffer) => Response }

export class HubbleClient {
  readonly #server: Server;
  readonly #client: grpc.Client;
  /** Hears once when the server is newer than this command line. */
  readonly #warn: (text: string) => void;
  #warned = false;

  constructor(server: Server, warn: (text: string) => void = () => undefined) {
    checkSocket(server);
    this.#server = server;
    this.#warn = warn;
    this.#client = new grpc.Client(server.address, server.credentials, server.options);
  }

  /** Rejects when no connection is made in time. */
  async connect(): Promise<void> {
    const { address, mend, dialTimeoutMs } = this.#server;
    await new Promise<void>((resolve, reject) => {
      this.#client.waitForReady(Date.now() + dialTimeoutMs, (error) => {
        if (error) reject(new ServerGone(`no answer from ${address} within ${dialTimeoutMs / 1000} s`, mend));
        else resolve();
      });
    });
  }

  /** Resolves when the server has sent everything. `receive` may give a promise: until it is kept, nothing more is read. */
  async getFlows(request: GetFlowsRequest, receive: Receive<GetFlowsResponse>): Promise<void> { await this.#stream(observerService.GetFlows, request, receive); }

  async getAgentEvents(request: GetEventsRequest, receive: Receive<GetAgentEventsResponse>): Promise<void> { await this.#stream(observerService.GetAgentEvents, request, receive); }

  async getDebugEvents(request: GetEventsRequest, receive: Receive<GetDebugEventsResponse>): Promise<void> { await this.#stream(observerService.GetDebugEvents, request, receive); }

  async watchPeers(receive: Receive<ChangeNotification>): Promise<void> { await this.#stream(peerService.Notify, {}, receive); }

  async serverStatus(): Promise<ServerStatusResponse> { return this.#unary(observerService.ServerStatus, {}); }

  async namespaces(): Promise<GetNamespacesResponse> { return this.#unary(observerService.GetNamespaces, {}); }

  async nodes(): Promise<GetNodesResponse> { return this.#unary(observerService.GetNodes, {}); }

  async isHealthy(): Promise<boolean> { return (await this.#unary(healthService.Check, { service: 'observer.Observer' })).status === 1; }

  /** Server reflection, in its older form, which every Hubble has. */
  async reflect(request: ReflectionRequest): Promise<ReflectionResponse> {
    const { path, requestSerialize, responseDeserialize } = reflectionServices[1]!.ServerReflectionInfo;
    const call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#server.metadata, { deadline: Date.now() + this.#server.requestTimeoutMs });
    try {
      call.end(request);
      for await (const response of call) return response as ReflectionResponse;
    } catch (error) {
      throw this.#explain(error);
    } finally {
      call.cancel();
    }
    throw new ConfigError(`the server at ${this.#server.address} gave no answer`);
  }

  close(): void { this.#client.close(); }

  async #stream<Request, Response>({ path, requestSerialize, responseDeserialize }: Method<Request, Response>, request: Request, receive: Receive<Response>): Promise<void> {
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.#server.metadata);
    call.on('metadata', (metadata) => { this.#compare(metadata); });
    try {
      for await (const response of call) await receive(response as Response);
    } catch (error) {
      throw this.#explain(error);
    } finally {
      call.cancel();
    }
  }

  async #unary<Request, Response>({ path, requestSerialize, responseDeserialize }: Method<Request, Response>, request: Request): Promise<Response> {
    const { metadata, requestTimeoutMs } = this.#server;
    try {
      return await new Promise<Response>((resolve, reject) => {
        const call = this.#client.makeUnaryRequest<Request, Response>(path, requestSerialize, responseDeserialize, request, metadata, { deadline: Date.now() + requestTimeoutMs },
          (error, response) => { if (error) reject(error); else resolve(response!); });
        call.on('metadata', (answered) => { this.#compare(answered); });
      });
    } catch (error) {
      throw this.#explain(error);
    }
  }

  #compare(metadata: grpc.Metadata): void {
    if (this.#warned) return;
    const text = newerThanThis(metadata);
    if (text === undefined) return;
    this.#warned = true;
    this.#warn(`${escape(text)}\n`);
  }

  #explain(error: unknown): unknown {
    const { code, details } = error as Partial<grpc.ServiceError>;
    if (code === undefined) return error;
    // Nobody here cancels a call that is still read: it is how a server that stops ends its streams.
    if (code === grpc.status.UNAVAILABLE || code === grpc.status.CANCELLED) return new ServerGone(`the server at ${this.#server.address} went away or does not answer`, this.#server.mend);
    if (code === grpc.status.INVALID_ARGUMENT) return new ConfigError(details ?? 'the server refused the request');
    return new ConfigError(`the server at ${this.#server.address} answered ${grpc.status[code]}: ${details ?? ''}`);
  }
}

/** Runs with a connection, and closes it. */
export async function withClient<Result>(server: Server, run: (client: HubbleClient) => Promise<Result>, warn = (text: string): void => { process.stderr.write(text); }): Promise<Result> {
  const client = new HubbleClient(server, warn);
  try {
    await client.connect();
    return await run(client);
  } finally {
    client.close();
  }
}

/** gRPC would only say that it is unavailable. */
function checkSocket({ address, mend }: Server): void {
  const path = /^unix:(?:\/\/)?(\/.*)$/.exec(address)?.[1];
  if (path === undefined) return;
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') throw new ConfigError(`${path}: only root may read the flows`, 'run the same command with sudo');
    throw new ServerGone(`no agent answers at ${path}`, mend);
  }
}
