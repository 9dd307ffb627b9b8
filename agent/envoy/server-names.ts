// `serverNames` of policies -> regular expressions of SNI. `*`: any characters of one label; a leading `**.`: one or more labels.
// TLS clients send names without a final dot, in any case: Envoy compares them in lower case.

const label = '[-a-z0-9_]';

export function serverNameRegex(pattern: string): string {
  const lower = pattern.toLowerCase();
  const deep = /^\*\*+\./.exec(lower)?.[0] ?? '';
  const rest = lower.slice(deep.length).replace(/\*+|[^*]+/g, (part) => (part.startsWith('*') ? `${label}*` : part.replace(/[^a-z0-9_-]/g, '\\$&')));
  return deep === '' ? rest : `(?:${label}+\\.)+${rest}`;
}
