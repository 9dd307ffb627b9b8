import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { answerSelector, answerValid, answerVerdicts, readCases, type SelectorCase, type ValidCase } from './cases.ts';
import type { CaseFlow, PolicyCase } from './offline.ts';
import { check } from './validate.ts';

const file = (name: string): string => join(import.meta.dirname, 'testdata', name);

/** What is refused although the engine that these cases come from takes it; see README.md. */
const REFUSED_ON_PURPOSE = ['endPort', 'cidrset', 'http', 'l7'];
const ODDITIES = new Set(['valid-0162', 'valid-0273', 'valid-0591', 'valid-0660']);

describe.each(['surprises.jsonl', 'cnp-l34.jsonl', 'knp.jsonl'])('%s', (name) => {
  const cases = readCases<PolicyCase & { note?: string }>(file(name));

  test(`every flow of its ${cases.length} cases has the right verdict`, () => {
    const wrong = cases.flatMap((one) => answerVerdicts(one)
      .filter((answer) => answer.verdict !== one.flows[answer.flow]!.verdict)
      .map((answer) => ({ ...answer, note: one.note, flow: one.flows[answer.flow] })));
    expect(wrong).toEqual([]);
  });

  test('every policy is valid', () => {
    const invalid = cases.flatMap((one) => one.policies.map((object) => answerValid({ id: one.id, object }))).filter((one) => !one.valid);
    expect(invalid).toEqual([]);
  });
});

describe('knp-disputed.jsonl', () => {
  type Disputed = CaseFlow & { kind?: string; otherVerdict?: 'allowed' | 'denied' };
  const cases = readCases<PolicyCase>(file('knp-disputed.jsonl'));
  const byOther = ['rules present for a direction that policyTypes leaves out', 'namespaceSelector of only negative expressions also selects addresses outside the cluster'];
  const byOwn = ['NotIn on an absent key, or an empty label value', 'pod address inside an ipBlock', 'named port on egress'];
  /** Where the receiver has no port of that name: by the text it is not selected. */
  const receiverHasNone = new Set(['knpd-00219', 'knpd-00371']);

  test.each([...byOther, ...byOwn])('%s', (kind) => {
    const flows = cases.flatMap((one) => answerVerdicts(one).map((answer) => ({ answer, flow: one.flows[answer.flow] as Disputed })))
      .filter(({ flow }) => flow.kind === kind);
    expect(flows.length).toBeGreaterThan(0);
    for (const { answer, flow } of flows) {
      const other = byOther.includes(kind) || receiverHasNone.has(answer.id);
      expect(answer).toEqual({ ...answer, verdict: other ? flow.otherVerdict : flow.verdict });
    }
  });
});

test('selectors.jsonl', () => {
  const cases = readCases<SelectorCase & { matches: boolean; valid: boolean }>(file('selectors.jsonl'));
  expect(cases.length).toBe(90);
  const wrong = cases.filter((one) => {
    const answer = answerSelector(one);
    return (answer.valid ?? true) !== one.valid || answer.matches !== one.matches;
  });
  expect(wrong).toEqual([]);
});

describe('cnp-valid.jsonl', () => {
  const cases = readCases<ValidCase & { valid: boolean; topic: string }>(file('cnp-valid.jsonl'));

  test(`${cases.length} objects are taken or refused rightly, but for the named oddities`, () => {
    const different = cases.filter((one) => answerValid(one).valid !== one.valid);
    expect(different.map((one) => one.id)).toEqual([...ODDITIES]);
    expect(different.every((one) => one.valid && REFUSED_ON_PURPOSE.includes(one.topic))).toBe(true);
  });

  test('what is refused names a field, what is valid is enforced or named as not enforced yet', () => {
    for (const { object } of cases) {
      const { valid, problems, unsupported } = check(object);
      if (valid) expect(unsupported.every((one) => one.path.length > 0)).toBe(true);
      else expect(problems.filter((one) => one.severity === 'error').every((one) => one.message.length > 10)).toBe(true);
    }
  });
});
