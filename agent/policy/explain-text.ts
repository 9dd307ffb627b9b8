// An explanation in words: labels -> policies that select the endpoint -> rules in order -> verdict -> what would allow it.
import { parseLabel, CLUSTER, NAMESPACE_LABELS } from '../identity/labels.ts';
import type { Explanation, RuleReason } from './explain.ts';
import { protocolName } from './icmp.ts';
import type { PolicyRef, RuleRef } from './image.ts';
import { l7Lines, redirectWords, rulesFor, type Redirect } from './l7-text.ts';
import { DEFAULT_ALLOW } from './rule-set.ts';

const MAX_RULES = 20;

export const formatPolicy = ({ kind, namespace, name }: PolicyRef): string => `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;

export const formatRule = (rule: RuleRef): string => (rule.path === DEFAULT_ALLOW.path ? 'no default deny (what no rule asks for passes)'
  : rule.policy.name === '' ? `${rule.path} (built in: the node reaches its own workloads)` : `${formatPolicy(rule.policy)} ${rule.path}`);

/** With the place where it is written, if that is known. */
const placed = ({ rules }: Pick<Explanation, 'rules'>, rule: RuleRef): string => {
  const source = rules.find((reason) => reason.rule === rule)?.source;
  return `${formatRule(rule)}${source === undefined ? '' : ` (${source.file}:${source.line})`}`;
};

/** What workloads and packets bring must not steer a terminal. */
const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u${char.codePointAt(0)!.toString(16).padStart(4, '0')}`);

export function explainText(one: Omit<Explanation, 'text'>): string {
  const [from, to] = one.direction === 'ingress' ? [one.peer, one.subject] : [one.subject, one.peer];
  const lines = [
    `${from.name} -> ${to.name} ${one.port}/${protocolName(one.protocol)}, ${one.direction} of ${one.subject.name}: ${one.redirect === undefined ? VERDICTS[one.verdict] : redirectWords(one.redirect)}`,
    '',
    `${one.subject.name} has the labels ${labelText(one.subject.labels)}`,
    `${one.peer.name} has the labels ${labelText(one.peer.labels)}`,
    '',
    ...policyLines(one),
    ...ruleLines(one),
    ...endLines(one),
  ].map(printable);
  if (one.suggestion === undefined) return lines.join('\n');
  const also = one.suggestion.widens === undefined ? 'and nothing else' : `and with it ${one.suggestion.widens}`;
  lines.push('', `This policy would allow it, ${also}:`, '', ...one.suggestion.yaml.trimEnd().split('\n').map(printable));
  return lines.join('\n');
}

const VERDICTS = {
  none: 'allowed, no policy covers it',
  allow: 'allowed',
  deny: 'denied by a deny rule',
  'default-deny': 'denied by default, no rule allows it',
};

const labelText = (labels: readonly string[]): string => labels.map(parseLabel)
  .filter(({ key }) => key !== CLUSTER && !key.startsWith(NAMESPACE_LABELS))
  .map(({ source, key, value }) => `${source === 'k8s' ? '' : `${source}:`}${key}${value === '' ? '' : `=${value}`}`).join(', ');

function policyLines({ policies, direction, subject }: Omit<Explanation, 'text'>): string[] {
  if (policies.length === 0) return [`No policy selects ${subject.name} for ${direction}.`];
  return ['Selected by:', ...policies.map(({ policy, path, selector, defaultDeny, source }) =>
    `  ${formatPolicy(policy)} ${path}${source === undefined ? '' : ` (${source.file}:${source.line})`}: ${selector}${defaultDeny ? ' (default deny)' : ''}`)];
}

function ruleLines(one: Omit<Explanation, 'text'>): string[] {
  const { rules } = one;
  if (rules.length === 0) return [];
  const shown = [...rules].sort((a, b) => b.score - a.score).slice(0, MAX_RULES);
  const kept = rules.filter((rule) => shown.includes(rule));
  const left = rules.length - kept.length;
  return ['', 'Rules in order:', ...kept.flatMap((reason) => reasonLines(one, reason)), ...(left > 0 ? [`  ... and ${left} that came less near`] : [])];
}

function reasonLines(one: Pick<Explanation, 'rules'>, reason: RuleReason): string[] {
  const mark = (matched: boolean): string => (matched ? 'yes' : 'no ');
  const result = reason.peerMatched && reason.portMatched ? `${reason.rule.action} matches` : `${reason.rule.action} misses`;
  return [
    `  ${placed(one, reason.rule)}: ${result}`,
    `    peer ${mark(reason.peerMatched)} ${reason.peer}`,
    `    port ${mark(reason.portMatched)} ${reason.port}`,
    ...(reason.l7 === undefined ? [] : l7Lines(reason.l7).map((line) => `    asks ${line}`)),
  ];
}

function endLines(one: Omit<Explanation, 'text'>): string[] {
  const { verdict, decidedBy, nearest, enforced, redirect } = one;
  if (redirect !== undefined) return redirectLines(one, redirect);
  const rules = decidedBy.map((rule) => placed(one, rule)).join(', ');
  if (verdict === 'deny') return ['', `A deny rule wins over every allow: to open this flow ${rules} has to go or be narrowed.`];
  if (verdict === 'allow' && !enforced) return ['', 'Allowed by default: no policy denies here what no rule allows; to close this flow a deny rule has to name it, or a policy has to switch on default deny.'];
  if (verdict === 'allow' && decidedBy.length > 0) return ['', `Allowed by ${rules}; to close this flow each of them has to go, or a deny rule has to name it.`];
  if (nearest === undefined) return [];
  const missed = [nearest.peerMatched ? '' : nearest.peer, nearest.portMatched ? '' : nearest.port].filter((text) => text !== '');
  return ['', `Nearest rule: ${placed(one, nearest.rule)}: ${missed.join('; ')}`];
}

function redirectLines(one: Pick<Explanation, 'rules'>, redirect: Redirect): string[] {
  const rules = rulesFor(redirect).map((rule) => placed(one, rule)).join(', ');
  if (redirect.conflict !== undefined) return ['', `Every connection is refused until one of these goes or takes another port: ${rules}`];
  if (redirect.answer?.allowed === false) return ['', `Envoy answers 403: none of these allows the request: ${rules}`];
  if (redirect.answer !== undefined) return ['', `The request passes by ${rules}.`];
  const open = redirect.rules.filter(({ l7 }) => l7 === 'any').map(({ ref }) => placed(one, ref));
  if (open.length > 0) return ['', `Envoy sees every request and lets it pass, for ${open.join(', ')} asks nothing of it.`];
  return ['', `Envoy lets a request pass that one of these allows, and answers 403 to others: ${rules}. Add --http-method, --http-path and --http-host to ask for one.`];
}
