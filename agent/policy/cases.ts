// Files of cases with known answers (JSON lines, `.gz` too): one answer line per case or flow.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Problem } from './check.ts';
import { fqdnMatcher, fqdnSelector } from './fqdn.ts';
import { judgeFlow, makeWorld, type PolicyCase } from './offline.ts';
import { labelSelector } from './selector-shape.ts';
import { labelSet, matches, readSelector, type LabelSelector } from './selector.ts';
import { check, errorText } from './validate.ts';

export function readCases<Case>(file: string): Case[] {
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  return text.split('\n').filter((line) => line.trim() !== '').map((line) => JSON.parse(line) as Case);
}

export interface VerdictAnswer { readonly id: string; readonly flow: number; readonly verdict: 'allowed' | 'denied' }

/** Every policy of the case is in force as it stands: nothing is validated first. */
export function answerVerdicts(one: PolicyCase): VerdictAnswer[] {
  const world = makeWorld(one);
  return one.flows.map((flow, index) => ({ id: one.id, flow: index, verdict: judgeFlow(world, flow) }));
}

export interface ValidCase { readonly id: string; readonly object: unknown }

export function answerValid({ id, object }: ValidCase): { id: string; valid: boolean; error: string } {
  const { valid, problems } = check(object);
  return { id, valid, error: errorText(problems) };
}

export interface SelectorCase { readonly id: string; readonly selector: LabelSelector; readonly labels: readonly string[] }

export function answerSelector({ id, selector, labels }: SelectorCase): { id: string; valid?: false; matches?: boolean } {
  const problems: Problem[] = [];
  labelSelector('any')(selector, [], (problem) => { if (problem.severity === 'error') problems.push(problem); });
  return problems.length > 0 ? { id, valid: false } : { id, matches: matches(readSelector(selector), labelSet(labels)) };
}

export interface FqdnCase { readonly id: string; readonly matchName?: string; readonly matchPattern?: string; readonly qname: string }

export const answerFqdn = (one: FqdnCase): { id: string; matches: boolean } => ({ id: one.id, matches: fqdnMatcher(fqdnSelector(one))(one.qname) });
