// One GetFlows at the relay: the same question to every node, their answers merged by time. A node that is away is told of and waited
// for by nobody; one that comes back while the client follows goes on where it was.
import grpc from '@grpc/grpc-js';
import { observerService } from '../proto.ts';
import { nodeState, type GetFlowsRequest, type GetFlowsResponse, type Timestamp } from '../types.ts';
import { Merge } from './merge.ts';
import { NodeErrors, statusOf } from './node-errors.ts';
import type { NodeConnection, Nodes } from './nodes.ts';
import { peek } from './peek.ts';

export interface RelayOptions {
  /** Responses of each node that wait to be put in order, and how long at most. */
  readonly window: number;
  readonly drainMs: number;
  readonly errorWindowMs: number;
}

export const defaultRelayOptions: RelayOptions = { window: 100, drainMs: 1_000, errorWindowMs: 10_000 };

export type FlowsCall = grpc.ServerWritableStream<GetFlowsRequest, GetFlowsResponse | Buffer>;

/** Until then a number of flows is kept together; more than that come as every node gives them. */
const maxCounted = 65_536;

interface Peeked { readonly response: Buffer; readonly isFlow: boolean }
interface Upstream { readonly call: grpc.ClientReadableStream<Buffer>; paused: boolean }

export class MergedFlows {
  readonly #nodes: Nodes;
  readonly #call: FlowsCall;
  readonly #request: GetFlowsRequest;
  readonly #merge: Merge<Peeked>;
  readonly #errors: NodeErrors;
  readonly #upstreams = new Map<string, Upstream>();
  /** Of each node's last response: where it goes on. */
  readonly #lastMs = new Map<string, number>();
  readonly #limit: number;
  /** The last ones, when only the last are wanted. */
  readonly #tail: Peeked[] | undefined;
  #kept = 0;
  #flows = 0;
  #timer: NodeJS.Timeout | undefined;
  #blocked = false;
  #stopped = false;
  readonly #unsubscribe: () => void;

  constructor(nodes: Nodes, call: FlowsCall, { window, drainMs, errorWindowMs }: RelayOptions) {
    const { request } = call;
    const number = Number(request.number ?? 0);
    const counted = request.follow !== true && number > 0 && number <= maxCounted && (request.since == null || request.first === true);
    this.#nodes = nodes;
    this.#call = call;
    this.#request = request;
    this.#merge = new Merge({ window, drainMs, holds: request.follow !== true });
    this.#errors = new NodeErrors((response) => { this.#write(response); }, errorWindowMs);
    this.#limit = counted ? number : Infinity;
    this.#tail = counted && request.first !== true ? [] : undefined;
    for (const event of ['cancelled', 'error', 'close']) call.on(event, () => { this.#stop(); });
    this.#unsubscribe = request.follow === true ? nodes.subscribe(() => { this.#look(); }) : () => undefined;
    this.#begin();
  }

  #begin(): void {
    const all = this.#nodes.list();
    const names = (some: NodeConnection[]): string[] => some.map(({ peer }) => peer.name).sort();
    const away = all.filter((node) => !node.connected);
    this.#open(all.filter((node) => node.connected));
    if (away.length > 0) this.#write(statusOf(nodeState.unavailable, names(away)));
    this.#advance();
  }

  /** Of a client that follows: nodes that came or came back. Those that went tell by the error of their stream. */
  #look(): void {
    if (!this.#stopped) this.#open(this.#nodes.list().filter((node) => node.connected && !this.#upstreams.has(node.peer.name)));
  }

  #open(nodes: readonly NodeConnection[]): void {
    if (nodes.length === 0) return;
    this.#errors.flush(); // first that they went, then that they are back
    this.#write(statusOf(nodeState.connected, nodes.map(({ peer }) => peer.name).sort()));
    for (const node of nodes) this.#ask(node);
  }

