// What one item of toPorts asks of connections beyond their port: HTTP rules, TLS server names, the certificate under which TLS ends.
// rules.ts reads it here; which of them hold together for a peer is rule-sets.ts.
import type { HttpRule, L7Rules } from './image.ts';

type Json = Readonly<Record<string, unknown>>;
const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

/** Of one item of toPorts, and of all that hold together for a peer: what Envoy takes in at once. */
export const MAX_HTTP_RULES = 4_096;
export const MAX_MERGED_HTTP_RULES = 4 * MAX_HTTP_RULES;
export const MAX_SERVER_NAMES = 256;
/** Bytes of one regular expression. */
export const MAX_REGEX = 10_000;
export const MAX_HEADERS = 64;

/** How Envoy has to read a connection: one listener does one of them. */
export type Shape = 'http' | 'tls names' | 'opened tls';

export const shapeOf = ({ terminatingTls, serverNames }: L7Rules): Shape =>
  (terminatingTls !== undefined ? 'opened tls' : serverNames.length > 0 ? 'tls names' : 'http');

/** Undefined: the item asks for nothing, ports alone decide. `namespace`: where a secret is that names none. */
export function l7Of(item: Json, namespace: string): L7Rules | undefined {
  const http = listOf((item['rules'] as Json | null | undefined)?.['http']).map(readHttp);
  const serverNames = (listOf(item['serverNames']) as unknown as string[]).map((name) => name.toLowerCase());
  const tls = (item['terminatingTLS'] ?? undefined) as Json | undefined;
  if (http.length === 0 && serverNames.length === 0 && tls === undefined) return undefined;
  return { http, serverNames, ...(tls === undefined ? {} : { terminatingTls: readTls(tls, namespace) }) };
}

function readTls(tls: Json, namespace: string): NonNullable<L7Rules['terminatingTls']> {
  const secret = (tls['secret'] ?? {}) as Json;
  return {
    namespace: String(secret['namespace'] ?? namespace), name: String(secret['name'] ?? ''),
    certificate: String(tls['certificate'] ?? 'tls.crt'), privateKey: String(tls['privateKey'] ?? 'tls.key'),
  };
}

function readHttp(rule: Json): HttpRule {
  const matches = listOf(rule['headerMatches']).map((one) => ({
    name: String(one['name']).toLowerCase(), action: (one['mismatch'] ?? '') as '' | HttpRule['mismatches'][number]['action'], value: one['value'] as string | undefined,
  }));
  return {
    ...textOf('method', rule), ...textOf('path', rule), ...textOf('host', rule),
    headers: [
      ...(listOf(rule['headers']) as unknown as string[]).map(readHeader),
      ...matches.filter(({ action }) => action === '').map(({ name, value }) => ({ name, ...(value === undefined || value === '' ? {} : { value }) })),
    ],
    mismatches: matches.flatMap(({ name, action, value }) => (action === '' ? [] : [{ name, action, value: value ?? '' }])),
  };
}

/** An empty text asks for nothing. */
function textOf(field: 'method' | 'path' | 'host', rule: Json): Partial<HttpRule> {
  const value = rule[field];
  return typeof value === 'string' && value !== '' ? { [field]: value } : {};
}

/** `Name: value`, `Name value`, or the name alone: present. */
function readHeader(text: string): HttpRule['headers'][number] {
  const space = text.indexOf(' ');
  const name = (space < 0 ? text : text.slice(0, space)).replace(/:$/, '').toLowerCase();
  return space < 0 ? { name } : { name, value: text.slice(space + 1) };
}
