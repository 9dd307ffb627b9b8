// What came and went between two lists. What is the same at both ends is passed over fast: almost always one item changed.

export interface Difference<Item> { readonly added: readonly Item[]; readonly removed: readonly Item[] }

/** An item that changed its place is neither added nor removed; one that changed itself is both. */
export function differenceOf<Item>(old: readonly Item[], now: readonly Item[], keyOf: (item: Item) => unknown, same: (a: Item, b: Item) => boolean): Difference<Item> {
  let first = 0;
  while (first < old.length && first < now.length && (old[first] === now[first] || same(old[first]!, now[first]!))) first += 1;
  let last = 0;
  while (last < old.length - first && last < now.length - first && (old.at(-1 - last) === now.at(-1 - last) || same(old.at(-1 - last)!, now.at(-1 - last)!))) last += 1;
  const before = new Map(old.slice(first, old.length - last).map((item) => [keyOf(item), item]));
  const added: Item[] = [];
  for (const item of now.slice(first, now.length - last)) {
    const known = before.get(keyOf(item));
    if (known !== undefined && (known === item || same(known, item))) before.delete(keyOf(item));
    else added.push(item);
  }
  return { added, removed: [...before.values()] };
}
