// Metrics in the text form of Prometheus. Every family has a bound on its series: what does not fit is counted, never kept.

export interface Sample { readonly labels?: Readonly<Record<string, string>>; readonly value: number }
/** Read when it is asked for. */
export interface Collected { readonly name: string; readonly help: string; readonly type: 'counter' | 'gauge'; readonly samples: readonly Sample[] }
export type Collector = () => readonly Collected[];

const defaultMaxSeries = 2_000;

export class CounterFamily {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly #maxSeries: number;
  readonly #values = new Map<string, { readonly labels: readonly string[]; value: number }>();
  /** Increments that found no place. */
  dropped = 0;

  constructor(name: string, help: string, labelNames: readonly string[], maxSeries = defaultMaxSeries) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    this.#maxSeries = maxSeries;
  }

  add(labels: readonly string[], amount = 1): void {
    const key = labels.join('\u0000');
    const known = this.#values.get(key);
    if (known !== undefined) known.value += amount;
    else if (this.#values.size < this.#maxSeries) this.#values.set(key, { labels: [...labels], value: amount });
    else this.dropped += amount;
  }

  collect(): Collected {
    const samples = [...this.#values.values()].map(({ labels, value }) => ({ labels: Object.fromEntries(this.labelNames.map((name, index) => [name, labels[index] ?? ''])), value }));
    return { name: this.name, help: this.help, type: 'counter', samples };
  }
}

export class Registry {
  readonly #families: CounterFamily[] = [];
  readonly #collectors: Collector[] = [];

  counter(name: string, help: string, labelNames: readonly string[], maxSeries?: number): CounterFamily {
    const family = new CounterFamily(name, help, labelNames, maxSeries);
    this.#families.push(family);
    return family;
  }

  /** Told when somebody asks. */
  collect(collector: Collector): void { this.#collectors.push(collector); }

  text(): string {
    const dropped: Collected = {
      name: 'weir_metrics_dropped_total', help: 'Increments of series that found no place in their metric', type: 'counter',
      samples: this.#families.map(({ name, dropped: value }) => ({ labels: { metric: name }, value })),
    };
    return [...this.#families.map((family) => family.collect()), ...this.#collectors.flatMap((collector) => collector()), dropped].map(textOf).join('');
  }
}

function textOf({ name, help, type, samples }: Collected): string {
  if (samples.length === 0) return '';
  const lines = samples.map(({ labels = {}, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${Number.isNaN(value) ? 'NaN' : String(value)}\n`;
  });
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

const escapeLabel = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
