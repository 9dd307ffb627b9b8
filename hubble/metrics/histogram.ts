// A histogram of Prometheus: buckets that add up, a sum, a count; of each bucket perhaps the trace of one request that fell into it.
import type { Collected, Exemplar, Sample } from './registry.ts';

interface Series { readonly labels: readonly string[]; readonly counts: Uint32Array; readonly exemplars: (Exemplar | undefined)[]; sum: number }

export class HistogramFamily {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly #bounds: readonly number[];
  readonly #maxSeries: number;
  readonly #series = new Map<string, Series>();
  /** Observations that found no place. */
  dropped = 0;

  /** `bounds`: upper ends of the buckets, rising; one without an end follows. */
  constructor(name: string, help: string, labelNames: readonly string[], bounds: readonly number[], maxSeries: number) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    this.#bounds = bounds;
    this.#maxSeries = maxSeries;
  }

  observe(labels: readonly string[], value: number, traceId?: string): void {
    const key = labels.join('\u0000');
    let series = this.#series.get(key);
    if (series === undefined) {
      if (this.#series.size >= this.#maxSeries) {
        this.dropped += 1;
        return;
      }
      const size = this.#bounds.length + 1;
      series = { labels: [...labels], counts: new Uint32Array(size), exemplars: Array.from({ length: size }), sum: 0 };
      this.#series.set(key, series);
    }
    const above = this.#bounds.findIndex((bound) => value <= bound);
    const bucket = above < 0 ? this.#bounds.length : above;
    series.counts[bucket]! += 1;
    series.sum += value;
    if (traceId !== undefined && traceId !== '') series.exemplars[bucket] = { traceId, value };
  }

  collect(): Collected {
    const samples = [...this.#series.values()].flatMap(({ labels: values, counts, exemplars, sum }): Sample[] => {
      const labels = Object.fromEntries(this.labelNames.map((name, index) => [name, values[index] ?? '']));
      let count = 0;
      const buckets = [...counts].map((more, index): Sample => {
        count += more;
        const exemplar = exemplars[index];
        return { suffix: '_bucket', labels: { ...labels, le: String(this.#bounds[index] ?? '+Inf') }, value: count, ...(exemplar && { exemplar }) };
      });
      return [...buckets, { suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: count }];
    });
    return { name: this.name, help: this.help, type: 'histogram', samples };
  }
}
