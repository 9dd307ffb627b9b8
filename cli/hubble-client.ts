// The command line's side of the Hubble API: a connection to an agent's socket, or to any other server that speaks it.
import { accessSync, constants } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { ConfigError } from '../agent/errors.ts';
import { instanceOf } from '../agent/instance.ts';
import { observerService } from '../hubble/proto.ts';
import type { GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, ServerStatusResponse } from '../hubble/types.ts';

export interface Server {
  /** As gRPC takes it: `unix:///path` or `host:port`. */
  readonly address: string;
  /** What to do when nobody answers. */
  readonly mend: string;
}

const requestTimeoutMs = 12_000;

/** `server` as the user gave it, else the socket of the instance. */
export function serverOf(server: string | undefined, instance: string): Server {
  if (server === undefined) {
    if (process.getuid?.() !== 0) throw new ConfigError('only root may read the flows of an agent', 'run the same command with sudo');
    return { address: `unix://${instanceOf(instance).hubbleSocket}`, mend: `start one with: ./weir up DIR${instance === 'default' ? '' : ` --instance ${instance}`}` };
  }
  const mend = 'check the address and that the server runs';
  if (server.startsWith('tls://')) throw new ConfigError(`--server ${server}: TLS is not spoken by this client`, 'use unix:///PATH or HOST:PORT');
  if (/^unix:\/*[^/]/.test(server)) return { address: server, mend };
  if (!/^[^\s/]+:[0-9]{1,5}$/.test(server)) throw new ConfigError(`--server ${server}: not an address`, 'use unix:///PATH or HOST:PORT');
  return { address: server, mend };
}

export class HubbleClient {
  readonly #server: Server;
  readonly #client: grpc.Client;

  constructor(server: Server) {
    checkSocket(server);
    this.#server = server;
    this.#client = new grpc.Client(server.address, grpc.credentials.createInsecure());
  }

  /** Rejects when no connection is made in time. */
  async connect(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#client.waitForReady(Date.now() + timeoutMs, (error) => {
        if (error) reject(new ConfigError(`no answer from ${this.#server.address} within ${timeoutMs / 1000} s`, this.#server.mend));
        else resolve();
      });
    });
  }

  /** Resolves when the server has sent everything. `receive` may give a promise: until it is kept, nothing more is read. */
  async getFlows(request: GetFlowsRequest, receive: (response: GetFlowsResponse) => void | Promise<void>): Promise<void> {
    const { path, requestSerialize, responseDeserialize } = observerService.GetFlows;
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    try {
      for await (const response of call) await receive(response as GetFlowsResponse);
    } catch (error) {
      throw this.#explain(error);
    } finally {
      call.cancel();
    }
  }

  serverStatus(): Promise<ServerStatusResponse> { return this.#unary(observerService.ServerStatus); }

  namespaces(): Promise<GetNamespacesResponse> { return this.#unary(observerService.GetNamespaces); }

  close(): void { this.#client.close(); }

  async #unary<Response>(method: { path: string; requestSerialize: (request: object) => Buffer; responseDeserialize: (data: Buffer) => Response }): Promise<Response> {
    try {
      return await new Promise<Response>((resolve, reject) => {
        this.#client.makeUnaryRequest<object, Response>(method.path, method.requestSerialize, method.responseDeserialize, {}, { deadline: Date.now() + requestTimeoutMs },
          (error, response) => { if (error) reject(error); else resolve(response!); });
      });
    } catch (error) {
      throw this.#explain(error);
    }
  }

  #explain(error: unknown): unknown {
    const { code, details } = error as Partial<grpc.ServiceError>;
    if (code === undefined) return error;
    // Nobody here cancels a call that is still read: it is how a server that stops ends its streams.
    if (code === grpc.status.UNAVAILABLE || code === grpc.status.CANCELLED) return new ConfigError(`the server at ${this.#server.address} went away or does not answer`, this.#server.mend);
    if (code === grpc.status.INVALID_ARGUMENT) return new ConfigError(details ?? 'the server refused the request');
    return new ConfigError(`the server at ${this.#server.address} answered ${grpc.status[code]}: ${details ?? ''}`);
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
    throw new ConfigError(`no agent answers at ${path}`, mend);
  }
}
