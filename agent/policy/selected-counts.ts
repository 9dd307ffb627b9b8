// How many endpoints each policy selects: counted once, then kept up with what comes and goes, so that one change among many
// policies and endpoints costs what it touches.
import type { EndpointRow } from '../endpoint/tables.ts';
import type { RuleGroup } from './rule.ts';
import { labelSet, matches, type LabelSet } from './selector.ts';

interface Counted { readonly groups: readonly RuleGroup[]; count: number }

export class SelectedCounts {
  readonly #counted = new Map<string, Counted>();
  readonly #labels = new WeakMap<EndpointRow, LabelSet>();
  #endpoints: ReadonlySet<EndpointRow> = new Set();

  /** By policy; `policies`: all there are, with what is in force of each. */
  update(policies: Iterable<readonly [key: string, groups: readonly RuleGroup[]]>, endpoints: readonly EndpointRow[]): ReadonlyMap<string, number> {
    const now = new Set(endpoints);
    const come = endpoints.filter((row) => !this.#endpoints.has(row));
    const gone = [...this.#endpoints].filter((row) => !now.has(row));
    const counts = new Map<string, number>();
    for (const [key, groups] of policies) {
      const known = this.#counted.get(key);
      const count = known?.groups === groups ? known.count + this.#selected(groups, come) - this.#selected(groups, gone) : this.#selected(groups, endpoints);
      this.#counted.set(key, { groups, count });
      counts.set(key, count);
    }
    for (const key of [...this.#counted.keys()]) if (!counts.has(key)) this.#counted.delete(key);
    this.#endpoints = now;
    return counts;
  }

  #selected(groups: readonly RuleGroup[], rows: readonly EndpointRow[]): number {
    return rows.filter((row) => groups.some((group) => matches(group.subject, this.#labelsOf(row)))).length;
  }

  #labelsOf(row: EndpointRow): LabelSet {
    const known = this.#labels.get(row) ?? labelSet(row.labels);
    this.#labels.set(row, known);
    return known;
  }
}
