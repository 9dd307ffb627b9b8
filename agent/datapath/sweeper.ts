// Gives back what connections hold that are over: reads the conntrack table in batches beside the packets, and lets the kernel look
// again at those that may be over (bpf/sweep.c). Sets each endpoint's quota, which depends on how many there are,
// and holds the count of connections through Envoy against the table.
import { setImmediate as turn } from 'node:timers/promises';
import { ct_state, ct_timeout, limit } from '../../bpf/types.gen.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { messageOf } from '../errors.ts';
import { mapBatch, mapDelete, testRun, type Batch } from '../kernel/bpf.ts';
import type { Table } from '../store/table.ts';
import type { Datapath } from './maps.ts';
import { heldCounter, mendHeld, proxyHeld } from './proxy-share.ts';
import { ticksNow, ticksOf, ticksSince } from './ticks.ts';
import { fairQuota, setQuota } from './usage.ts';

const batchRows = 1_024;
/** How long the agent is at it without a pause. */
const sliceMs = 0.5;
const pauseMs = 5_000;
/** Any interface: the program's frame is no packet. */
const loopback = 1;
const tcp = 6;

export interface Sweep { readonly seen: number; readonly swept: number; readonly longestMs: number }

export interface Sweeper {
  /** To be called when the kernel knows its endpoints: before, all connections would be of none. */
  readonly begin: () => void;
  readonly stop: () => Promise<void>;
  /** The last whole pass. */
  readonly last: () => Sweep;
}

/** Which rows of a batch may be over: the kernel has the last word, with all its timeouts. */
export function candidates(datapath: Pick<Datapath, 'object'>, present: ReadonlySet<number>): (batch: Batch, now: number) => number[] {
  const layout = (name: string) => new Map(datapath.object.btf.struct(name).members.map((member) => [member.name, member.offset]));
  const [key, row] = [datapath.object.btf.struct('ct_key').size, datapath.object.btf.struct('ct_entry').size];
  const [inKey, inRow] = [layout('ct_key'), layout('ct_entry')];
  const [protocol, seen, state, reason, ifindex] = [inKey.get('protocol')!, ...['seen', 'state', 'reason', 'ifindex'].map((name) => inRow.get(name)!)] as [number, number, number, number, number];
  const [shortest, longest] = [ticksOf(ct_timeout.CT_TIMEOUT_SHORTEST), ticksOf(ct_timeout.CT_TIMEOUT_TCP_ESTABLISHED)];
  const gone = (index: number): boolean => index !== 0 && !present.has(index);
  return (batch, now) => {
    const values = new DataView(batch.values.buffer);
    const found: number[] = [];
    for (let index = 0; index < batch.count; index += 1) {
      const at = index * row;
      const idle = ticksSince(values.getUint32(at + seen, true), now);
      const long = batch.keys[index * key + protocol] === tcp && batch.values[at + state] === ct_state.CT_ESTABLISHED && batch.values[at + reason] === 0;
      if (idle > (long ? longest : shortest) || gone(values.getUint32(at + ifindex, true)) || gone(values.getUint32(at + ifindex + 4, true))) found.push(index);
    }
    return found;
  };
}

/** Takes away those of a batch that are over, in slices between which the agent does other things. */
async function sweepBatch(datapath: Datapath, { keys }: Batch, rows: readonly number[], keySize: number): Promise<{ swept: number; longestMs: number }> {
  const program = datapath.object.programs.get('sweep')!;
  let [swept, longestMs, begin] = [0, 0, performance.now()];
  for (let first = 0; first < rows.length; first += limit.SWEEP_KEYS) {
    const some = rows.slice(first, first + limit.SWEEP_KEYS);
    const frame = new Uint8Array(limit.SWEEP_FIRST + some.length * keySize);
    some.forEach((row, index) => { frame.set(keys.subarray(row * keySize, (row + 1) * keySize), limit.SWEEP_FIRST + index * keySize); });
    swept += testRun(program, frame, loopback).result;
    const took = performance.now() - begin;
    longestMs = Math.max(longestMs, took);
    if (took < sliceMs) continue;
    await turn();
    begin = performance.now();
  }
  return { swept, longestMs };
}

/** One pass over the whole table. `present`: the interfaces of the endpoints that there are. */
export async function sweepOnce(datapath: Datapath, present: ReadonlySet<number>, stopped: () => boolean = () => false): Promise<Sweep> {
  const map = datapath.object.maps.get('conntrack')!;
  const choose = candidates(datapath, present);
  const before = proxyHeld(datapath.proxyUses);
  const proxied = heldCounter(datapath.object.btf, map.valueSize);
  let [seen, swept, longestMs] = [0, 0, 0];
  for (let batch: Batch | undefined, more = true; more && !stopped();) {
    batch = await mapBatch(map, Math.min(batchRows, datapath.connections), batch?.next, batch);
    more = batch.next !== undefined;
    const begin = performance.now();
    const over = choose(batch, ticksNow());
    proxied.add(batch);
    const choseMs = performance.now() - begin;
    const slices = await sweepBatch(datapath, batch, over, map.keySize);
    seen += batch.count;
    swept += slices.swept;
    longestMs = Math.max(longestMs, choseMs, slices.longestMs);
  }
  if (!stopped()) mendHeld(datapath.proxyUses, before, proxied.held);
  return { seen, swept, longestMs };
}

/** First fragments that nobody waits for any more. */
export async function sweepFragments(datapath: Datapath): Promise<number> {
  const map = datapath.object.maps.get('fragments')!;
  const oldest = process.hrtime.bigint() - BigInt(limit.FRAGMENT_SECONDS) * 1_000_000_000n;
  let swept = 0;
  for (let batch: Batch | undefined, more = true; more;) {
    batch = await mapBatch(map, batchRows, batch?.next, batch);
    more = batch.next !== undefined;
    const values = new DataView(batch.values.buffer);
    for (let index = 0; index < batch.count; index += 1) {
      if (values.getBigUint64(index * map.valueSize, true) >= oldest) continue; // time_ns stands first
      if (mapDelete(map.fd, batch.keys.slice(index * map.keySize, (index + 1) * map.keySize), map.name)) swept += 1;
    }
  }
  return swept;
}

export function sweepConnections(datapath: Datapath, endpoints: Table<EndpointRow>, log: (line: string) => void): Sweeper {
  let last: Sweep = { seen: 0, swept: 0, longestMs: 0 };
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  const share = (): void => { setQuota(datapath.usage, fairQuota(datapath.connections, endpoints.size)); };
  const pass = async (): Promise<void> => {
    try {
      last = await sweepOnce(datapath, new Set(endpoints.rows().map((row) => row.ifindex)), () => stopped);
      await sweepFragments(datapath);
    } catch (error) {
      log(`conntrack: ${messageOf(error)}`);
    }
    if (!stopped) timer = setTimeout(() => { running = pass(); }, pauseMs);
  };
  share();
  const unsubscribe = endpoints.subscribe(share);
  return {
    begin: () => { timer ??= setTimeout(() => { running = pass(); }, pauseMs); },
    last: () => last,
    stop: async () => {
      stopped = true;
      unsubscribe();
      clearTimeout(timer);
      await running;
    },
  };
}
