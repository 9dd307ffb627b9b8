// A policy says by annotation which warnings about it are meant: weir/lint-ignore: "no-dns, allows-world".

const IGNORE = 'weir/lint-ignore';

/** The names of those warnings. */
export function ignored(object: Readonly<Record<string, unknown>>): ReadonlySet<string> {
  const { annotations } = (object['metadata'] ?? {}) as { annotations?: Record<string, unknown> | null };
  return new Set(String(annotations?.[IGNORE] ?? '').split(/[\s,]+/).filter((name) => name !== ''));
}
