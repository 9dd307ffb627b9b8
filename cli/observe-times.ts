// Points in time as users write them for --since and --until: "5m" back from now, or a date.
import { ConfigError } from '../agent/errors.ts';
import { timestampOfMs } from '../hubble/time.ts';
import type { Timestamp } from '../hubble/types.ts';

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, 'µs': 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const durationPattern = /^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$/;

/** Go's form: "1h30m", "500ms". Undefined for what is none. */
export function parseDurationMs(text: string): number | undefined {
  if (!durationPattern.test(text)) return undefined;
  return [...text.matchAll(/([0-9.]+)(ns|us|µs|ms|s|m|h)/g)].reduce((sum, [, number, unit]) => sum + Number(number) * unitMs[unit!]!, 0);
}

const datePattern = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:\d{2})?)?$/;
const rfc1123zPattern = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}$/;

/** Without a time zone: UTC. */
export function parseTime(flag: string, text: string, nowMs: number): Timestamp {
  const durationMs = parseDurationMs(text);
  if (durationMs !== undefined) return timestampOfMs(nowMs - durationMs);
  const [, day, hour = '00', minute = '00', second = '00', fraction = '', zone = 'Z'] = datePattern.exec(text) ?? [];
  const ms = day !== undefined ? Date.parse(`${day}T${hour}:${minute}:${second}${zone}`) : rfc1123zPattern.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(ms)) throw new ConfigError(`${flag} ${text}: neither a duration nor a date`, 'use for example 5m, 1h30m, 2026-11-21 or 2026-11-21T10:00:00Z');
  return { seconds: ms / 1000, nanos: Number(fraction.padEnd(9, '0')) };
}
