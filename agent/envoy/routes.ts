// A rule set's HTTP rules -> routes, tried in order: who matches none meets the last one, a 403. The name of a route says which rule
// allowed the request, and comes back in the access log.
import type { HttpRule, RuleSet } from '../policy/image.ts';
import { originalCluster } from './bootstrap.ts';
import { duration, type Message } from './messages.ts';
import { stringMatch } from './string-match.ts';

/** 2^4: each headerMatches entry with a `mismatch` doubles the routes of its rule. */
export const mostMismatches = 4;
export const deniedRoute = 'denied';
const deniedBody = 'Access denied\r\n';

/**
 * Paths that Envoy leaves as they are and some servers read as others: an escaped slash, backslash, dot or NUL, a parameter after dots.
 * No rule that names paths allows them: `/public/..%2fadmin` is none of `/public/.*`.
 */
const ambiguous = '[^?]*(?:%2[fF]|%5[cC]|%00|%25(?:2[eEfF]|5[cC])|/(?:\\.|%2[eE])+(?:;|%3[bB]))[^?]*(?:\\?.*)?';

const isAmbiguous = new RegExp(`^(?:${ambiguous})$`);
const header = (name: string, string_match: Message): Message => ({ name, string_match });
const plain: Message = { ...header(':path', { safe_regex: { google_re2: {}, regex: ambiguous } }), invert_match: true };

/** The path first: of many rules it is what most requests fail by. A path that is one text, and no such one, needs not be asked how it is read. */
function conditions({ method, path, host, headers }: HttpRule): Message[] {
  const paths = path === undefined ? undefined : stringMatch(path);
  const exact = paths?.['exact'] as string | undefined;
  return [
    ...(paths === undefined ? [] : [header(':path', paths)]),
    ...(method === undefined ? [] : [header(':method', stringMatch(method))]),
    ...(host === undefined ? [] : [header(':authority', stringMatch(host))]),
    ...headers.map(({ name, value }) => (value === undefined ? { name, present_match: true } : header(name, { exact: value }))),
    ...(paths === undefined || (exact !== undefined && !isAmbiguous.test(exact)) ? [] : [plain]),
  ];
}

export const forward: Message = {
  cluster: originalCluster, timeout: duration(0), idle_timeout: duration(0), retry_policy: { retry_on: 'connect-failure', num_retries: { value: 1 } },
};

type Mismatch = HttpRule['mismatches'][number];

/** To a server that reads `x_role` as `x-role`, what is not the policy's must not come under that name either. */
function spellings(name: string): string[] {
  return name.includes('-') ? [name, name.replaceAll('-', '_')] : [name];
}

function changes(missing: readonly Mismatch[]): Message {
  const removed = missing.flatMap(({ name, action }) => (action === 'LOG' ? [] : action === 'ADD' ? spellings(name).slice(1) : spellings(name)));
  const added = missing.filter(({ action }) => action === 'ADD' || action === 'REPLACE').map(({ name, value }) => ({
    header: { key: name, value }, append_action: 'APPEND_IF_EXISTS_OR_ADD',
  }));
  return { ...(removed.length > 0 && { request_headers_to_remove: removed }), ...(added.length > 0 && { request_headers_to_add: added }) };
}

function variant(index: number, rule: HttpRule, missing: readonly Mismatch[]): Message {
  const held = rule.mismatches.filter((one) => !missing.includes(one)).map(({ name, value }) => header(name, { exact: value }));
  return { name: routeName(index, missing.map(({ name }) => name)), match: { prefix: '/', headers: [...conditions(rule), ...held] }, route: forward, ...changes(missing) };
}

/** Which of its headerMatches do not hold, the fewest first: so a variant need not say that the others do not. */
function subsets(mismatches: readonly Mismatch[]): Mismatch[][] {
  const all = Array.from({ length: 2 ** mismatches.length - 1 }, (_, mask) => mismatches.filter((_one, bit) => ((mask + 1) >> bit) & 1));
  return all.sort((one, other) => one.length - other.length);
}

const connect = { connect_matcher: {} };
const anyPath = { prefix: '' };

/** Each rule as it stands before any that would have to change the request. CONNECT and `OPTIONS *` have no path of their own. */
function routesOf(rules: RuleSet['rules']): Message[] {
  const http = rules.flatMap(({ l7 }, index) => (l7 === 'any' ? [] : l7.http.map((rule) => ({ index, rule }))));
  const wildcard = rules.findIndex(({ l7 }) => l7 === 'any');
  const denied = { name: deniedRoute, direct_response: { status: 403, body: { inline_string: deniedBody } } };
  return [
    ...http.map(({ index, rule }) => variant(index, rule, [])),
    ...(wildcard >= 0 ? [{ name: routeName(wildcard, []), match: anyPath, route: forward }] : http.flatMap(({ index, rule }) => subsets(rule.mismatches).map((missing) => variant(index, rule, missing)))),
    { ...denied, match: connect },
    { ...denied, match: anyPath },
  ];
}

export function routeConfiguration(name: string, rules: RuleSet['rules']): Message {
  return { name, virtual_hosts: [{ name: 'all', domains: ['*'], routes: routesOf(rules) }] };
}

export const routeName = (rule: number, mismatched: readonly string[]): string => [rule, ...mismatched].join(' ');

/** Undefined: no rule allowed it. */
export function parseRouteName(name: string): { readonly rule: number; readonly mismatched: readonly string[] } | undefined {
  const [rule, ...mismatched] = name.split(' ');
  return /^\d+$/.test(rule!) ? { rule: Number(rule), mismatched } : undefined;
}
