// Makes a failing case smaller: list items and fields are taken away one by one for as long as it still fails.

type Json = unknown;

/** Every value that is `value` less one item or field somewhere. */
function* smaller(value: Json): Generator<Json> {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) yield value.toSpliced(index, 1);
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
