// Flows counted by group: what counts as opened and as dropped, how ends are named, what the table says.
import { describe, expect, test } from '@jest/globals';
import type { Flow } from '../hubble/types.ts';
import { textOf } from './edges.ts';
import { Tally, type Grouping } from './tally.ts';

const web = { identity: 300, namespace: 'shop', pod_name: 'web-1', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }] };
const client = { identity: 301, namespace: 'shop', pod_name: 'client' };
const opened: Flow = { verdict: 1, trace_reason: 1, is_reply: { value: false }, IP: { source: '10.0.0.1', destination: '10.0.0.2' }, l4: { TCP: { source_port: 40_000, destination_port: 80 } }, source: client, destination: web };
const dropped: Flow = { ...opened, verdict: 2, trace_reason: 0 };

const rowsOf = (by: Grouping, flows: readonly Flow[]): string[] => {
  const tally = new Tally(by);
  for (const flow of flows) tally.count(flow);
  return tally.rows().map((row) => `${row.names.join(' ')} ${row.opened}/${row.dropped}`);
};

describe('tally', () => {
  test.each<{ name: string; by: Grouping; flows: Flow[]; rows: string[] }>([
    { name: 'edges', by: 'edge', flows: [opened, opened, dropped], rows: ['shop/client shop/web 80/TCP 2/1'] },
    { name: 'only the beginning of a connection', by: 'edge', flows: [opened, { ...opened, trace_reason: 2 }, { ...opened, trace_reason: 3, is_reply: { value: true } }], rows: ['shop/client shop/web 80/TCP 1/0'] },
    { name: 'servers that tell no reason', by: 'edge', flows: [{ ...opened, trace_reason: 0 }], rows: ['shop/client shop/web 80/TCP 1/0'] },
    { name: 'a reply that was dropped belongs to who asked', by: 'edge', flows: [{ ...dropped, is_reply: { value: true }, source: web, destination: client, l4: { TCP: { source_port: 80, destination_port: 40_000 } } }], rows: ['shop/client shop/web 80/TCP 0/1'] },
    { name: 'the world and nobody', by: 'edge', flows: [{ ...opened, source: { identity: 2 } }, { ...opened, destination: { identity: 16_777_217 } }], rows: ['shop/client 10.0.0.2 80/TCP 1/0', 'world shop/web 80/TCP 1/0'] },
    { name: 'workloads', by: 'workload', flows: [opened, { ...opened, source: { identity: 2 } }], rows: ['shop/web 2/0'] },
    { name: 'identities', by: 'identity', flows: [opened], rows: ['300 k8s:app=web 1/0'] },
    { name: 'services', by: 'service', flows: [{ ...opened, destination_service: { name: 'shop-front', namespace: 'shop' } }, opened], rows: ['shop/shop-front 1/0', 'shop/web 1/0'] },
    { name: 'ports, the busiest first', by: 'port', flows: [{ ...opened, l4: { UDP: { destination_port: 53 } } }, opened, dropped, { ...opened, l4: { ICMPv4: { type: 8 } } }], rows: ['80/TCP 1/1', '53/UDP 1/0', 'ICMPv4 1/0'] },
    { name: 'a request says nothing more of its connection, unless it was refused', by: 'edge', flows: [opened, { ...opened, Type: 2, trace_reason: 0 }, { ...dropped, Type: 2 }], rows: ['shop/client shop/web 80/TCP 1/1'] },
    { name: 'verdicts', by: 'verdict', flows: [opened, dropped, opened], rows: ['FORWARDED 2/0', 'DROPPED 0/1'] },
  ])('$name', ({ by, flows, rows }) => { expect(rowsOf(by, flows)).toEqual(rows); });

  test('groups beyond the bound are counted', () => {
    const tally = new Tally('port');
    for (let port = 1; port <= 5_100; port += 1) tally.count({ ...opened, l4: { TCP: { destination_port: port } } });
    expect([tally.rows().length, tally.others]).toEqual([5_000, 100]);
  });

  test('as a table and as JSON', () => {
    const tally = new Tally('edge');
    for (const flow of [opened, opened, opened, dropped]) tally.count(flow);
    tally.lost = 3;
    expect(textOf('edge', tally, 60, false)).toBe(
      'SOURCE        DESTINATION   PORT     OPENED   PER SECOND   DROPPED   SUCCESS\nshop/client   shop/web      80/TCP   3        0.05         1         75.0%\n3 events were lost and are not counted\n');
    expect(JSON.parse(textOf('edge', tally, 60, true))).toEqual({ seconds: 60, lost: 3, others: 0, rows: [{ source: 'shop/client', destination: 'shop/web', port: '80/TCP', opened: 3, dropped: 1 }] });
  });
});
