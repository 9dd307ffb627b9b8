// What `up` shows: on a terminal a live table of who talks to whom, elsewhere plain lines. A drop shows the policy and the
// command that explains it.
import type { Tables } from '../agent/agent.ts';
import type { Observer, ObserverStats } from '../hubble/observer.ts';
import type { ProblemRow } from '../agent/directory/tables.ts';
import type { WorkloadRow } from '../agent/workload/tables.ts';
import { printable, tableText } from './print.ts';
import { reasonsOf } from './reasons.ts';
import { Talkers, type Talker } from './talkers.ts';

const redrawMs = 500;
const leastTalkers = 4;
const shownProblems = 6;
/** A pair that goes on the same way is told again only after so long. */
const repeatMs = 30_000;
/** The alternate screen, without a cursor and without wrapping of what is too long; and back. */
const enter = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const leave = '\x1b[?7h\x1b[?25h\x1b[?1049l';

/** An agent, or what stands for those of several nodes. */
export interface Followed {
  readonly tables: Pick<Tables, 'problems' | 'workloads' | 'policies'>;
  readonly observer: { readonly subscribe: Observer['subscribe']; readonly stats: Pick<ObserverStats, 'untold'> };
}

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #dir: string;
  readonly #explain: (node: string) => string;
  readonly #talkers = new Talkers();
  readonly #told = new Map<string, number>();
  readonly #lines: string[] = [];
  #agent: Followed | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe: (() => void)[] = [];

  /** `explain`: the command that tells of a drop on a node. */
  constructor(out: NodeJS.WriteStream, dir: string, explain: (node: string) => string) {
    this.#out = out;
    this.#dir = printable(dir);
    this.#explain = explain;
  }

  log(line: string): void {
    const text = `${new Date().toISOString().slice(11, 19)} ${printable(line)}`;
    if (this.#out.isTTY && this.#agent !== undefined) this.#lines.splice(0, this.#lines.length, ...[...this.#lines, text].slice(-shownProblems));
    else this.#out.write(`${text}\n`);
  }

  follow(agent: Followed): void {
    this.#agent = agent;
    this.#unsubscribe.push(agent.observer.subscribe((flow, count) => {
      const talker = this.#talkers.count(flow, count);
      if (talker !== undefined && !this.#out.isTTY) this.#tell(talker);
    }));
    if (this.#out.isTTY) {
      const restore = (): void => { this.#out.write(leave); };
      const draw = (): void => { this.#draw(agent); };
      this.#out.write(enter);
      process.once('exit', restore); // whatever ends the process, the terminal is as it was
      this.#out.on('resize', draw);
      this.#timer = setInterval(draw, redrawMs);
      this.#unsubscribe.push(() => {
        this.#out.off('resize', draw);
        process.off('exit', restore);
        restore();
      });
      draw();
      return;
    }
    this.log(`weir runs ${this.#dir}; Ctrl-C ends it`);
    this.#unsubscribe.push(agent.tables.problems.subscribe((changes) => { for (const { row } of changes) if (row !== undefined) this.log(problemText(row)); }));
    this.#unsubscribe.push(agent.tables.workloads.subscribe((changes) => {
      for (const { old, row } of changes) if (row !== undefined && old?.phase !== row.phase) this.log(`workload ${row.key}: ${row.phase}${whyOf(row)}`);
    }));
    for (const row of agent.tables.problems.rows()) this.log(problemText(row));
  }

  close(line: string): void {
    clearInterval(this.#timer);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#agent = undefined;
    this.#out.write(`${line}\n`);
  }

  #tell(talker: Talker): void {
    const now = Date.now();
    const key = `${talker.source} ${talker.destination} ${talker.port} ${talker.verdict} ${talker.decidedBy}`;
    if (now - (this.#told.get(key) ?? -Infinity) < repeatMs) return;
    if (this.#told.size > 10_000) this.#told.clear();
    this.#told.set(key, now);
    this.log(`${talker.verdict.padEnd(9)} ${talker.source} -> ${talker.destination} ${talker.port}${talker.decidedBy === '' ? '' : `  (${talker.decidedBy})`}`
      + (talker.verdict === 'DROPPED' ? `\n           why: ${this.#explain(talker.node)}` : ''));
  }

  #draw(agent: Followed): void {
    const { tables } = agent;
    // Those that the user asked for: weir's own name server is not counted.
    const asked = tables.workloads.rows().filter(({ pod }) => pod.binds === undefined);
    const running = asked.filter((row) => row.phase === 'Running').length;
    const enforced = tables.policies.rows().filter((row) => row.state === 'enforced').length;
    const { rows: height, columns: width } = this.#out;
    const head = `weir  ${this.#dir}   ${running}/${asked.length} workloads running   ${enforced}/${tables.policies.size} policies enforced   Ctrl-C ends it`;
    const notes = [
      ...tables.workloads.rows().filter((row) => row.phase === 'CrashLoopBackOff' || row.phase === 'Failed').slice(0, shownProblems)
        .map((row) => `${row.key}: ${row.phase}${whyOf(row)}`),
      ...tables.problems.rows().slice(0, shownProblems).map(problemText),
      ...untoldNotes(agent.observer.stats.untold),
      ...this.#lines,
    ];
    // One line each for the head, the head of the table, the empty line below it and the hint: the talkers get what the notes leave.
    const room = Math.max(leastTalkers, height - notes.length - 5);
    const talkers = this.#talkers.top(room);
    const dropped = talkers.find((talker) => talker.verdict === 'DROPPED');
    const table = talkers.length === 0 ? 'nobody talks yet'
      : tableText(talkers.map((talker) => ({ ...talker, perSecond: talker.perSecond.toFixed(1) })), ['source', 'destination', 'port', 'verdict', 'perSecond', 'total', 'decidedBy']);
    const hint = dropped === undefined ? [] : [`why, and what would let it through: ${this.#explain(dropped.node)}`];
    const sections = [head, '', ...table.split('\n'), '', ...hint, ...notes];
    const lines = sections.slice(0, height).map((line) => line.replaceAll(/\s/g, ' ')).map((line) => (line.length > width ? `${line.slice(0, width - 1)}…` : line));
    const coloured = lines.map((line) => line.replace(/ DROPPED /, ' \x1b[31mDROPPED\x1b[0m ').replace(/ FORWARDED /, ' \x1b[32mFORWARDED\x1b[0m '));
    // Each line is cleared before it is written: after a full one the cursor still stands on its last character.
    this.#out.write(`\x1b[H${coloured.map((line, index) => `${index === coloured.length - 1 ? '\x1b[J' : '\x1b[K'}${line}`).join('\n')}`);
  }
}

const whyOf = (row: WorkloadRow): string => {
  const reasons = reasonsOf(row);
  return reasons.length === 0 ? '' : ` (${printable(reasons.join('; '))})`;
};

const untoldNotes = (untold: number): string[] =>
  (untold === 0 ? [] : [`${untold} flows between too many different pairs at once are not in this table; ./weir observe has them`]);

const problemText = ({ source, field, message, mend }: ProblemRow): string =>
  printable(`${source.file}:${source.line}:${source.column}: ${field === '' ? '' : `${field}: `}${message}${mend === undefined ? '' : ` (${mend})`}`);
