// What a rule set makes of one request, as Envoy would: for offline verdicts and the tests. The path is compared as Envoy sees it, which
// normalises it first (`/a/../b` is `/b`); host and header values as the client sent them, so that case matters in them.
import { ConfigError } from '../errors.ts';
import { fqdnMatcher, fqdnSelector } from './fqdn.ts';
import type { HttpRule, L7Rules, RuleSet } from './image.ts';
import { wholeMatch } from './re2-to-javascript.ts';

export interface L7Request {
  /** Absent: not read as HTTP. With the query. */
  readonly http?: { readonly method: string; readonly path: string; readonly host: string; readonly headers: readonly (readonly [name: string, value: string])[] };
  /** The name that a TLS client asks for. */
  readonly sni?: string;
}

export interface RequestVerdict {
  readonly allowed: boolean;
  /** Of the rule set: the first that lets it pass. */
  readonly rule?: number;
  /** Header matches that did not hold and change the request or are told of. */
  readonly mismatched: readonly string[];
}

/** Throws ConfigError where a rule cannot be judged here. */
export function judgeRequest({ rules }: Pick<RuleSet, 'rules'>, request: L7Request): RequestVerdict {
  for (const [rule, { l7 }] of rules.entries()) {
    if (l7 === 'any') return { allowed: true, rule, mismatched: [] };
    const hit = matchOf(l7, request);
    if (hit !== undefined) return { allowed: true, rule, mismatched: mismatchesOf(hit, request) };
  }
  return { allowed: false, mismatched: [] };
}

/** The HTTP rule that holds; without any, an empty one stands for names alone. */
function matchOf({ http, serverNames }: L7Rules, request: L7Request): HttpRule | undefined {
  if (serverNames.length > 0 && !serverNames.some((name) => matchesName(name, request.sni))) return undefined;
  if (http.length === 0) return { headers: [], mismatches: [] };
  return request.http === undefined ? undefined : http.find((rule) => matches(rule, request.http!));
}

const matchesName = (pattern: string, sni: string | undefined): boolean =>
  sni !== undefined && fqdnMatcher(fqdnSelector({ matchPattern: pattern }))(`${sni.toLowerCase().replace(/\.$/, '')}.`);

type Http = NonNullable<L7Request['http']>;

const matches = ({ method, path, host, headers }: HttpRule, request: Http): boolean =>
  isWhole(method, request.method) && isWhole(path, request.path) && isWhole(host, request.host)
  && headers.every(({ name, value }) => (value === undefined ? valueOf(name, request) !== undefined : valueOf(name, request) === value));

function isWhole(expression: string | undefined, value: string): boolean {
  if (expression === undefined) return true;
  const compiled = wholeMatch(expression);
  if (compiled === undefined) throw new ConfigError(`the regular expression ${JSON.stringify(expression)} cannot be judged offline`, 'send the request to a running cluster: ./weir observe --protocol http shows what becomes of it');
  return compiled.test(value);
}

/** Several of one name are one value, with commas (RFC 9110, 5.2). */
function valueOf(name: string, { headers, method, path, host }: Http): string | undefined {
  const pseudo = { ':method': method, ':path': path, ':authority': host, host }[name];
  if (pseudo !== undefined) return pseudo;
  const values = headers.filter(([own]) => own.toLowerCase() === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(',');
}

const mismatchesOf = ({ mismatches }: HttpRule, { http }: L7Request): string[] =>
  (http === undefined ? [] : mismatches.filter(({ name, value }) => valueOf(name, http) !== value).map(({ name }) => name));
