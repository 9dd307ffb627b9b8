// The drop log: every denied tuple with how often, made to be kept. A new tuple is told at once, one that goes on once an interval;
// the counts of all lines together are all drops, exactly.
import { enumNames } from '../proto.ts';
import { formatTimestamp } from '../json.ts';
import { timestampOfMs } from '../time.ts';
import { verdict, type Endpoint, type Flow, type GetFlowsResponse, type Policy, type Timestamp } from '../types.ts';
import type { DropLogConfig } from './config.ts';

export interface DropLine {
  readonly time: string; readonly first?: string; readonly last?: string; readonly count: number;
  readonly source?: object; readonly destination?: object; readonly protocol?: string; readonly port?: number; readonly direction?: string; readonly reason?: string; readonly policies?: readonly string[];
  /** Instead of a tuple: what it counts. */
  readonly kind?: 'others' | 'lost';
}

interface Tuple { readonly says: Pick<DropLine, 'source' | 'destination' | 'protocol' | 'port' | 'direction' | 'reason' | 'policies'>; count: number; first: Timestamp; last: Timestamp; quietFor: number }

const reasons = enumNames('flow.DropReason');
const directions = enumNames('flow.TrafficDirection');
/** Intervals without a drop after which a tuple is new again. */
const forgetAfter = 10;

export class DropLog {
  readonly #config: Pick<DropLogConfig, 'maxTuples' | 'linesPerSecond' | 'intervalMs'>;
  readonly #write: (line: DropLine) => void;
  readonly #now: () => number;
  readonly #tuples = new Map<string, Tuple>();
  #others = 0;
  #lost = 0;
  #second = 0;
  #linesInSecond = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(config: Pick<DropLogConfig, 'maxTuples' | 'linesPerSecond' | 'intervalMs'>, write: (line: DropLine) => void, now: () => number = Date.now) {
    this.#config = config;
    this.#write = write;
    this.#now = now;
    this.#timer = setInterval(() => { this.flush(); }, config.intervalMs);
    this.#timer.unref();
  }

  see({ flow, lost_events: lost }: GetFlowsResponse): void {
    // Which of them were drops nobody knows any more.
    if (lost != null) this.#lost += Number(lost.num_events_lost ?? 0);
    if (flow == null || flow.verdict !== verdict.dropped) return;
    const says = tupleOf(flow);
    const key = JSON.stringify(says);
    const time = flow.time ?? timestampOfMs(this.#now());
    const known = this.#tuples.get(key);
    if (known !== undefined) {
      if (known.count === 0) known.first = time;
      known.count += 1;
      known.last = time;
      return;
    }
    if (this.#tuples.size >= this.#config.maxTuples) { this.#others += 1; return; }
    const tuple: Tuple = { says, count: 1, first: time, last: time, quietFor: 0 };
    this.#tuples.set(key, tuple);
    if (this.#mayTell()) this.#tell(tuple);
  }

  /** What goes on, and what had to wait. */
  flush(): void {
    for (const [key, tuple] of this.#tuples) {
      if (tuple.count > 0) {
        this.#tell(tuple);
        tuple.quietFor = 0;
      } else if ((tuple.quietFor += 1) >= forgetAfter) this.#tuples.delete(key);
    }
    for (const [kind, count] of [['others', this.#others], ['lost', this.#lost]] as const) if (count > 0) this.#write({ time: this.#time(), count, kind });
    [this.#others, this.#lost] = [0, 0];
  }

  stop(): void {
    clearInterval(this.#timer);
    this.flush();
  }

  #mayTell(): boolean {
    const second = Math.floor(this.#now() / 1_000);
    if (second !== this.#second) [this.#second, this.#linesInSecond] = [second, 0];
    this.#linesInSecond += 1;
    return this.#linesInSecond <= this.#config.linesPerSecond;
  }

  #time(): string { return formatTimestamp(timestampOfMs(this.#now())); }

  #tell(tuple: Tuple): void {
    this.#write({ time: this.#time(), first: formatTimestamp(tuple.first), last: formatTimestamp(tuple.last), count: tuple.count, ...tuple.says });
    tuple.count = 0;
  }
}

/** Without the source port, which every connection has another of. */
function tupleOf(flow: Flow): Tuple['says'] {
  const [protocol, l4] = Object.entries(flow.l4 ?? {}).find(([, value]) => value != null) ?? [];
  const port = (l4 as { destination_port?: number } | undefined)?.destination_port;
  const policies = [...flow.egress_denied_by ?? [], ...flow.ingress_denied_by ?? []].map(({ namespace, name = '' }: Policy) => (namespace ? `${namespace}/${name}` : name));
  return {
    source: endOf(flow.source, flow.IP?.source), destination: endOf(flow.destination, flow.IP?.destination),
    ...(protocol !== undefined && { protocol }), ...(port && { port }), direction: directions.get(flow.traffic_direction ?? 0) ?? '',
    reason: reasons.get(flow.drop_reason_desc ?? 0) ?? String(flow.drop_reason_desc), ...(policies.length > 0 && { policies }),
  };
}

const endOf = (end: Endpoint | undefined, ip = ''): object => ({
  ...(end?.namespace && { namespace: end.namespace }), ...(end?.pod_name && { pod: end.pod_name }), ...(end?.identity && { identity: end.identity }), ip,
});
