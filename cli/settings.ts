// Settings of the verbs that talk to an observer: the flag, else WEIR_*, else HUBBLE_*, else the configuration file, else the default.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ConfigError } from '../agent/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Names of flags that may be set elsewhere; which of them are lists. */
export const settingNames = [
  'debug', 'server', 'timeout', 'request-timeout', 'tls', 'tls-allow-insecure', 'tls-ca-cert-files', 'tls-client-cert-file', 'tls-client-key-file', 'tls-server-name',
  'basic-auth-username', 'basic-auth-password', 'port-forward', 'auto-port-forward', 'port-forward-port', 'kube-context', 'kube-namespace', 'kubeconfig', 'allowlist', 'denylist',
] as const;
export type SettingName = typeof settingNames[number];

type Values = Readonly<Record<string, unknown>>;

export class Settings {
  readonly #flags: Values;
  readonly #environment: Environment;
  readonly #file: Values;
  /** Undefined: there is none. */
  readonly path: string | undefined;

  /** `flags`: only those that were given, by their names with dashes. */
  constructor(flags: Values, environment: Environment = process.env) {
    this.#flags = flags;
    this.#environment = environment;
    ({ path: this.path, values: this.#file } = readConfig(text(flags['config']) ?? fromEnvironment('config', environment), environment));
  }

  text(name: SettingName): string | undefined {
    return text(this.#flags[name]) ?? fromEnvironment(name, this.#environment) ?? text(this.#file[name]);
  }

  flag(name: SettingName): boolean {
    const given = this.text(name) ?? 'false';
    if (['true', '1', 't'].includes(given.toLowerCase())) return true;
    if (['false', '0', 'f'].includes(given.toLowerCase())) return false;
    throw new ConfigError(`${name}: ${given} is neither true nor false`);
  }

  /** One text with commas between, or a list in the file. */
  list(name: SettingName): string[] {
    const listed = this.#flags[name] ?? fromEnvironment(name, this.#environment) ?? this.#file[name] ?? [];
    return (Array.isArray(listed) ? listed : String(listed).split(',')).map(String).filter((part) => part !== '');
  }

  /** Filters as JSON: one, a line each, or a list in the file. */
  filters(name: 'allowlist' | 'denylist'): string[] {
    const listed = fromEnvironment(name, this.#environment) ?? this.#file[name] ?? [];
    return (Array.isArray(listed) ? listed.map(String) : String(listed).split('\n')).filter((filter) => filter.trim() !== '');
  }
}

const text = (value: unknown): string | undefined => (value === undefined || value === null ? undefined : Array.isArray(value) ? value.join(',') : String(value));

/** Empty is unset. */
function fromEnvironment(name: string, environment: Environment): string | undefined {
  const variable = name.toUpperCase().replaceAll('-', '_');
  return environment[`WEIR_${variable}`] || environment[`HUBBLE_${variable}`] || undefined;
}

/** Where the user's own settings stand, there or not. */
export const userConfig = (environment: Environment = process.env): string => join(environment['XDG_CONFIG_HOME'] || join(environment['HOME'] ?? homedir(), '.config'), 'hubble/config.yaml');

/** The first that is there: of this folder, of the user's configuration, of the home folder. One that is named must be there. */
function readConfig(named: string | undefined, environment: Environment): { readonly path: string | undefined; readonly values: Values } {
  if (named !== undefined) return { path: named, values: parseConfig(named) ?? fail(named, 'one mapping of settings is expected') };
  for (const path of ['config.yaml', userConfig(environment), join(environment['HOME'] ?? homedir(), '.hubble/config.yaml')]) {
    if (!existsSync(path)) continue;
    const values = parseConfig(path);
    // In the folder of somebody's work a file of this name may be anything.
    if (values !== undefined && (path !== 'config.yaml' || settingNames.some((name) => name in values))) return { path, values };
  }
  return { path: undefined, values: {} };
}

function parseConfig(path: string): Values | undefined {
  let documents;
  try {
    documents = parseAllDocuments(readFileSync(path, 'utf8'));
  } catch (error) {
    return fail(path, (error as Error).message);
  }
  if (!Array.isArray(documents) || documents.length !== 1) return undefined;
  const [document] = documents;
  if (document!.errors.length > 0) return path === 'config.yaml' ? undefined : fail(path, document!.errors[0]!.message.split('\n')[0]!);
  const value: unknown = document!.toJS({ maxAliasCount: 10 });
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Values : undefined;
}

function fail(path: string, why: string): never { throw new ConfigError(`read ${path}: ${why}`); }
