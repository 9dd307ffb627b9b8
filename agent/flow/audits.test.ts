// Audit records become rows: who is named, what is counted, what is forgotten.
import { describe, expect, test } from '@jest/globals';
import { ip4, lookups, noJudgement, recordOf, slotsOf } from '../../hubble/testing.ts';
import type { FlowRecord } from '../../bpf/types.gen.ts';
import { Audits } from './audits.ts';

const allow = { ...noJudgement, bits: 1n, policy: 3, action: 1 };
const deny = { ...allow, action: 2 };
const audit = (changes: Partial<FlowRecord>): FlowRecord => recordOf({ event: 6, live: 1, reason: 181, ingress: deny, ...changes });
const auditsOf = (versionOf: (key: string) => string | undefined = () => 'one'): Audits => new Audits(lookups, versionOf);

const rows: readonly { name: string; records: FlowRecord[]; found: unknown[][] }[] = [
  { name: 'no audit', records: [recordOf(), recordOf({ event: 5, reason: 133 })], found: [] },
  { name: 'would be denied', records: [audit({})], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'allowed', 'denied', 1]] },
  { name: 'each connection once, its later records not', records: [audit({}), audit({ live: 3 }), audit({ live: 4 }), audit({ sport: 40_001 })], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'allowed', 'denied', 2]] },
  { name: 'one that began before the agent', records: [audit({ live: 3 }), audit({ live: 3 })], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'allowed', 'denied', 1]] },
  { name: 'would be allowed: who would, at the end that denies', records: [audit({ live: 5, reason: 0, egress: allow, ingress: allow, direction: 1 })], found: [['allow-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'denied', 'allowed', 1]] },
  { name: 'both ends would deny', records: [audit({ egress: deny })], found: [['deny-egress', '10.0.0.1', 'egress', 'shop/web', '80/TCP', 'allowed', 'denied', 1], ['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'allowed', 'denied', 1]] },
  { name: 'by a reply: as its connection', records: [audit({ is_reply: 1, live: 2, saddr: { word: ip4(10, 0, 0, 2) }, daddr: { word: ip4(10, 0, 0, 1) }, source_identity: 1002, destination_identity: 1001, sport: 80, dport: 40_000 })], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', '80/TCP', 'allowed', 'denied', 1]] },
  { name: 'the host is named', records: [audit({ source_identity: 1 })], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1 (host)', '80/TCP', 'allowed', 'denied', 1]] },
  { name: 'ICMP', records: [audit({ protocol: 1, dport: 8, sport: 0 })], found: [['deny-ingress', 'shop/web', 'ingress', '10.0.0.1', 'ICMP', 'allowed', 'denied', 1]] },
];

const told = (audits: Audits): unknown[][] => audits.rows().map((row) => [row.policy.name, row.endpoint, row.direction, row.peer, row.port, row.is, row.wouldBe, row.count]);

describe('audits', () => {
  test.each(rows)('$name', ({ records, found }) => {
    const audits = auditsOf();
    audits.records(slotsOf(...records));
    expect(told(audits)).toEqual(found);
  });

  test('policies that took part and are enforced are not to blame', () => {
    const audits = auditsOf((key) => (key.endsWith('/deny-ingress') ? undefined : 'one'));
    audits.records(slotsOf(audit({ egress: deny })));
    expect(told(audits).map(([name]) => name)).toEqual(['deny-egress']);
  });

  test('a policy that is audited no more has no rows, and counts from the start when it is again', () => {
    let version: string | undefined = 'one';
    const audits = auditsOf(() => version);
    audits.records(slotsOf(audit({}), audit({})));
    version = undefined;
    expect(told(audits)).toEqual([]);
    version = 'two';
    audits.records(slotsOf(audit({})));
    expect(told(audits).map((row) => row.at(-1))).toEqual([1]);
    version = 'three';
    audits.records(slotsOf(audit({})));
    expect(told(audits).map((row) => row.at(-1))).toEqual([1]);
  });

  test('the table is bounded, and what does not fit is counted', () => {
    const audits = auditsOf();
    const peer = (index: number): FlowRecord => audit({ saddr: { word: ip4(10, 1, index >> 8, index & 255) } });
    audits.records(slotsOf(...Array.from({ length: 5_000 }, (_, index) => peer(index))));
    expect([audits.rows().length, audits.uncounted]).toEqual([4_096, 904]);
  });

  test('first and last seen', () => {
    const audits = auditsOf();
    audits.records(slotsOf(audit({ time_ns: 1_000_000_000n }), audit({ time_ns: 61_000_000_000n })));
    expect(audits.rows().map(({ firstSeen, lastSeen }) => Date.parse(lastSeen) - Date.parse(firstSeen))).toEqual([60_000]);
  });
});
