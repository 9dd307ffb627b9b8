// What a change costs in writes to the kernel's maps: counted on real maps, in a small and in a large set of policies and endpoints.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Bench } from '../../bpf/testing/bench.ts';
import { rowsOf } from '../../bpf/testing/cases.ts';
import { limit } from '../../bpf/types.gen.ts';
import type { Datapath } from '../datapath/maps.ts';
import { withMemory } from '../kernel/map.ts';
import { makeWorld, type CasePod } from './offline.ts';
import { PolicyReconciler } from './reconciler.ts';

const namespace = 'default';
const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const policy = (index: number): Readonly<Record<string, unknown>> => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: `p${index}`, namespace }, spec: { endpointSelector: { matchLabels: { app: `a${index}` } },
    ingress: [{ fromEndpoints: [{ matchLabels: { app: `a${index + 1}` } }], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }, { port: '90', protocol: 'TCP' }] }] }] },
});
const pod = (name: string, labels: Readonly<Record<string, string>>): CasePod => ({ name, namespace, labels });

const rowMaps = ['endpoints', 'ipcache', 'policies', 'bounds', 'steps', 'control'] as const;
type Writes = Partial<Record<(typeof rowMaps)[number] | 'class_rows', number>>;

/** The same maps; `writes` counts what goes into them. */
function counting(datapath: Datapath, writes: Writes): Datapath {
  const counted = Object.fromEntries(rowMaps.map((name) => {
    const map = datapath[name];
    const one = (): void => { writes[name] = (writes[name] ?? 0) + 1; };
    return [name, {
      get: (key: never) => map.get(key), entries: () => map.entries(),
      set: (key: never, row: never) => { one(); map.set(key, row); }, delete: (key: never) => { one(); return map.delete(key); },
    }];
  }));
  return { ...datapath, ...counted };
}

const lineBytes = limit.LINE_WORDS * 8;
const usedLines = limit.MAX_CLASSES * 4;
const copyRows = (datapath: Datapath): Uint8Array => withMemory(datapath.classRows, usedLines, (memory) => new Uint8Array(memory).slice());
/** The classes whose rows are others than before. */
function changedRows(before: Uint8Array, after: Uint8Array): number {
  const classes = new Set<number>();
  for (let line = 0; line < usedLines; line += 1) {
    if (Buffer.compare(before.subarray(line * lineBytes, (line + 1) * lineBytes), after.subarray(line * lineBytes, (line + 1) * lineBytes)) !== 0) classes.add(line % limit.MAX_CLASSES);
  }
  return classes.size;
}

const sizes = [{ endpoints: 10, policies: 10 }, { endpoints: 2_000, policies: 500 }];
const changes: readonly { name: string; pods?: readonly CasePod[]; local?: boolean; writes: Writes }[] = [
  { name: 'nothing', writes: { control: 1 } },
  { name: 'a new identity elsewhere, of a class that is there: a row for each of its addresses', pods: [pod('new', { app: 'a1', x: 'new' })], writes: { control: 1, ipcache: 2 } },
  { name: 'a new identity elsewhere, of a new class: one class row more', pods: [pod('new', { app: 'a1', tier: 'front' })], writes: { control: 1, ipcache: 2, class_rows: 1 } },
  { name: 'a new endpoint: its own row more', pods: [pod('new', { app: 'a1', x: 'new' })], local: true, writes: { control: 1, ipcache: 2, endpoints: 1 } },
];

describe.each(sizes)('$endpoints endpoints, $policies policies', ({ endpoints, policies }) => {
  const pods = range(endpoints).map((index) => pod(`p${index}`, { app: `a${index % policies}` }));
  // `tier: front` is a peer of the policy of a0.
  const objects = [...range(policies).map(policy), { ...policy(0), metadata: { name: 'tier', namespace }, spec: { endpointSelector: { matchLabels: { app: 'a0' } }, ingress: [{ fromEndpoints: [{ matchLabels: { tier: 'front' } }] }] } }];
  const worldOf = (more: readonly CasePod[]) => makeWorld({ ipv6: true, namespaces: {}, endpoints: [...pods, ...more], policies: objects });
  let bench: Bench;
  beforeEach(() => { bench = new Bench(); });
  afterEach(() => { bench.close(); });

  test.each(changes)('$name', async (change) => {
    const writes: Writes = {};
    const reconciler = new PolicyReconciler(counting(bench.datapath, writes));
    const before = worldOf([]);
    const old = rowsOf(before, 'u');
    await reconciler.apply(before.image, old.prefixes, old.endpoints);
    for (const name of rowMaps) delete writes[name];
    const rows = copyRows(bench.datapath);
    const after = worldOf(change.pods ?? []);
    const now = rowsOf(after, 'u', change.local === true ? Infinity : endpoints);
    await reconciler.apply(after.image, now.prefixes, now.endpoints);
    const changed = changedRows(rows, copyRows(bench.datapath));
    expect({ ...writes, ...(changed === 0 ? {} : { class_rows: changed }) }).toEqual(change.writes);
  }, 60_000);
});
