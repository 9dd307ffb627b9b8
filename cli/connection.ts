// Where an observer is and how it is spoken to: flags, environment and configuration file -> address, credentials, time limits.
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { Option, type Command } from 'commander';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { instanceOf } from '../agent/instance.ts';
import { parseDurationMs } from './observe-times.ts';
import { instanceFlag, instanceOption } from './options.ts';
import { Settings, type Environment } from './settings.ts';

export interface Server {
  /** As gRPC takes it: `unix:///path` or `host:port`. */
  readonly address: string;
  /** What to do when nobody answers. */
  readonly mend: string;
  readonly credentials: grpc.ChannelCredentials;
  readonly options: grpc.ChannelOptions;
  /** Sent with every call. */
  readonly metadata: grpc.Metadata;
  readonly dialTimeoutMs: number;
  readonly requestTimeoutMs: number;
}

const dialTimeoutMs = 5_000;
const requestTimeoutMs = 12_000;

export const connectionFlags = (command: Command): Command => command
  .option('--server <address>', 'unix:///PATH, HOST:PORT or tls://HOST:PORT instead of the agent of this machine')
  .option('--timeout <duration>', 'how long to wait for a connection (5s)').option('--request-timeout <duration>', 'how long to wait for an answer (12s)')
  .option('--tls', 'TLS to the server').option('--tls-allow-insecure', 'whoever the server is')
  .option('--tls-ca-cert-files <files>', 'who signs the server, with commas between (the system\'s)').option('--tls-server-name <name>', 'the name in the certificate of the server')
  .option('--tls-client-cert-file <file>', 'certificate that is shown to the server').option('--tls-client-key-file <file>', 'its key')
  .option('--basic-auth-username <name>', 'sent to the server, over TLS only').option('--basic-auth-password <password>', 'sent with it')
  .option('-P, --port-forward', 'for relays in Kubernetes, which weir does not speak yet: refused').option('--auto-port-forward', 'refused too')
  .option('--port-forward-port <port>', 'of --port-forward').option('--kube-context <name>', 'of --port-forward').option('--kube-namespace <name>', 'of --port-forward').option('--kubeconfig <file>', 'of --port-forward')
  .option('--config <file>', 'settings of these flags, in YAML').option('--debug', 'tells more')
  .addOption(instanceOption());

/** The flags that were given on the command line, by the names they have there. */
export function givenFlags(command: Command): Record<string, unknown> {
  return Object.fromEntries(command.options.filter((option: Option) => command.getOptionValueSource(option.attributeName()) === 'cli')
    .map((option) => [option.name(), command.getOptionValue(option.attributeName()) as unknown]));
}

/** Throws ConfigError. */
export function connectionOf(command: Command, environment: Environment = process.env): Server {
  const flags = givenFlags(command);
  const settings = new Settings(flags, environment);
  const forward = (['port-forward', 'auto-port-forward'] as const).find((name) => settings.flag(name));
  if (forward !== undefined) throw new ConfigError(`--${forward} reaches a relay inside Kubernetes, which weir does not speak yet`, 'forward the port yourself and name it: --server localhost:4245');
  const instance = (command.opts<{ instance: string }>()).instance;
  const limits = { dialTimeoutMs: durationOf('timeout', settings, dialTimeoutMs), requestTimeoutMs: durationOf('request-timeout', settings, requestTimeoutMs) };
  // Who names an instance means its agent, whatever the environment says.
  const named = 'instance' in flags && !('server' in flags) ? undefined : settings.text('server');
  const { address, mend } = addressOf(named, instance);
  const withTls = settings.flag('tls') || (named?.startsWith('tls://') ?? false);
  return { address, mend, ...limits, ...credentialsOf(settings, withTls), metadata: metadataOf(settings, withTls) };
}

/** The agent of an instance, whatever the environment says. */
export const serverOfInstance = (instance: string): Server => ({
  ...addressOf(undefined, instance), credentials: grpc.credentials.createInsecure(), options: {}, metadata: new grpc.Metadata(), dialTimeoutMs, requestTimeoutMs,
});

function durationOf(name: 'timeout' | 'request-timeout', settings: Settings, presetMs: number): number {
  const given = settings.text(name);
  if (given === undefined) return presetMs;
  const ms = parseDurationMs(given);
  if (ms === undefined) throw new ConfigError(`--${name} ${given}: expected a duration`, 'use for example 5s');
  return ms;
}

/** `server` as the user gave it, else the socket of the instance. */
function addressOf(server: string | undefined, instance: string): Pick<Server, 'address' | 'mend'> {
  if (server === undefined) {
    if (process.getuid?.() !== 0) throw new ConfigError('only root may read the flows of an agent', 'run the same command with sudo');
    return { address: `unix://${instanceOf(instance).hubbleSocket}`, mend: `start one with: ./weir up DIR${instanceFlag(instance)}` };
  }
  const mend = 'check the address and that the server runs';
  const address = server.replace(/^tls:\/\//, '');
  if (/^unix:\/*[^/]/.test(address)) return { address, mend };
  if (!/^[^\s/]+:[0-9]{1,5}$/.test(address)) throw new ConfigError(`--server ${server}: not an address`, 'use unix:///PATH, HOST:PORT or tls://HOST:PORT');
  return { address, mend };
}

function credentialsOf(settings: Settings, withTls: boolean): Pick<Server, 'credentials' | 'options'> {
  const certificate = settings.text('tls-client-cert-file');
  const key = settings.text('tls-client-key-file');
  if ((certificate === undefined) !== (key === undefined)) throw new ConfigError('certificate and private key are both required, but only one was provided', 'give --tls-client-cert-file and --tls-client-key-file');
  if (!withTls) {
    if (certificate !== undefined) throw new ConfigError('a client certificate is for TLS: transport layer security required', 'add --tls, or use --server tls://HOST:PORT');
    return { credentials: grpc.credentials.createInsecure(), options: {} };
  }
  const cas = settings.list('tls-ca-cert-files').map(read);
  const name = settings.text('tls-server-name');
  try {
    const credentials = grpc.credentials.createSsl(cas.length === 0 ? null : Buffer.concat(cas), key === undefined ? null : read(key), certificate === undefined ? null : read(certificate),
      { rejectUnauthorized: !settings.flag('tls-allow-insecure') });
    return { credentials, options: name === undefined ? {} : { 'grpc.ssl_target_name_override': name, 'grpc.default_authority': name } };
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError(`TLS: ${messageOf(error)}`, 'check the certificate files');
  }
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ConfigError(`read ${path}: ${(error as Error).message}`);
  }
}

function metadataOf(settings: Settings, withTls: boolean): grpc.Metadata {
  const metadata = new grpc.Metadata();
  const user = settings.text('basic-auth-username');
  const password = settings.text('basic-auth-password');
  if (user === undefined && password === undefined) return metadata;
  if (user === undefined || password === undefined) throw new ConfigError('user and password of basic authentication go together', 'give --basic-auth-username and --basic-auth-password');
  if (!withTls) throw new ConfigError('a password goes only over TLS: transport layer security required', 'add --tls, or use --server tls://HOST:PORT');
  metadata.set('authorization', `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`);
  return metadata;
}
