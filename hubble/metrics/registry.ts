// Metrics in the text form of Prometheus, or of OpenMetrics where exemplars are asked for. Every family has a bound on its series: what does not fit is counted, never kept.
import { HistogramFamily } from './histogram.ts';

/** A request that a sample counted. */
export interface Exemplar { readonly traceId: string; readonly value: number }
/** `suffix`: after the name of its family. */
export interface Sample { readonly suffix?: string; readonly labels?: Readonly<Record<string, string>>; readonly value: number; readonly exemplar?: Exemplar }
/** Read when it is asked for. */
export interface Collected { readonly name: string; readonly help: string; readonly type: 'counter' | 'gauge' | 'histogram'; readonly samples: readonly Sample[] }
export type Collector = () => readonly Collected[];

const defaultMaxSeries = 2_000;

export class CounterFamily {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly #maxSeries: number;
  readonly #values = new Map<string, { readonly labels: readonly string[]; value: number; exemplar?: Exemplar }>();
  /** Increments that found no place. */
  dropped = 0;

  constructor(name: string, help: string, labelNames: readonly string[], maxSeries = defaultMaxSeries) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    this.#maxSeries = maxSeries;
  }

  add(labels: readonly string[], amount = 1, traceId?: string): void {
    const key = labels.join('\u0000');
    let known = this.#values.get(key);
    if (known === undefined) {
      if (this.#values.size >= this.#maxSeries) {
        this.dropped += amount;
        return;
      }
      known = { labels: [...labels], value: 0 };
      this.#values.set(key, known);
    }
    known.value += amount;
    if (traceId !== undefined && traceId !== '') known.exemplar = { traceId, value: amount };
  }

  collect(): Collected {
    const samples = [...this.#values.values()].map(({ labels, value, exemplar }) => ({ labels: Object.fromEntries(this.labelNames.map((name, index) => [name, labels[index] ?? ''])), value, ...(exemplar && { exemplar }) }));
    return { name: this.name, help: this.help, type: 'counter', samples };
  }
}

export class Registry {
  readonly #families: (CounterFamily | HistogramFamily)[] = [];
  readonly #collectors: Collector[] = [];

  counter(name: string, help: string, labelNames: readonly string[], maxSeries?: number): CounterFamily {
    const family = new CounterFamily(name, help, labelNames, maxSeries);
    this.#families.push(family);
    return family;
  }

  histogram(name: string, help: string, labelNames: readonly string[], bounds: readonly number[], maxSeries = defaultMaxSeries): HistogramFamily {
    const family = new HistogramFamily(name, help, labelNames, bounds, maxSeries);
    this.#families.push(family);
    return family;
  }

  /** Told when somebody asks. */
  collect(collector: Collector): void { this.#collectors.push(collector); }

  /** `openMetrics`: with exemplars, which the older form has no place for. */
  text(openMetrics = false): string {
    const dropped: Collected = {
      name: 'weir_metrics_dropped_total', help: 'Increments of series that found no place in their metric', type: 'counter',
      samples: this.#families.map(({ name, dropped: value }) => ({ labels: { metric: name }, value })),
    };
    const all = [...this.#families.map((family) => family.collect()), ...this.#collectors.flatMap((collector) => collector()), dropped];
    return `${all.map((one) => textOf(one, openMetrics)).join('')}${openMetrics ? '# EOF\n' : ''}`;
  }
}

function textOf({ name, help, type, samples }: Collected, openMetrics: boolean): string {
  if (samples.length === 0) return '';
  const lines = samples.map(({ suffix = '', labels = {}, value, exemplar }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    const trace = openMetrics && exemplar !== undefined ? ` # {traceID="${escapeLabel(exemplar.traceId)}"} ${exemplar.value}` : '';
    return `${name}${suffix}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${Number.isNaN(value) ? 'NaN' : String(value)}${trace}\n`;
  });
  const family = openMetrics && type === 'counter' ? name.replace(/_total$/, '') : name;
  return `# HELP ${family} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${family} ${type}\n${lines.join('')}`;
}

const escapeLabel = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
