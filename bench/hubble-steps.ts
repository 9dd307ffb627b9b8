// What each step between the ring and a client costs, one after the other in this thread, without a socket; the write is what a served
// flow costs beyond them.
import { ServiceNames } from '../agent/flow/service-names.ts';
import { backendTable, frontendTable } from '../agent/service/tables.ts';
import { CallSink } from '../hubble/sink.ts';
import type { Call } from '../hubble/grpc/call.ts';
import { compileEntryFilters } from '../hubble/filters/raw.ts';
import { Observer } from '../hubble/observer.ts';
import { encode, getFlowsResponseMessage } from '../hubble/proto.ts';
import { ip4, recordOf, slotsOf } from '../hubble/testing.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/types.ts';
import { lookups, onePercent, slotsOfKinds } from './hubble-peer.ts';
import type { Figure } from './table.ts';

const watchMs = 400;
const kept = 16_383;
const runs = 16;
const few = 400;

/** CPU of each of the `count` steps of a run, in nanoseconds. */
function cost(name: string, count: number, run: () => void): Figure {
  run();
  const [before, startedAt] = [process.threadCpuUsage(), performance.now()];
  let steps = 0;
  while (performance.now() - startedAt < watchMs) {
    run();
    steps += count;
  }
  const { user, system } = process.threadCpuUsage(before);
  return { name: `  ${name}`, value: (user + system) * 1_000 / steps, unit: 'ns' };
}

const observerOf = (): Observer => new Observer({ capacity: kept, nodeName: 'bench', version: '0', lookups: lookups('bench') });

/** Every record has other ends than the last 16,383: nothing of them is remembered. */
function strangers(): Figure {
  const observer = observerOf();
  const { entries, ring } = observer;
  const many = Array.from({ length: kept }, (_, index) => recordOf({ saddr: { word: ip4(10, 1, index >> 8, index & 255) }, daddr: { word: ip4(10, 2, index >> 8, index & 255) } }));
  observer.records(slotsOf(...many));
  let number = ring.oldest;
  return cost('the same, names of both ends asked for', few, () => {
    for (let step = 0; step < few; step += 1) {
      entries.encoded.place(number);
      number = number + 1 < ring.next ? number + 1 : ring.oldest;
    }
  });
}

/** Every record goes to a backend of a Service, as those of workloads do. */
function served(): Figure {
  const backends = backendTable();
  const services = new ServiceNames(frontendTable(), backends);
  services.follow({ revision: 0, usersOf: () => ['default/web'] });
  backends.write(Array.from({ length: 10 }, (_, index) => ({ key: `10.0.0.2:${80 + index}/TCP`, address: '10.0.0.2', port: 80 + index, protocol: 'TCP', state: 'active' })));
  const observer = new Observer({ capacity: kept, nodeName: 'bench', version: '0', lookups: { ...lookups('bench'), services } });
  const slots = slotsOfKinds();
  for (let run = 0; run < runs; run += 1) observer.records(slots);
  const { entries, ring } = observer;
  return cost('named and encoded, to a backend of a Service', runs * 1_000, () => { for (let number = ring.next - runs * 1_000; number < ring.next; number += 1) entries.encoded.place(number); });
}

export function steps(): Figure[] {
  const observer = observerOf();
  const { entries, ring } = observer;
  const slots = slotsOfKinds();
  const fill = (): void => { for (let run = 0; run < runs; run += 1) observer.records(slots); };
  fill();
  const matches = compileEntryFilters(entries, onePercent);
  const call = { writeFrames: () => true } as unknown as Call<GetFlowsRequest, GetFlowsResponse>;
  const all = runs * 1_000;
  const eachKept = (step: (number: number) => void) => (): void => { for (let number = ring.next - all; number < ring.next; number += 1) step(number); };
  const sent = (): void => {
    const sink = new CallSink(call, entries, undefined);
    eachKept((number) => { sink.entry(number); })();
    sink.flush();
  };
  const figures = [
    cost('a record into the ring', all, fill),
    cost('filtered by port', all, eachKept(matches)),
    cost('named and encoded, names known', all, eachKept((number) => { entries.encoded.place(number); })),
    cost('the same, gathered for a write', all, sent),
    strangers(),
    served(),
    cost('decoded, named and encoded by protobufjs', few, () => { for (let number = ring.next - few; number < ring.next; number += 1) encode(getFlowsResponseMessage, entries.response(number)); }),
  ];
  return [{ name: 'bytes of a flow with its frame', value: entries.encoded.end(entries.encoded.place(ring.next - 1)) - entries.encoded.start(entries.encoded.place(ring.next - 1)), unit: 'bytes' }, ...figures];
}