  #ask(node: NodeConnection): void {
    const { name } = node.peer;
    const { path, requestSerialize } = observerService.GetFlows;
    const seenMs = this.#lastMs.get(name);
    const request = seenMs === undefined ? this.#request : { ...plainOf(this.#request), since: after(seenMs) };
    const call = node.client!.makeServerStreamRequest(path, requestSerialize, (data: Buffer) => data, request, forwarded(this.#call.metadata));
    const upstream: Upstream = { call, paused: false };
    this.#upstreams.set(name, upstream);
    this.#merge.open(name);
    call.on('data', (response: Buffer) => {
      const { timeMs, isFlow } = peek(response);
      if (!Number.isNaN(timeMs)) this.#lastMs.set(name, Math.max(timeMs, this.#lastMs.get(name) ?? 0));
      this.#merge.push({ response, isFlow }, Number.isNaN(timeMs) ? Date.now() : timeMs, name);
      this.#advance();
      // Not the one that the others wait for: of each there is something here, or time runs out.
      if (this.#blocked || this.#merge.full) this.#pause(upstream);
    });
    const ended = (error?: grpc.ServiceError): void => {
      if (this.#upstreams.get(name) !== upstream || this.#stopped) return;
      this.#upstreams.delete(name);
      this.#merge.close(name);
      if (error !== undefined && !this.#refused(error)) this.#errors.add(name, `${grpc.status[error.code]}: ${error.details}`);
      this.#advance();
    };
    call.on('error', (error: grpc.ServiceError) => { ended(error); });
    call.on('end', () => { ended(); });
  }

  /** A question that no node can answer is answered so. */
  #refused(error: grpc.ServiceError): boolean {
    if (error.code !== grpc.status.INVALID_ARGUMENT) return false;
    this.#call.emit('error', { code: error.code, details: error.details });
    this.#stop();
    return true;
  }

  #pause(upstream: Upstream): void {
    upstream.paused = true;
    upstream.call.pause();
  }

  /** A full window holds back only those of whom there is something in it. */
  #resume(): void {
    for (const [name, upstream] of this.#upstreams) {
      if (!upstream.paused || (this.#merge.full && !this.#merge.lacks(name))) continue;
      upstream.paused = false;
      upstream.call.resume();
    }
  }

  #advance(): void {
    while (!this.#stopped && !this.#blocked && this.#flows < this.#limit) {
      const next = this.#merge.shift();
      if (next === undefined) break;
      this.#deliver(next.item);
    }
    if (this.#stopped || this.#blocked) return;
    const done = this.#request.follow !== true && this.#upstreams.size === 0 && this.#merge.size === 0;
    if (done || (this.#tail === undefined && this.#flows >= this.#limit)) { this.#finish(); return; }
    this.#resume();
    clearTimeout(this.#timer);
    const { waitMs } = this.#merge;
    if (waitMs !== undefined) this.#timer = setTimeout(() => { this.#advance(); }, waitMs);
  }

  #deliver(one: Peeked): void {
    if (this.#tail === undefined) {
      if (one.isFlow) this.#flows += 1;
      this.#write(one.response);
    } else {
      this.#tail.push(one);
      if (one.isFlow) this.#kept += 1;
      // The oldest flow goes, and what stands before it.
      if (this.#kept > this.#limit) this.#tail.splice(0, this.#tail.findIndex(({ isFlow }) => isFlow) + 1);
      this.#kept = Math.min(this.#kept, this.#limit);
    }
  }

  #write(response: GetFlowsResponse | Buffer): void {
    if (this.#stopped || this.#call.write(response) || this.#blocked) return;
    this.#blocked = true;
    this.#call.once('drain', () => {
      this.#blocked = false;
      this.#advance();
    });
  }

  #finish(): void {
    for (const { response } of this.#tail ?? []) this.#call.write(response);
    this.#errors.flush();
    this.#stop();
    this.#call.end();
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#unsubscribe();
    this.#errors.stop();
    clearTimeout(this.#timer);
    for (const { call } of this.#upstreams.values()) call.cancel();
  }
}

const plainOf = (request: GetFlowsRequest): GetFlowsRequest => ({
  follow: true, blacklist: request.blacklist ?? [], whitelist: request.whitelist ?? [], ...(request.field_mask != null && { field_mask: request.field_mask }),
});

/** The first moment that a timestamp of milliseconds with a fraction cannot mean any more: a fraction of a microsecond later. */
function after(ms: number): Timestamp {
  const next = ms + 0.000_5;
  return { seconds: Math.floor(next / 1_000), nanos: Math.min(999_999_999, Math.ceil((next % 1_000) * 1e6)) };
}

/** What the client said beside its question; the rest is gRPC's own. */
function forwarded(metadata: grpc.Metadata): grpc.Metadata {
  const copy = new grpc.Metadata();
  for (const [key, values] of Object.entries(metadata.toHttp2Headers())) {
    if (/^(:|grpc-|te$|content-type$|user-agent$|host$)/.test(key) || values === undefined) continue;
    for (const value of metadata.get(key)) copy.add(key, value);
  }
  return copy;
}
