// Shares of Envoy: what options and a busy node make of them, and the count of open connections held against the table.
import { expect, test } from '@jest/globals';
import type { BpfMap } from '../kernel/map.ts';
import type { ProxyShare } from '../../bpf/types.gen.ts';
import { defaultShare, mendHeld, proxyHeld, setShare } from './proxy-share.ts';

test.each([
  { name: 'a quarter', percent: 25, part: 1, stretch: 1_024, burst: 2_000_000n },
  { name: 'a quarter of the half that Envoy gets', percent: 25, part: 0.5, stretch: 2_048, burst: 1_000_000n },
  { name: 'one percent', percent: 1, part: 1, stretch: 25_600, burst: 2_000_000n },
  { name: 'no limit', percent: 100, part: 0.5, stretch: 0, burst: 1_000_000n },
])('$name', ({ percent, part, stretch, burst }) => {
  const rows: ProxyShare[] = [];
  setShare({ set: (_key: number, row: ProxyShare) => { rows.push(row); } } as unknown as BpfMap<number, ProxyShare>, { ...defaultShare, percent }, part);
  expect(rows).toEqual([{ stretch, connections: defaultShare.connections, burst_ns: burst }]);
});

/** Endpoint 1: what the programs had counted before the table was read, what they say now, and what was found there. */
test.each([
  { name: 'as it is', was: 5, is: 5, found: 5, becomes: 5 },
  { name: 'one too many, and nothing moved', was: 5, is: 5, found: 4, becomes: 4 },
  { name: 'below nothing', was: -3, is: -3, found: 0, becomes: 0 },
  { name: 'of a version before', was: 0, is: 0, found: 700, becomes: 700 },
  { name: 'packets opened some meanwhile', was: 5, is: 30, found: 12, becomes: 30 },
  { name: 'they moved, and it is far away', was: 1_000, is: 1_010, found: 100, becomes: 174 },
  { name: 'they moved, and it is far away to the other side', was: 10, is: 20, found: 500, becomes: 436 },
])('held: $name', ({ was, is, found, becomes }) => {
  const uses = new DataView(new ArrayBuffer(4 * 32));
  uses.setInt32(32 + 28, was, true);
  const before = proxyHeld(uses);
  uses.setInt32(32 + 28, is, true);
  mendHeld(uses, before, new Map(found === 0 ? [] : [[1, found]]));
  expect(proxyHeld(uses)).toEqual(new Map(becomes === 0 ? [] : [[1, becomes]]));
});
