// weir hubble config: the file with the settings of the verbs that talk to an observer, as settings.ts reads it.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Option, type Command } from 'commander';
import { isMap, parseDocument, stringify, type Document } from 'yaml';
import { ConfigError } from '../agent/errors.ts';
import { escape } from '../hubble/print/escape.ts';
import { givenFlags } from './connection.ts';
import { parseDurationMs } from './observe-times.ts';
import { Settings, settingNames, userConfig, type SettingName } from './settings.ts';

const flags: readonly SettingName[] = ['debug', 'tls', 'tls-allow-insecure', 'port-forward', 'auto-port-forward'];
const durations: readonly SettingName[] = ['timeout', 'request-timeout'];
const lists: readonly SettingName[] = ['tls-ca-cert-files', 'allowlist', 'denylist'];
const presets: Partial<Readonly<Record<SettingName, string>>> = { timeout: '5s', 'request-timeout': '12s', 'port-forward-port': '4245', 'kube-namespace': 'kube-system' };

export function register(hubble: Command): void {
  const config = hubble.command('config').description('the file with the settings of these verbs').addHelpText('after', '\nExample:\n  ./weir hubble config set server tls://relay.example:4245\n  ./weir hubble config view');
  const verb = (name: string, what: string): Command => config.command(name).description(what).addOption(new Option('--config <file>', 'this one instead of the one that is found'));
  const settingsOf = (command: Command): Settings => new Settings(givenFlags(command));
  const write = (text: string): void => { process.stdout.write(`${text.split('\n').map(escape).join('\n')}\n`); };

  verb('view', 'all settings as they hold: of the environment, the file, else as they are without').addHelpText('after', '\nExample:\n  ./weir hubble config view')
    .action((_: object, command: Command) => { write(viewText(settingsOf(command))); });
  verb('get', 'one setting as it holds').argument('[key]').addHelpText('after', '\nExample:\n  ./weir hubble config get server')
    .action((key: string | undefined, _: object, command: Command) => { write(key === undefined ? viewText(settingsOf(command)) : String(valueOf(settingsOf(command), nameOf(key)))); });
  verb('set', 'writes a setting into the file; without a value it is taken out').argument('<key>').argument('[value]').addHelpText('after', '\nExample:\n  ./weir hubble config set timeout 10s')
    .action((key: string, value: string | undefined, _: object, command: Command) => { change(command, (document) => { if (value === undefined) document.delete(nameOf(key)); else document.set(nameOf(key), checked(nameOf(key), value)); }); });
  verb('reset', 'takes a setting out of the file, or all').argument('[key]').addHelpText('after', '\nExample:\n  ./weir hubble config reset server')
    .action((key: string | undefined, _: object, command: Command) => { change(command, (document) => { for (const name of key === undefined ? settingNames : [nameOf(key)]) document.delete(name); }); });
}

function nameOf(key: string): SettingName {
  const name = settingNames.find((one) => one === key);
  if (name === undefined) throw new ConfigError(`${key} is no setting`, `known are ${settingNames.join(', ')}`);
  return name;
}

function valueOf(settings: Settings, name: SettingName): string | boolean | string[] {
  if (flags.includes(name)) return settings.flag(name);
  if (name === 'allowlist' || name === 'denylist') return settings.filters(name);
  return lists.includes(name) ? settings.list(name) : settings.text(name) ?? presets[name] ?? '';
}

const viewText = (settings: Settings): string => stringify(Object.fromEntries([...settingNames].sort().map((name) => [name, name === 'basic-auth-password' && valueOf(settings, name) !== '' ? '***' : valueOf(settings, name)]))).trimEnd();

/** Throws ConfigError for what the verbs would refuse later. */
function checked(name: SettingName, value: string): unknown {
  if (flags.includes(name)) return new Settings({ [name]: value }, { HOME: '/nowhere' }).flag(name);
  if (durations.includes(name) && parseDurationMs(value) === undefined) throw new ConfigError(`${name}: ${value} is no duration`, 'use for example 5s');
  return name === 'allowlist' || name === 'denylist' ? value.split('\n') : lists.includes(name) ? value.split(',') : value;
}

/** Comments, and what stands there of others, stay. Whole or not at all; it may hold a password. */
function change(command: Command, apply: (document: Document) => void): void {
  const named = givenFlags(command)['config'] as string | undefined;
  const path = named ?? new Settings({}).path ?? userConfig();
  const document: Document = parseDocument(existsSync(path) ? readFileSync(path, 'utf8') : '');
  if (document.errors.length > 0) throw new ConfigError(`read ${path}: ${document.errors[0]!.message.split('\n')[0]!}`);
  if (document.contents === null) document.contents = document.createNode({}) as never;
  apply(document);
  const empty = isMap(document.contents) && document.contents.items.length === 0;
  if (isMap(document.contents)) document.contents.flow = empty;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(`${path}.new`, String(document), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (error) {
    throw new ConfigError(`write ${path}: ${(error as Error).message}`);
  }
  process.stderr.write(`${path} is written\n`);
}
