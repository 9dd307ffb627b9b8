// Test only: what L7 rules mean, written straight from their description for one item of toPorts and one request (naive.ts).
import type { L7Request } from './request.ts';

type Json = Record<string, any>;

/** How the connection has to be read; undefined: by its port alone. */
export function naiveItemKind(item: Json): string | undefined {
  if (item.terminatingTLS) return `opened under ${item.terminatingTLS.secret.name}`;
  if (item.serverNames?.length > 0) return 'names';
  return item.rules?.http?.length > 0 ? 'http' : undefined;
}

export function naiveItemPasses(item: Json, request: L7Request): boolean {
  if (item.serverNames?.length > 0 && !item.serverNames.some((name: string) => request.sni !== undefined && isNamed(name, request.sni))) return false;
  return !(item.rules?.http?.length > 0) || item.rules.http.some((rule: Json) => request.http !== undefined && httpPasses(rule, request.http));
}

/** `*` inside a label, `**.` in front: labels. */
function isNamed(pattern: string, name: string): boolean {
  if (pattern === '*') return true;
  const [theirs, ours] = [pattern.split('.'), name.split('.')];
  const inLabel = (label: string, own: string): boolean => {
    const [head, ...tail] = label.split('*') as [string, ...string[]];
    return tail.length === 0 ? label === own : own.length >= head.length + tail[0]!.length && own.startsWith(head) && own.endsWith(tail[0]!);
  };
  if (theirs[0] === '**') return ours.length >= theirs.length && theirs.slice(1).every((label, at) => inLabel(label, ours[ours.length - theirs.length + 1 + at]!));
  return ours.length === theirs.length && theirs.every((label, at) => inLabel(label, ours[at]!));
}

function httpPasses(rule: Json, { method, path, host, headers }: NonNullable<L7Request['http']>): boolean {
  const whole = (expression: string | undefined, text: string): boolean => expression === undefined || new RegExp(`^(?:${expression})$`).test(text);
  const has = (name: string, value?: string): boolean => headers.some(([own, its]) => own === name && (value === undefined || its === value));
  return whole(rule.method, method) && whole(rule.path, path) && whole(rule.host, host)
    && (rule.headers ?? []).every((text: string) => { const [, name, value] = /^([\w-]+):? ?(.*)$/.exec(text)!; return has(name!.toLowerCase(), value === '' ? undefined : value); })
    && (rule.headerMatches ?? []).every((one: Json) => one.mismatch !== undefined || has(one.name.toLowerCase(), one.value));
}
