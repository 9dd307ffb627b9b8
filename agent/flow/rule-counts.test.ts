// Packets through the shipped programs, and the rules that they are counted for. On real maps.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Bench, here, ticksAgo } from '../../bpf/testing/bench.ts';
import { frame } from '../../bpf/testing/packet.ts';
import { action, ipcache_flag, limit } from '../../bpf/types.gen.ts';
import { sweepOnce } from '../datapath/sweeper.ts';
import type { MergedPolicy, RuleRef } from '../policy/image.ts';
import { defaultDenyPath, RuleCounts } from './rule-counts.ts';

const { ACTION_ALLOW: allow, ACTION_DENY: deny, ACTION_DEFAULT_DENY: defaultDeny } = action;
const a = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const host = '10.0.0.1';
const db = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'db' };
const ref = (path: string, verdict: 'allow' | 'deny'): RuleRef => ({ policy: db, path, action: verdict });
/** Bits 0 and 1 are one rule. */
const merged = (key: string): MergedPolicy => ({
  key, direction: 'ingress', words: 1, defaultAction: 'default-deny', intervals: [], peerSets: [], names: [], l7: new Map(), enforcedBy: [db],
  rules: [ref('spec.ingress[0]', 'allow'), ref('spec.ingress[0]', 'allow'), ref('spec.ingressDeny[0]', 'deny')],
});
const tcp = 6 << 16;

let bench: Bench;
let names: Map<number, MergedPolicy>;
let inUse = (_: number): boolean => true;
let counts: RuleCounts;
let generation = 1;
beforeAll(() => {
  bench = new Bench();
  for (const id of [1, 2]) bench.policy(id, { defaultAction: defaultDeny, intervals: [
    { lower: 0, steps: [] }, { lower: tcp + 80, steps: [{ mask: 3n, action: allow }] }, { lower: tcp + 81, steps: [{ mask: 4n, action: deny }] }, { lower: tcp + 82, steps: [] },
  ] });
  bench.classWord(2, 0, 7n);
  bench.prefix(`${host}/32`, 500, { classId: 2, flags: ipcache_flag.IPCACHE_HOST });
  names = new Map([[1, merged('one')], [2, merged('two')]]);
  counts = new RuleCounts(bench.datapath, { revision: 1, policyOf: (id) => names.get(id), isInUse: (id) => inUse(id) }, (policy) => policy !== 'CiliumNetworkPolicy/shop/gone');
});
afterAll(() => { bench.close(); });

function judgeBy(policy: number): void {
  generation += 1;
  bench.endpoint({ ifindex: here, ...a, ingress: policy });
  bench.datapath.control.set(0, { generation, audits: 0 });
}
let port = 30_000;
const send = (to: number, flags = 'S', from = port): Uint8Array => {
  const bytes = frame().ip(host, a.ipv4).tcp(from, to, flags).bytes();
  bench.run('to_workload', bytes);
  return bytes;
};
const read = async (): Promise<Record<string, number>> => {
  await counts.read();
  return Object.fromEntries([...counts.of('CiliumNetworkPolicy/shop/db')].map(([path, { packets }]) => [path, packets]));
};

describe('packets by rule', () => {
  test('the first of a connection, every denied one, what no rule took; a rule of several bits once', async () => {
    judgeBy(1);
    expect(await read()).toEqual({});
    port += 1;
    send(80);
    for (let times = 0; times < 3; times += 1) send(81);
    for (let times = 0; times < 2; times += 1) send(443);
    expect(await read()).toEqual({ 'spec.ingress[0]': 1, 'spec.ingressDeny[0]': 3, [defaultDenyPath('ingress')]: 2 });
    expect(await read()).toEqual({ 'spec.ingress[0]': 1, 'spec.ingressDeny[0]': 3, [defaultDenyPath('ingress')]: 2 });
  });

  test('those that follow, with the next record; bytes are those of frames', async () => {
    const before = counts.of('CiliumNetworkPolicy/shop/db').get('spec.ingress[0]')!;
    const [packets, bytes] = [before.packets, before.bytes];
    for (let times = 0; times < 9; times += 1) send(80, 'A');
    expect((await read())['spec.ingress[0]']).toBe(packets);
    const { length } = send(80, 'R');
    expect((await read())['spec.ingress[0]']).toBe(packets + 10);
    expect(counts.of('CiliumNetworkPolicy/shop/db').get('spec.ingress[0]')!.bytes).toBe(bytes + 10 * length);
  });

  test('what came after the last record is counted by the sweeper', async () => {
    port += 1;
    send(80);
    for (let times = 0; times < 4; times += 1) send(80, 'A');
    const before = (await read())['spec.ingress[0]']!;
    for (const [key, row] of bench.datapath.conntrack.entries()) bench.datapath.conntrack.set(key, { ...row, seen: ticksAgo(9_000) });
    await sweepOnce(bench.datapath, new Set([here]));
    expect((await read())['spec.ingress[0]']).toBe(before + 4);
  });

  test('a number that is not in use any more is named a last time, and its rows go', async () => {
    judgeBy(2);
    port += 1;
    send(81);
    inUse = (id) => id !== 2;
    const before = (await read())['spec.ingressDeny[0]']!;
    expect(before).toBe(4);
    names.set(2, { ...merged('three'), rules: [ref('a', 'allow'), ref('b', 'allow'), ref('c', 'deny')] });
    inUse = () => true;
    port += 1;
    send(81);
    expect(await read()).toMatchObject({ 'spec.ingressDeny[0]': before, c: 1 });
  });

  test('the policies that are kept', async () => {
    counts.keep((policy) => policy !== 'CiliumNetworkPolicy/shop/db');
    expect(await read()).toEqual({});
  });
});

test('drops by reason and direction, packets and bytes', () => {
  judgeBy(1);
  const found = (): readonly unknown[] => bench.datapath.drops().map(({ reason, direction, packets, bytes }) => [reason, direction, packets, bytes]);
  const before = new Map(bench.datapath.drops().map((row) => [`${row.reason} ${row.direction}`, row]));
  port += 1;
  const { length } = send(443);
  send(443);
  bench.run('from_workload', frame().ip(a.ipv4, host).tcp(1, 2, 'S').bytes());
  expect(found().length).toBe(3);
  const row = (reason: number, direction: number) => bench.datapath.drops().find((one) => one.reason === reason && one.direction === direction)!;
  expect(row(133, 1).packets - before.get('133 1')!.packets).toBe(2);
  expect(row(133, 1).bytes - before.get('133 1')!.bytes).toBe(2 * length);
  expect(row(130, 2)).toEqual({ reason: 130, direction: 2, packets: 1, bytes: length });
  expect(limit.MAX_DROP_COUNTS).toBeGreaterThan(255 << 2 | 3);
});
