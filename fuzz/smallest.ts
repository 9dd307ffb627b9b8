// Makes a failing case smaller: list items, many at once first, and fields are taken away for as long as it still fails.

type Json = unknown;

/** Every value that is `value` less a run of items or a field somewhere. */
function* smaller(value: Json): Generator<Json> {
  if (Array.isArray(value)) {
    for (let size = Math.ceil(value.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let index = 0; index < value.length; index += size) yield value.toSpliced(index, size);
    }
    for (let index = 0; index < value.length; index += 1) for (const item of smaller(value[index])) yield value.with(index, item);
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    for (const [key] of entries) yield Object.fromEntries(entries.filter(([other]) => other !== key));
    for (const [key, item] of entries) for (const less of smaller(item)) yield { ...value, [key]: less };
  }
}

export function smallest<Case>(failing: Case, fails: (candidate: Case) => boolean): Case {
  let best = failing;
  for (;;) {
    let found: Case | undefined;
    for (const candidate of smaller(best) as Generator<Case>) {
      if (!fails(candidate)) continue;
      found = candidate;
      break;
    }
    if (found === undefined) return best;
    best = found;
  }
}
