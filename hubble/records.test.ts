// The observer fed with records: they stay bytes, and whoever asks gets what a decoded flow would have said.
import { describe, expect, test } from '@jest/globals';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { Observer } from './observer.ts';
import { getFlowsResponseMessage } from './proto.ts';
import { ip4, lookups, recordOf, slotsOf } from './testing.ts';

const drop: Partial<FlowRecord> = { event: 5, reason: 133, observation_point: 0 };
const observerOf = (capacity = 100, names = lookups): Observer => new Observer({ capacity, nodeName: 'node1', version: '0', lookups: names, clock: () => 1_000 });
const feed = (observer: Observer, ...records: readonly Partial<FlowRecord>[]): void => { observer.records(slotsOf(...records.map(recordOf))); };

describe('records', () => {
  test('find: by the uuid that the flow was given, for as long as it is kept', () => {
    const observer = observerOf(4);
    feed(observer, { sport: 1 }, { sport: 2 }, { sport: 3 });
    const uuid = observer.entries.flow(1)!.uuid!;
    expect(observer.find(uuid)?.l4?.TCP?.source_port).toBe(2);
    feed(observer, {}, {}, {});
    expect(observer.find(uuid)).toBeUndefined();
  });

  test('lastDrop: the last of a run, also when the ring has it no more, with the names of then', () => {
    let pod = 'web';
    const observer = observerOf(2, { ...lookups, endpoint: (address, timeNs) => ({ ...lookups.endpoint('10.0.0.2', timeNs)!, podName: address === '10.0.0.2' ? pod : 'client' }) });
    feed(observer, drop, { ...drop, dport: 81 }, {});
    expect(observer.lastDrop()).toMatchObject({ verdict: 2, l4: { TCP: { destination_port: 81 } } });
    feed(observer, {}, {}, {});
    expect(observer.oldestNs(7)).toBe(1_000_000_001);
    pod = 'renamed';
    expect(observer.lastDrop()).toMatchObject({ l4: { TCP: { destination_port: 81 } }, destination: { pod_name: 'web' } });
  });

  test('encoded once, however many ask, and decoded back', () => {
    const observer = observerOf();
    feed(observer, {}, drop);
    const { encoded } = observer.entries;
    const frameAt = (number: number): Buffer => {
      const place = encoded.place(number);
      return encoded.chunk(place).subarray(encoded.start(place), encoded.end(place));
    };
    const [first, frame] = [frameAt(0), frameAt(1)];
    expect(frameAt(1).byteOffset).toBe(frame.byteOffset);
    expect([frameAt(0).buffer, first.byteOffset + first.length]).toEqual([frame.buffer, frame.byteOffset]); // they stand in a row
    expect([frame[0], frame.readUInt32BE(1)]).toEqual([0, frame.length - 5]);
    expect(getFlowsResponseMessage.decode(frame.subarray(5))).toMatchObject({ node_name: 'node1', flow: { verdict: 2, drop_reason_desc: 133, uuid: observer.entries.flow(1)!.uuid } });
  });

  test('namespaces and numbers', () => {
    const observer = observerOf(2);
    feed(observer, {}, {}, {});
    observer.lost('PERF_EVENT_RING_BUFFER', 4);
    expect(observer.namespaces()).toEqual({ namespaces: [{ cluster: 'default', namespace: 'shop' }] });
    expect(observer.stats).toMatchObject({ seen: 3, kept: 1, overwritten: 2, lost: { PERF_EVENT_RING_BUFFER: 4 } });
  });
});

describe('subscribe', () => {
  const told = (observer: Observer): string[] => {
    const heard: string[] = [];
    observer.subscribe((flow, count) => { heard.push(`${count} ${flow.IP?.source}:${flow.l4?.TCP?.destination_port} ${flow.verdict}`); });
    return heard;
  };
  const cases: { name: string; records: readonly Partial<FlowRecord>[]; heard: readonly string[] }[] = [
    { name: 'the same but for time, source port and flags', records: [{}, { sport: 9, time_ns: 5n, tcp_flags: 16, event: 4, packets: 7n }, {}], heard: ['3 10.0.0.1:80 1'] },
    { name: 'another destination port', records: [{}, { dport: 81 }], heard: ['1 10.0.0.1:80 1', '1 10.0.0.1:81 1'] },
    { name: 'another source', records: [{}, { saddr: { word: ip4(10, 0, 0, 9) } }, {}], heard: ['2 10.0.0.1:80 1', '1 10.0.0.9:80 1'] },
    { name: 'another verdict, another rule', records: [{}, drop, { ...drop, ingress: { bits: 4n, policy: 3, interval: 0, word: 0, action: 2 } }], heard: ['1 10.0.0.1:80 1', '1 10.0.0.1:80 2', '1 10.0.0.1:80 2'] },
    { name: 'a reply that passed', records: [{ is_reply: 1 }, { ...drop, is_reply: 1 }], heard: ['1 10.0.0.1:80 2'] },
  ];
  test.each(cases)('$name', ({ records, heard }) => {
    const observer = observerOf();
    const got = told(observer);
    feed(observer, ...records);
    expect(got.sort()).toEqual([...heard].sort());
  });

  test('too many kinds at once: those told and those counted are all', () => {
    const observer = observerOf(10_000);
    const heard: number[] = [];
    observer.subscribe((_, count) => { heard.push(count); });
    for (let turn = 0; turn < 3; turn += 1) feed(observer, ...Array.from({ length: 3_000 }, (_, index) => ({ saddr: { word: ip4(10, 1, index >> 8, index & 255) } })));
    expect(heard.reduce((sum, count) => sum + count, 0) + observer.stats.untold).toBe(9_000);
    expect(observer.stats.untold).toBeGreaterThan(0);
  });

  test('a name that changed is told anew', () => {
    let [pod, changedNs] = ['web', 0];
    const observer = observerOf(100, { ...lookups, changedNs: () => changedNs, endpoint: () => ({ ...lookups.endpoint('10.0.0.2', 0)!, podName: pod }) });
    const heard: string[] = [];
    observer.subscribe((flow) => { heard.push(flow.destination?.pod_name ?? ''); });
    feed(observer, { time_ns: 10n });
    [pod, changedNs] = ['new', 20];
    feed(observer, { time_ns: 30n });
    expect(heard).toEqual(['web', 'new']);
  });
});
