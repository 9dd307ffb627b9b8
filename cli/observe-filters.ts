// Filter flags -> FlowFilters. Flags that mean either end ("--pod") make two filters, one for each end, which are OR-ed;
// all others stand in both. --not sends the next flag to the deny list, which has its own two.
import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '../agent/errors.ts';
import type { FlowFilter } from '../hubble/types.ts';

type Field = keyof FlowFilter;
type Side = 'source' | 'destination';

/** Flags of one group cannot be combined, for they would narrow the same end twice. */
const groups: readonly (readonly string[])[] = [
  ...(['from', 'to'] as const).flatMap((end) => [
    ['ip', 'fqdn', `${end}-ip`, `${end}-fqdn`, 'namespace', 'all-namespaces', `${end}-namespace`, `${end}-all-namespaces`],
    ['ip', 'fqdn', `${end}-ip`, `${end}-fqdn`, 'pod', `${end}-pod`],
    ['namespace', 'all-namespaces', `${end}-pod`],
    ['namespace', 'all-namespaces', `${end}-service`],
    ...['label', 'service', 'port', 'identity', 'workload', 'cluster'].map((what) => [what, `${end}-${what}`]),
  ]),
  ['encrypted', 'unencrypted'],
];

export class FilterPair {
  readonly #left: FlowFilter = {};
  readonly #right: FlowFilter = {};
  readonly #used = new Set<string>();
  readonly #namespaces: Record<Side | 'either', string[]> = { source: [], destination: [], either: [] };
  readonly #extra: FlowFilter[] = [];

  /** Throws when `flag` cannot stand beside one that was used before. */
  use(flag: string): void {
    for (const group of groups) {
      const other = group.includes(flag) ? group.find((name) => name !== flag && this.#used.has(name)) : undefined;
      if (other !== undefined) throw new ConfigError(`filters --${flag} and --${other} cannot be combined`);
    }
    this.#used.add(flag);
  }

  both(field: Field, value: unknown): void {
    add(this.#left, field, value);
    add(this.#right, field, value);
  }

  split(source: Field, destination: Field, value: unknown): void {
    add(this.#left, source, value);
    add(this.#right, destination, value);
  }

  namespace(side: Side | 'either', name: string): void { this.#namespaces[side].push(name); }

  experimental(expression: string): void {
    for (const filter of [this.#left, this.#right]) ((filter.experimental ??= {}).cel_expression ??= []).push(expression);
  }

  /** A whole filter, beside those of the flags. */
  append(filter: FlowFilter): void { this.#extra.push(filter); }

  filters(): FlowFilter[] {
    if (this.#used.size === 0) return this.#extra;
    const [left, right] = [structuredClone(this.#left), structuredClone(this.#right)];
    const { source, destination, either } = this.#namespaces;
    for (const filter of [left, right]) {
      qualify(filter, 'source', source);
      qualify(filter, 'destination', destination);
    }
    qualify(left, 'source', either);
    qualify(right, 'destination', either);
    return [...(isDeepStrictEqual(left, right) ? [left] : [left, right]), ...this.#extra];
  }
}

function add(filter: FlowFilter, field: Field, value: unknown): void {
  ((filter as Record<string, unknown[]>)[field] ??= []).push(value);
}

/** "--namespace shop --pod web" means "shop/web"; alone it means every pod of the namespace. */
function qualify(filter: FlowFilter, side: Side, namespaces: readonly string[]): void {
  if (namespaces.length === 0) return;
  const fields = ([`${side}_pod`, `${side}_service`] as const).filter((field) => filter[field] !== undefined);
  if (fields.length === 0) filter[`${side}_pod`] = namespaces.map((namespace) => `${namespace}/`);
  for (const field of fields) {
    filter[field] = filter[field]!.flatMap((name) => {
      if (name.includes('/')) throw new ConfigError(`${name} names its namespace already: leave out the flag for the namespace`);
      return namespaces.map((namespace) => `${namespace}/${name}`);
    });
  }
}
