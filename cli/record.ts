// weir record: flows into a file, whole: for observe --input-file and policy simulate, later and elsewhere.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { recordingForms, type RecordingForm } from '../hubble/recording.ts';
import type { GetFlowsRequest } from '../hubble/types.ts';
import { connectionFlags, connectionOf } from './connection.ts';
import { addFilterFlags } from './observe-flags.ts';
import { followFlows } from './observe-follow.ts';
import { parseDurationMs, parseTime } from './observe-times.ts';
import { wholeNumber } from './options.ts';
import { Recording } from './recording.ts';

interface Words { readonly output: string; readonly format?: RecordingForm; readonly last?: number; readonly since?: string; readonly for?: string; readonly maxSize?: string; readonly force?: boolean }

const reconnectMs = 30_000;
/** 2^64 - 1: all that are kept. */
const everything = '18446744073709551615';

export function register(program: Command): void {
  const command = connectionFlags(program.command('record').description('flows into a file: those that are kept, or those of a while'))
    .requiredOption('-o, --output <file>', 'the file')
    .addOption(new Option('--format <format>', 'JSON lines, or compact and binary (as the name of the file: .bin is binary, all others are JSON)').choices([...recordingForms]))
    .option('--last <number>', 'of what is kept only the last', wholeNumber).option('--since <time>', 'only from then on: 5m, or a date')
    .option('--for <duration>', 'goes on for so long; without it only what is kept now').option('--max-size <size>', 'ends when the file is so large: 100MB')
    .option('--force', 'also over a file that is there');
  const filters = addFilterFlags(command);
  command.addHelpText('after', '\nExample:\n  sudo ./weir record -o flows.bin --for 10m --max-size 100MB\n  ./weir policy simulate -f new/ --flows flows.bin')
    .action(async (words: Words) => {
      const durationMs = words.for === undefined ? undefined : parseDurationMs(words.for);
      if (words.for !== undefined && durationMs === undefined) throw new ConfigError(`--for ${words.for}: expected a duration`, 'use for example 10m');
      const request = requestOf(words, filters(), durationMs !== undefined);
      const server = connectionOf(command);
      const file = new Recording(words.output, { form: formOf(words), force: words.force === true, ...(words.maxSize !== undefined && { maxBytes: bytesOf(words.maxSize) }) });
      const end = new Promise<void>((resolve, reject) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { resolve(); });
        if (durationMs !== undefined) setTimeout(resolve, durationMs);
        followFlows(server, request, (response) => { if (!file.add(response)) resolve(); }, { reconnectMs: durationMs === undefined ? 0 : reconnectMs, tell: (text) => { process.stderr.write(text); } })
          .then(resolve, reject);
      });
      await end;
      process.stderr.write(`${file.finish()}\n`);
      process.exit(0);
    });
}

/** A time outranks a number; both together are refused. */
function requestOf({ since, last }: Words, filters: GetFlowsRequest, follow: boolean): GetFlowsRequest {
  if (since !== undefined && last !== undefined) throw new ConfigError('--since and --last cannot be combined', 'leave one of them out');
  return {
    ...filters, ...(follow && { follow }),
    ...(since !== undefined ? { since: parseTime('--since', since, Date.now()) } : last !== undefined ? { number: last } : follow ? { number: everything } : {}),
  };
}

export const formOf = ({ format, output }: Pick<Words, 'format' | 'output'>): RecordingForm => format ?? (output.endsWith('.bin') ? 'binary' : 'json');

const units: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, KI: 2 ** 10, MI: 2 ** 20, GI: 2 ** 30 };
const leastBytes = 4_096;

/** `100MB`, `64MiB`, `1000000`. Throws ConfigError. */
export function bytesOf(text: string): number {
  const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?) ?([KMG]?i?)B?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * (units[unit.toUpperCase()] ?? NaN));
  if (number === '' || !(bytes >= leastBytes)) throw new ConfigError(`--max-size ${text}: expected a size of at least ${leastBytes} bytes`, 'use for example 100MB');
  return bytes;
}
