// L7 rules and what they make of a request, in words: for explanations and verdicts.
import type { HttpRule, L7Rules, RuleRef, RuleSet } from './image.ts';
import type { L7Request, RequestVerdict } from './request.ts';
import type { Conflict } from './rule-set.ts';

/** A connection that goes through Envoy: the rules that judge its requests, why none can, or what they make of the one that was asked for. */
export interface Redirect {
  readonly rules: RuleSet['rules'];
  /** Connections are refused. */
  readonly conflict?: Conflict;
  readonly request?: L7Request;
  readonly answer?: RequestVerdict;
}

const MAX_SHOWN = 8;

export const isRefused = (redirect: Redirect | undefined): boolean =>
  redirect !== undefined && (redirect.conflict !== undefined || redirect.answer?.allowed === false);

export function redirectWords({ conflict, request, answer }: Redirect): string {
  if (conflict !== undefined) return `refused: ${conflict.message}`;
  if (answer === undefined) return 'redirected: Envoy judges each request';
  const passes = answer.allowed ? `passes${answer.mismatched.length === 0 ? '' : ` (header matches that do not hold: ${answer.mismatched.join(', ')})`}` : 'is refused, no L7 rule allows it';
  return `redirected: ${requestText(request!)} ${passes}`;
}

/** The rule that lets the request pass, else all that might. */
export const rulesFor = ({ rules, answer }: Redirect): readonly RuleRef[] =>
  (answer?.rule === undefined ? rules : [rules[answer.rule]!]).map(({ ref }) => ref);

export function l7Lines(l7: L7Rules): string[] {
  const lines = [
    ...(l7.terminatingTls === undefined ? [] : [`TLS ends under the secret ${l7.terminatingTls.namespace}/${l7.terminatingTls.name}`]),
    ...(l7.serverNames.length === 0 ? [] : [`TLS to ${l7.serverNames.join(', ')}`]),
    ...l7.http.map(httpText),
  ];
  return lines.length <= MAX_SHOWN ? lines : [...lines.slice(0, MAX_SHOWN), `... and ${lines.length - MAX_SHOWN} more`];
}

function httpText({ method, path, host, headers, mismatches }: HttpRule): string {
  const parts = [
    ...(method === undefined ? [] : [method]), ...(path === undefined ? [] : [path]), ...(host === undefined ? [] : [`host ${host}`]),
    ...headers.map(({ name, value }) => `header ${name}${value === undefined ? '' : `: ${value}`}`),
    ...mismatches.map(({ name, action }) => `header ${name} else ${action}`),
  ];
  return parts.length === 0 ? 'every HTTP request' : `HTTP ${parts.join(' ')}`;
}

const requestText = ({ http, sni }: L7Request): string => [...(http === undefined ? [] : [`${http.method} ${http.host}${http.path}`]), ...(sni === undefined ? [] : [`TLS to ${sni}`])].join(', ');
