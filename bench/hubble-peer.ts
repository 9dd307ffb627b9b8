// The other side of bench/hubble.ts in a process of its own: a client that only counts, or agents for a relay. Also what feeds an observer.
import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import type { Lookups } from '../hubble/flow.ts';
import type { Call } from '../hubble/grpc/call.ts';
import { frameOf } from '../hubble/grpc/frame.ts';
import { GrpcServer } from '../hubble/grpc/server.ts';
import { Observer } from '../hubble/observer.ts';
import { listenUnix } from '../hubble/listen.ts';
import { encode, getFlowsResponseMessage, observerService } from '../hubble/proto.ts';
import { headerBytes, field, slotBytes } from '../hubble/record.ts';
import { peek } from '../hubble/relay/peek.ts';
import { recordOf, slotsOf } from '../hubble/testing.ts';
import type { FlowFilter, GetFlowsRequest, GetFlowsResponse } from '../hubble/types.ts';

export type Task =
  | { readonly kind: 'client'; readonly address: string; readonly whitelist: readonly FlowFilter[] }
  /** Each with a connection of its own; they stop reading after their first flow. */
  | { readonly kind: 'slow clients'; readonly address: string; readonly count: number }
  | { readonly kind: 'agents'; readonly folder: string; readonly count: number; readonly perSecond: number };
/** `disordered`: flows that are older than the one before. */
export interface Told { readonly flows: number; readonly lost: number; readonly disordered: number }

/** Times of records are those of the wall clock here. */
export const lookups = (nodeName: string): Lookups => ({
  endpoint: (address) => ({ id: 1, identity: 1001, namespace: 'default', podName: `pod-${address}`, labels: ['k8s:app=a', 'k8s:io.kubernetes.pod.namespace=default'], workloads: [{ name: 'a', kind: 'Deployment' }], clusterName: 'default' }),
  identityLabels: () => [], policies: () => [], changedNs: () => 0, forgotten: () => 0, toUnixNs: (ns) => ns, nodeName,
});

const kinds = 1_000;
const tickMs = 5;

/** A thousand connections to ten ports. */
export const slotsOfKinds = (): Uint8Array => slotsOf(...Array.from({ length: kinds }, (_, index) => recordOf({ sport: 40_000 + index, dport: 80 + index % 10 })));
/** One in a hundred of them. */
export const onePercent: FlowFilter[] = [{ source_port: Array.from({ length: kinds / 100 }, (_, index) => String(40_000 + index * 100)) }];

/** `perSecond` records, as often as the agent's source would bring them. */
export class Feed {
  readonly #timer: NodeJS.Timeout;
  readonly #slots = slotsOfKinds();
  readonly #view = new DataView(this.#slots.buffer);

  constructor(observer: Observer, perSecond: number) {
    const startedAt = performance.now();
    const wallNs = BigInt(Date.now()) * 1_000_000n;
    let made = 0;
    this.#timer = setInterval(() => {
      const passedMs = performance.now() - startedAt;
      // What is late comes at once, but no more than a second of it.
      const due = Math.min(Math.floor(passedMs * perSecond / 1_000) - made, perSecond);
      for (let left = due; left > 0; left -= kinds) {
        const now = Math.min(left, kinds);
        this.#stamp(wallNs + BigInt(Math.floor((made + due - left) / perSecond * 1e9)), 1e9 / perSecond, now);
        observer.records(this.#slots.subarray(0, now * slotBytes));
      }
      made += due;
    }, Math.min(50, Math.max(10, 4_096_000 / perSecond)));
  }

  #stamp(firstNs: bigint, stepNs: number, count: number): void {
    const [low, high] = [Number(firstNs & 0xffffffffn), Number(firstNs >> 32n)];
    for (let index = 0; index < count; index += 1) {
      const ns = low + Math.floor(index * stepNs);
      const at = index * slotBytes + headerBytes + field.time;
      this.#view.setUint32(at, ns % 2 ** 32, true);
      this.#view.setUint32(at + 4, high + Math.floor(ns / 2 ** 32), true);
    }
  }

  stop(): void { clearInterval(this.#timer); }
}

function count({ address, whitelist }: Extract<Task, { kind: 'client' }>): () => Told {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const { path, requestSerialize } = observerService.GetFlows;
  let [flows, lost, disordered, lastMs] = [0, 0, 0, 0];
  const call = client.makeServerStreamRequest(path, requestSerialize, (data: Buffer) => data, { follow: true, whitelist: [...whitelist] });
  call.on('data', (response: Buffer) => {
    const { isFlow, timeMs } = peek(response);
    if (isFlow) {
      flows += 1;
      if (timeMs < lastMs) disordered += 1;
      lastMs = timeMs;
    } else lost += Number((getFlowsResponseMessage.decode(response) as unknown as GetFlowsResponse).lost_events?.num_events_lost ?? 0);
  });
  call.on('error', () => { process.exit(0); }); // the server has ended
  return () => ({ flows, lost, disordered });
}

function stall({ address, count: many }: Extract<Task, { kind: 'slow clients' }>): () => Told {
  const { path, requestSerialize } = observerService.GetFlows;
  let flows = 0;
  for (let index = 0; index < many; index += 1) {
    const client = new grpc.Client(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    const call = client.makeServerStreamRequest(path, requestSerialize, (data: Buffer) => data, { follow: true });
    call.once('data', () => { flows += 1; call.pause(); });
    call.on('error', () => undefined); // the server has ended
  }
  return () => ({ flows, lost: 0, disordered: 0 });
}

/** They only send, what is encoded but for its time: the relay is what is measured. */
async function agents({ folder, count: many, perSecond }: Extract<Task, { kind: 'agents' }>): Promise<() => Told> {
  for (let index = 0; index < many; index += 1) {
    const name = `n${index}`;
    const entries = new Observer({ capacity: 1, nodeName: name, version: '0', lookups: lookups(name) });
    entries.records(slotsOf(recordOf()));
    const { time: _, ...response } = entries.entries.response(0);
    const body = encode(getFlowsResponseMessage, response);
    const server = new GrpcServer();
    server.stream(observerService.GetFlows, (call) => { send(call, body, perSecond); });
    await listenUnix(server, join(folder, `${name}.sock`));
  }
  return () => ({ flows: 0, lost: 0, disordered: 0 });
}

function send(call: Call<GetFlowsRequest, GetFlowsResponse>, body: Buffer, perSecond: number): void {
  const [startedAt, wallMs] = [performance.now(), Date.now()];
  let made = 0;
  let waits = false;
  const timer = setInterval(() => {
    if (waits) return;
    const frames: Buffer[] = [];
    for (const due = Math.floor((performance.now() - startedAt) * perSecond / 1_000); made < due; made += 1) {
      const atMs = wallMs + made / perSecond * 1_000;
      frames.push(frameOf(Buffer.concat([body, encode(getFlowsResponseMessage, { time: { seconds: Math.floor(atMs / 1_000), nanos: Math.floor(atMs % 1_000 * 1e6) } })])));
    }
    waits = !call.writeFrames(Buffer.concat(frames));
    if (waits) call.whenDrained(() => { waits = false; });
  }, tickMs);
  call.whenOver(() => { clearInterval(timer); });
}

if (process.send !== undefined && process.argv[2] !== undefined) {
  const task = JSON.parse(process.argv[2]) as Task;
  const told = task.kind === 'client' ? count(task) : task.kind === 'agents' ? await agents(task) : stall(task);
  process.on('message', () => { process.send!(told()); });
  process.on('disconnect', () => { process.exit(0); });
  process.send(told());
}
