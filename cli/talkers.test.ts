// The live table's counts: who is one row with whom, rates over the last ten seconds, verdicts that turn.
import { describe, expect, test } from '@jest/globals';
import { flowOf } from '../hubble/testing.ts';
import type { Flow } from '../hubble/types.ts';
import { Talkers } from './talkers.ts';

const tcp = (destination: number): Partial<Flow> => ({ l4: { TCP: { source_port: 40_000, destination_port: destination } } });

interface Step { readonly atMs: number; readonly flow?: Partial<Flow>; readonly count?: number }
const cases: { name: string; steps: readonly Step[]; rows: readonly object[] }[] = [
  { name: 'flows of a pair and port are one row', steps: [{ atMs: 0, flow: tcp(80) }, { atMs: 10, flow: tcp(80), count: 4 }, { atMs: 500, flow: tcp(443) }],
    rows: [{ source: 'shop/client', destination: 'shop/web', port: '80/TCP', verdict: 'FORWARDED', total: 5, perSecond: 0.5 }, { port: '443/TCP', total: 1, perSecond: 0.1 }] },
  { name: 'the rate forgets after ten seconds, the total does not', steps: [{ atMs: 0, flow: tcp(80), count: 100 }, { atMs: 10_500, flow: tcp(80), count: 20 }], rows: [{ total: 120, perSecond: 2 }] },
  { name: 'drops first, with their reason', steps: [{ atMs: 0, flow: tcp(80), count: 9 }, { atMs: 0, flow: { ...tcp(81), verdict: 2, drop_reason_desc: 132 } }],
    rows: [{ port: '81/TCP', verdict: 'DROPPED', decidedBy: 'Invalid source ip' }, { port: '80/TCP' }] },
  { name: 'a reply that passes is no row', steps: [{ atMs: 0, flow: { ...tcp(80), is_reply: { value: true } } }], rows: [] },
  { name: 'a request that passes is no row, one that is refused is', steps: [{ atMs: 0, flow: { ...tcp(80), Type: 2 } }, { atMs: 0, flow: { ...tcp(80), Type: 2, verdict: 2, ingress_denied_by: [{ name: 'web' }] } }], rows: [{ verdict: 'DROPPED', decidedBy: 'web', total: 1 }] },
  { name: 'through Envoy: one row, with the policies', steps: [{ atMs: 0, flow: { ...tcp(80), verdict: 5, ingress_allowed_by: [{ name: 'web' }] } }, { atMs: 1, flow: tcp(80), count: 3 }], rows: [{ verdict: 'REDIRECTED', decidedBy: 'web', total: 1 }] },
  { name: 'a pair that turned loses its old verdict', steps: [{ atMs: 0, flow: { ...tcp(80), verdict: 2 } }, { atMs: 3_000, flow: tcp(80) }], rows: [{ verdict: 'FORWARDED' }] },
];

describe('talkers', () => {
  test.each(cases)('$name', ({ steps, rows }) => {
    let now = 0;
    const talkers = new Talkers(() => now);
    for (const { atMs, flow, count = 1 } of steps) {
      now = atMs;
      talkers.count(flowOf(1, flow), count);
    }
    expect(talkers.top(10)).toMatchObject(rows);
    expect(talkers.top(10)).toHaveLength(rows.length);
  });
});
