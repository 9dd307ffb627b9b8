// What is exported: a YAML file with the keys of Cilium's dynamic flow logs, and `dropLogs`.
import { parseDocument } from 'yaml';
import { RequestError } from '../errors.ts';
import { compileFieldMask } from '../field-mask.ts';
import { compileFilters } from '../filters/compile.ts';
import { fromJson } from '../json.ts';
import { filterMessage } from '../proto.ts';
import type { FlowFilter } from '../types.ts';
import type { FileOptions } from './file.ts';

export interface FlowLogConfig {
  readonly name: string;
  readonly file: FileOptions;
  readonly whitelist: FlowFilter[];
  readonly blacklist: FlowFilter[];
  readonly fields: readonly string[];
  /** Milliseconds since 1970; nothing is written from then on. */
  readonly endMs?: number;
}

export interface DropLogConfig {
  readonly name: string;
  readonly file: FileOptions;
  /** Of a tuple that goes on being denied, a line each. */
  readonly intervalMs: number;
  /** Tuples that are told apart; drops of others are counted together. */
  readonly maxTuples: number;
  /** New tuples that are told at once; others wait for the interval. */
  readonly linesPerSecond: number;
}

export interface ExportConfig { readonly flowLogs: readonly FlowLogConfig[]; readonly dropLogs: readonly DropLogConfig[] }

type Object_ = Readonly<Record<string, unknown>>;

const fileKeys = ['name', 'filePath', 'fileMaxSizeMb', 'fileMaxBackups', 'fileCompress'];
const flowKeys = [...fileKeys, 'includeFilters', 'excludeFilters', 'fieldMask', 'end'];
const dropKeys = [...fileKeys, 'intervalSeconds', 'maxTuples', 'linesPerSecond'];

/** Throws RequestError with the place of what is wrong. */
export function parseExport(text: string): ExportConfig {
  const document = parseDocument(text);
  if (document.errors.length > 0) throw new RequestError(document.errors[0]!.message.split('\n')[0]!);
  const config = objectAt('the file', (document.toJS({ maxAliasCount: 10 }) as unknown) ?? {}, ['flowLogs', 'dropLogs']);
  const flowLogs = listAt('flowLogs', config['flowLogs']).map((value, index) => flowLogOf(`flowLogs[${index}]`, objectAt(`flowLogs[${index}]`, value, flowKeys)));
  const dropLogs = listAt('dropLogs', config['dropLogs']).map((value, index) => dropLogOf(`dropLogs[${index}]`, objectAt(`dropLogs[${index}]`, value, dropKeys)));
  const paths = [...flowLogs, ...dropLogs].map(({ file }) => file.path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) throw new RequestError(`filePath ${twice} stands there twice`);
  return { flowLogs, dropLogs };
}

function flowLogOf(at: string, value: Object_): FlowLogConfig {
  const filters = (key: string): FlowFilter[] => listAt(`${at}.${key}`, value[key]).map((filter, index) => {
    try {
      return fromJson<FlowFilter>(filterMessage, filter);
    } catch (error) {
      throw new RequestError(`${at}.${key}[${index}]: ${(error as Error).message}`);
    }
  });
  const config = { whitelist: filters('includeFilters'), blacklist: filters('excludeFilters'), fields: listAt(`${at}.fieldMask`, value['fieldMask']).map(String) };
  try {
    compileFilters(config.whitelist, config.blacklist);
    compileFieldMask(config.fields);
  } catch (error) {
    throw error instanceof RequestError ? new RequestError(`${at}: ${error.message}`) : error;
  }
  const end = value['end'] === undefined || value['end'] === null ? undefined : Date.parse(String(value['end']));
  if (Number.isNaN(end)) throw new RequestError(`${at}.end: ${String(value['end'])} is no date`);
  return { ...named(at, value), ...config, ...(end !== undefined && { endMs: end }) };
}

const dropLogOf = (at: string, value: Object_): DropLogConfig => ({
  ...named(at, value), intervalMs: numberAt(`${at}.intervalSeconds`, value['intervalSeconds'], 60, 1, 86_400) * 1_000,
  maxTuples: numberAt(`${at}.maxTuples`, value['maxTuples'], 4_096, 1, 65_536), linesPerSecond: numberAt(`${at}.linesPerSecond`, value['linesPerSecond'], 20, 1, 10_000),
});

function named(at: string, value: Object_): { name: string; file: FileOptions } {
  const { name, filePath: path, fileCompress: compress = false } = value;
  if (typeof name !== 'string' || name === '') throw new RequestError(`${at}.name: a name is expected`);
  if (typeof path !== 'string' || !path.startsWith('/')) throw new RequestError(`${at}.filePath: a path from the root is expected`);
  if (typeof compress !== 'boolean') throw new RequestError(`${at}.fileCompress: true or false is expected`);
  const megabytes = numberAt(`${at}.fileMaxSizeMb`, value['fileMaxSizeMb'], 10, 1, 10_000);
  return { name, file: { path, maxBytes: megabytes * 1_000_000, backups: numberAt(`${at}.fileMaxBackups`, value['fileMaxBackups'], 5, 0, 100), compress } };
}

function objectAt(at: string, value: unknown, keys: readonly string[]): Object_ {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new RequestError(`${at}: a mapping is expected`);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new RequestError(`${at}.${unknown}: unknown; known are ${keys.join(', ')}`);
  return value as Object_;
}

function listAt(at: string, value: unknown): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new RequestError(`${at}: a list is expected`);
  return value as unknown[];
}

function numberAt(at: string, value: unknown, preset: number, least: number, most: number): number {
  if (value === undefined || value === null) return preset;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) throw new RequestError(`${at}: a whole number from ${least} to ${most} is expected`);
  return value;
}
