// What `up` shows: on a terminal a live table of who talks to whom, elsewhere plain lines. A drop shows the policy and the
// command that explains it.
import type { Agent } from '../agent/agent.ts';
import type { ProblemRow } from '../agent/directory/tables.ts';
import { Talkers, type Talker } from './talkers.ts';
import { printable, tableText } from './print.ts';

const redrawMs = 500;
const shownTalkers = 24;
const shownProblems = 6;
/** A pair that goes on the same way is told again only after so long. */
const repeatMs = 30_000;

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #dir: string;
  readonly #talkers = new Talkers();
  readonly #told = new Map<string, number>();
  readonly #lines: string[] = [];
  #agent: Agent | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe: (() => void)[] = [];

  constructor(out: NodeJS.WriteStream, dir: string) {
    this.#out = out;
    this.#dir = dir;
  }

  log(line: string): void {
    const text = `${new Date().toISOString().slice(11, 19)} ${printable(line)}`;
    if (this.#out.isTTY && this.#agent !== undefined) this.#lines.splice(0, this.#lines.length, ...[...this.#lines, text].slice(-shownProblems));
    else this.#out.write(`${text}\n`);
  }

  follow(agent: Agent): void {
    this.#agent = agent;
    this.#unsubscribe.push(agent.observer.subscribe((flow) => {
      const talker = this.#talkers.count(flow);
      if (talker !== undefined && !this.#out.isTTY) this.#tell(talker);
    }));
    if (this.#out.isTTY) {
      this.#out.write('\x1b[?1049h');
      this.#timer = setInterval(() => { this.#draw(agent); }, redrawMs);
      this.#draw(agent);
      return;
    }
    this.log(`weir runs ${this.#dir}; Ctrl-C ends it`);
    this.#unsubscribe.push(agent.tables.problems.subscribe((changes) => { for (const { row } of changes) if (row !== undefined) this.log(problemText(row)); }));
    this.#unsubscribe.push(agent.tables.workloads.subscribe((changes) => {
      for (const { old, row } of changes) if (row !== undefined && old?.phase !== row.phase) this.log(`workload ${row.key}: ${row.phase}${reasonOf(row.containers.map((one) => one.reason))}`);
    }));
    for (const row of agent.tables.problems.rows()) this.log(problemText(row));
  }

  close(line: string): void {
    clearInterval(this.#timer);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    if (this.#out.isTTY) this.#out.write('\x1b[?1049l');
    this.#out.write(`${line}\n`);
  }

  #tell(talker: Talker): void {
    const now = Date.now();
    const key = `${talker.source} ${talker.destination} ${talker.port} ${talker.verdict} ${talker.policies}`;
    if (now - (this.#told.get(key) ?? -Infinity) < repeatMs) return;
    if (this.#told.size > 10_000) this.#told.clear();
    this.#told.set(key, now);
    this.log(`${talker.verdict.padEnd(9)} ${talker.source} -> ${talker.destination} ${talker.port}${talker.policies === '' ? '' : `  (${talker.policies})`}`
      + (talker.verdict === 'DROPPED' ? '\n           why: ./weir explain --last-drop' : ''));
  }

  #draw(agent: Agent): void {
    const { tables } = agent;
    const running = tables.workloads.rows().filter((row) => row.phase === 'Running').length;
    const enforced = tables.policies.rows().filter((row) => row.state === 'enforced').length;
    const talkers = this.#talkers.top(shownTalkers);
    const dropped = talkers.some((talker) => talker.verdict === 'DROPPED');
    const sections = [
      `weir  ${this.#dir}   ${running}/${tables.workloads.size} workloads running   ${enforced}/${tables.policies.size} policies enforced   Ctrl-C ends it`,
      talkers.length === 0 ? 'nobody talks yet' : tableText(talkers.map((talker) => ({ ...talker, perSecond: talker.perSecond.toFixed(1) })), ['source', 'destination', 'port', 'verdict', 'perSecond', 'total', 'policies']),
      ...tables.workloads.rows().filter((row) => row.phase === 'CrashLoopBackOff' || row.phase === 'Failed').slice(0, shownProblems).map((row) => `${row.key}: ${row.phase}${reasonOf(row.containers.map((one) => one.reason))}`),
      ...tables.problems.rows().slice(0, shownProblems).map(problemText),
      ...this.#lines,
      dropped ? 'why a packet was dropped, and what would let it through:  ./weir explain --last-drop' : '',
    ];
    const width = this.#out.columns;
    const lines = sections.join('\n').split('\n').slice(0, this.#out.rows - 1).map((line) => line.slice(0, width));
    const coloured = lines.map((line) => line.replace('DROPPED', '\x1b[31mDROPPED\x1b[0m').replace('FORWARDED', '\x1b[32mFORWARDED\x1b[0m'));
    this.#out.write(`\x1b[H${coloured.map((line) => `${line}\x1b[K`).join('\n')}\x1b[J`);
  }
}

const reasonOf = (reasons: readonly (string | undefined)[]): string => {
  const found = reasons.filter((reason) => reason !== undefined);
  return found.length === 0 ? '' : ` (${printable(found.join('; '))})`;
};

const problemText = ({ source, field, message, mend }: ProblemRow): string =>
  printable(`${source.file}:${source.line}:${source.column}: ${field === '' ? '' : `${field}: `}${message}${mend === undefined ? '' : ` (${mend})`}`);
