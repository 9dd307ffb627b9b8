// Audits in the kernel: which packet leaves a second record, what that says, and that it changes nothing for the packet. Both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Bench, here } from './testing/bench.ts';
import { frame } from './testing/packet.ts';
import { action, drop_reason, flow_event, ipcache_flag, type FlowRecord } from './types.gen.ts';

const { ACTION_ALLOW: allow, ACTION_DENY: deny, ACTION_DEFAULT_DENY: defaultDeny } = action;
const { FLOW_NEW, FLOW_DROP, FLOW_CHANGE, FLOW_AUDIT } = flow_event;
const a = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const host = { ipv4: '10.0.0.1', ipv6: 'fd00::1' };
/** Policies by number. */
const [opens, closes, forbids] = [1, 2, 3];

let bench: Bench;
beforeAll(() => {
  bench = new Bench();
  bench.policy(opens, { defaultAction: defaultDeny, intervals: [{ lower: 0, steps: [{ mask: 1n, action: allow }] }] });
  bench.policy(closes, { defaultAction: defaultDeny, intervals: [{ lower: 0, steps: [] }] });
  bench.policy(forbids, { defaultAction: defaultDeny, intervals: [{ lower: 0, steps: [{ mask: 1n, action: deny }] }] });
  bench.classWord(2, 0, 1n);
  for (const address of Object.values(host)) bench.prefix(`${address}/${address.includes(':') ? 128 : 32}`, 500, { classId: 2, flags: ipcache_flag.IPCACHE_HOST });
});
afterAll(() => { bench.close(); });

let port = 20_000;
let generation = 10;
/** The endpoint's ingress: what is enforced, and what would be. */
function live(policy: number, audit: number, audits = 1): void {
  generation += 1;
  bench.endpoint({ ifindex: here, ...a, ingress: policy });
  bench.datapath.endpoints.set(here, { ...bench.datapath.endpoints.get(here)!, ingress_audit: [audit, audit] });
  bench.datapath.control.set(0, { generation, audits });
}
const told = (records: readonly FlowRecord[]): number[][] => records.map(({ event, reason, live: done, ingress }) => [event, reason, done, ingress.policy, ingress.action]);
const { DROP_POLICY_DENIED: denied, DROP_POLICY_DENY: byRule } = drop_reason;

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  const send = (from: number, flags = 'S') => bench.run('to_workload', frame().ip(host[family], a[family]).tcp(from, 80, flags).bytes());

  test.each<{ name: string; policy: number; audit: number; audits?: number; verdict: string; records: number[][] }>([
    { name: 'no audit', policy: opens, audit: 0, verdict: 'pass', records: [[FLOW_NEW, 0, 0, opens, allow]] },
    { name: 'audits are elsewhere only', policy: opens, audit: closes, audits: 0, verdict: 'pass', records: [[FLOW_NEW, 0, 0, opens, allow]] },
    { name: 'passes, and would be denied by default', policy: opens, audit: closes, verdict: 'pass', records: [[FLOW_NEW, 0, 0, opens, allow], [FLOW_AUDIT, denied, FLOW_NEW, closes, defaultDeny]] },
    { name: 'passes, and would be denied by a rule', policy: 0, audit: forbids, verdict: 'pass', records: [[FLOW_NEW, 0, 0, 0, 0], [FLOW_AUDIT, byRule, FLOW_NEW, forbids, deny]] },
    { name: 'is dropped, and would be allowed', policy: closes, audit: opens, verdict: 'drop', records: [[FLOW_DROP, denied, 0, closes, defaultDeny], [FLOW_AUDIT, 0, FLOW_DROP, opens, allow]] },
    { name: 'is dropped, and would be too', policy: closes, audit: forbids, verdict: 'drop', records: [[FLOW_DROP, denied, 0, closes, defaultDeny]] },
    { name: 'passes, and would too', policy: 0, audit: opens, verdict: 'pass', records: [[FLOW_NEW, 0, 0, 0, 0]] },
  ])('$name', ({ policy, audit, audits, verdict, records }) => {
    live(policy, audit, audits);
    const run = send(port += 1);
    expect([run.verdict, told(run.records)]).toEqual([verdict, records]);
  });

  test('an established connection is audited when the generation moves, by its next packet, and then no more', () => {
    live(opens, 0);
    const from = port += 1;
    send(from);
    live(opens, closes);
    const [first, second] = [send(from, 'A'), send(from, 'A')];
    expect([first.verdict, told(first.records), second.verdict, told(second.records)]).toEqual(['pass', [[FLOW_AUDIT, denied, FLOW_CHANGE, closes, defaultDeny]], 'pass', []]);
  });

  test('a reply is audited as the connection that it is of', () => {
    live(0, 0);
    const from = port += 1;
    send(from);
    live(0, forbids);
    const run = bench.run('from_workload', frame().mac(a.mac).ip(a[family], host[family]).tcp(80, from, 'SA').bytes());
    expect(run.records.filter(({ event }) => event === FLOW_AUDIT).map(({ is_reply, reason, ingress, sport }) => [is_reply, reason, ingress.policy, sport])).toEqual([[1, byRule, forbids, 80]]);
  });

  test('what no policy drops has no audit', () => {
    live(opens, closes);
    const run = bench.run('to_workload', frame().ip('203.0.113.9', a.ipv4).tcp(port += 1, 80, 'S').bytes());
    expect([run.verdict, run.records.filter(({ event }) => event === FLOW_AUDIT)]).toEqual(['drop', []]);
  });
});
