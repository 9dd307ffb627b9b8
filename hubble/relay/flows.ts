// One GetFlows at the relay: the same question to every node, their answers merged by time. A node that is away is told of and waited
// for by nobody; one that comes back while the client follows goes on where it was.
import type { IncomingHttpHeaders } from 'node:http2';
import grpc from '@grpc/grpc-js';
import type { Call } from '../grpc/call.ts';
import { Gather } from '../grpc/gather.ts';
import { encode, getFlowsResponseMessage, observerService } from '../proto.ts';
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

export const defaultRelayOptions: RelayOptions = { window: 1_000, drainMs: 1_000, errorWindowMs: 10_000 };

type FlowsCall = Call<GetFlowsRequest, GetFlowsResponse>;

/** Until then a number of flows is kept together; more than that come as every node gives them. */
const maxCounted = 65_536;

interface Peeked { readonly response: Buffer; readonly isFlow: boolean }

export class MergedFlows {
  readonly #nodes: Nodes;
  readonly #call: FlowsCall;
  readonly #gather: Gather;
  readonly #request: GetFlowsRequest;
  readonly #merge: Merge<Peeked>;
  readonly #errors: NodeErrors;
  readonly #upstreams = new Map<string, grpc.ClientReadableStream<Buffer>>();
  /** Of each node's last response: where it goes on. */
  readonly #lastMs = new Map<string, number>();
  readonly #limit: number;
  /** The last ones, when only the last are wanted. */
  readonly #tail: Peeked[] | undefined;
  #kept = 0;
  #flows = 0;
  #timer: NodeJS.Timeout | undefined;
  #advancing: NodeJS.Immediate | undefined;
  #blocked = false;
  #stopped = false;
  readonly #unsubscribe: () => void;

  constructor(nodes: Nodes, call: FlowsCall, { window, drainMs, errorWindowMs }: RelayOptions) {
    const { request } = call;
    const number = Number(request.number ?? 0);
    const counted = request.follow !== true && number > 0 && number <= maxCounted && (request.since == null || request.first === true);
    this.#nodes = nodes;
    this.#call = call;
    this.#gather = new Gather(call);
    this.#request = request;
    this.#merge = new Merge({ window, drainMs, holds: request.follow !== true });
    this.#errors = new NodeErrors((response) => { this.#write(response); this.#hold(this.#gather.flush()); }, errorWindowMs);
    this.#limit = counted ? number : Infinity;
    this.#tail = counted && request.first !== true ? [] : undefined;
    call.whenOver(() => { this.#stop(); });
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
    if (this.#stopped) return;
    this.#open(this.#nodes.list().filter((node) => node.connected && !this.#upstreams.has(node.peer.name)));
    this.#advance();
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
    const call = node.client!.makeServerStreamRequest(path, requestSerialize, (data: Buffer) => data, request, forwarded(this.#call.headers));
    this.#upstreams.set(name, call);
    this.#merge.open(name);
    call.on('data', (response: Buffer) => {
      const { timeMs, isFlow } = peek(response);
      if (!Number.isNaN(timeMs)) this.#lastMs.set(name, Math.max(timeMs, this.#lastMs.get(name) ?? 0));
      this.#merge.push({ response, isFlow }, Number.isNaN(timeMs) ? Date.now() : timeMs, name);
      this.#advanceSoon();
      // Not the one that the others wait for: of each there is something here, or time runs out.
      if (this.#blocked || this.#merge.full) call.pause();
    });
    const ended = (error?: grpc.ServiceError): void => {
      if (this.#upstreams.get(name) !== call || this.#stopped) return;
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
    this.#call.fail(error.code, error.details);
    this.#stop();
    return true;
  }

  /** A full window holds back only those of whom there is something in it. */
  #resume(): void {
    for (const [name, call] of this.#upstreams) if (call.isPaused() && !(this.#merge.full && !this.#merge.lacks(name))) call.resume();
  }

  /** What comes in one turn goes on together. */
  #advanceSoon(): void {
    if (this.#advancing !== undefined) return;
    this.#advancing = setImmediate(() => {
      this.#advancing = undefined;
      this.#advance();
    });
  }

  #advance(): void {
    while (!this.#stopped && !this.#blocked && this.#flows < this.#limit) {
      const next = this.#merge.shift();
      if (next === undefined) break;
      this.#deliver(next.item);
    }
    if (this.#stopped) return;
    this.#hold(this.#gather.flush());
    if (this.#blocked) return;
    const done = this.#request.follow !== true && this.#upstreams.size === 0 && this.#merge.size === 0;
    if (done || (this.#tail === undefined && this.#flows >= this.#limit)) { this.#finish(); return; }
    this.#resume();
    const { waitMs } = this.#merge;
    // One timer at a time: when it was too early, the next one is right.
    if (waitMs !== undefined) this.#timer ??= setTimeout(() => { this.#timer = undefined; this.#advance(); }, waitMs);
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
    if (!this.#stopped) this.#hold(this.#gather.add(Buffer.isBuffer(response) ? response : encode(getFlowsResponseMessage, response)));
  }

  /** The client does not keep up. */
  #hold(goesOn: boolean): void {
    if (goesOn || this.#blocked) return;
    this.#blocked = true;
    this.#call.whenDrained(() => {
      this.#blocked = false;
      this.#advance();
    });
  }

  #finish(): void {
    const tail = this.#tail ?? [];
    let sent = 0;
    for (; sent < tail.length && !this.#blocked; sent += 1) this.#hold(this.#gather.add(tail[sent]!.response));
    tail.splice(0, sent);
    if (tail.length > 0) return; // when the client has taken these, #advance comes here again
    this.#errors.flush();
    this.#gather.flush();
    this.#stop();
    this.#call.end();
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#unsubscribe();
    this.#errors.stop();
    clearTimeout(this.#timer);
    clearImmediate(this.#advancing);
    for (const call of this.#upstreams.values()) call.cancel();
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
const forwarded = (headers: IncomingHttpHeaders): grpc.Metadata =>
  grpc.Metadata.fromHttp2Headers(Object.fromEntries(Object.entries(headers).filter(([key]) => !/^(:|grpc-|te$|content-type$|user-agent$|host$)/.test(key))));
