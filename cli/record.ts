// weir record: flows into a file, one JSON line each, whole: for observe --input-file and policy simulate, later and elsewhere.
import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { toJson } from '../hubble/json.ts';
import { getFlowsResponseMessage } from '../hubble/proto.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf } from './connection.ts';
import { addFilterFlags } from './observe-flags.ts';
import { followFlows } from './observe-follow.ts';
import { parseDurationMs, parseTime } from './observe-times.ts';

interface Words { readonly output: string; readonly since?: string; readonly for?: string; readonly force?: boolean }

const writeBytes = 1 << 16;
const reconnectMs = 30_000;

export function register(program: Command): void {
  const command = connectionFlags(program.command('record').description('flows into a file of JSON lines: those that are kept, or those of a while'))
    .requiredOption('-o, --output <file>', 'the file').option('--since <time>', 'only from then on: 5m, or a date').option('--for <duration>', 'goes on for so long; without it only what is kept now')
    .option('--force', 'also over a file that is there');
  const filters = addFilterFlags(command);
  command.addHelpText('after', '\nExample:\n  sudo ./weir record -o flows.jsonl --for 10m\n  ./weir policy simulate -f new/ --flows flows.jsonl')
    .action(async (words: Words) => {
      const durationMs = words.for === undefined ? undefined : parseDurationMs(words.for);
      if (words.for !== undefined && durationMs === undefined) throw new ConfigError(`--for ${words.for}: expected a duration`, 'use for example 10m');
      const request: GetFlowsRequest = { ...filters(), ...(words.since !== undefined && { since: parseTime('--since', words.since, Date.now()) }) };
      const file = new Recording(words.output, words.force === true);
      const end = new Promise<'end'>((resolve) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { resolve('end'); });
        if (durationMs !== undefined) setTimeout(resolve, durationMs, 'end');
      });
      const kept = followFlows(connectionOf(command), { ...request, ...(durationMs !== undefined && { follow: true, ...(request.since === undefined && { number: '18446744073709551615' }) }) },
        (response) => { file.add(response); }, { reconnectMs: durationMs === undefined ? 0 : reconnectMs, tell: (text) => { process.stderr.write(text); } });
      await Promise.race([kept, end]);
      process.stderr.write(`${file.finish()}\n`);
      process.exit(0);
    });
}

/** Written beside its place, so that what stands there is whole. */
export class Recording {
  readonly #path: string;
  readonly #fd: number;
  #waiting = '';
  #flows = 0;
  #lost = 0;

  constructor(path: string, force: boolean) {
    this.#path = path;
    try {
      if (!force) closeSync(openSync(path, 'wx', 0o600));
      this.#fd = openSync(`${path}.part`, 'w', 0o600);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw code === 'EEXIST' ? new ConfigError(`${path} is there already`, 'choose another file, or add --force') : new ConfigError(`write ${path}: ${message}`);
    }
  }

  add(response: GetFlowsResponse): void {
    if (response.flow != null) this.#flows += 1;
    this.#lost += Number(response.lost_events?.num_events_lost ?? 0);
    this.#waiting += `${JSON.stringify(toJson(getFlowsResponseMessage, response))}\n`;
    if (this.#waiting.length >= writeBytes) this.#write();
  }

  /** Throws ConfigError when the disk is full. What it holds, in words. */
  finish(): string {
    this.#write();
    closeSync(this.#fd);
    renameSync(`${this.#path}.part`, this.#path);
    return `${this.#flows} ${this.#flows === 1 ? 'flow' : 'flows'} in ${this.#path}${this.#lost > 0 ? `; ${this.#lost} events were lost, which the file tells in their place` : ''}`;
  }

  #write(): void {
    try {
      const data = Buffer.from(this.#waiting);
      for (let at = 0; at < data.length;) at += writeSync(this.#fd, data, at);
      this.#waiting = '';
    } catch (error) {
      throw new ConfigError(`write ${this.#path}: ${(error as Error).message}`);
    }
  }
}
