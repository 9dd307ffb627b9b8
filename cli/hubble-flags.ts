// Flags of `up` for what the agent shall offer of Hubble beyond its own socket.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import type { HubbleOptions } from '../hubble/options.ts';

export interface HubbleWords {
  readonly hubbleListen?: string; readonly hubbleTlsCert?: string; readonly hubbleTlsKey?: string; readonly hubbleTlsClientCa?: string; readonly hubbleInsecure?: boolean;
  readonly hubbleExport?: string; readonly metricsListen?: string; readonly hubbleMetrics?: readonly string[];
}

export const hubbleFlags = (command: Command): Command => command
  .option('--hubble-listen <address>', 'the observer on TCP too, for relays: :4244, with TLS on both sides')
  .option('--hubble-tls-cert <file>', 'certificate of --hubble-listen, read again when it changes').option('--hubble-tls-key <file>', 'its key')
  .option('--hubble-tls-client-ca <file>', 'who signs the clients of --hubble-listen')
  .option('--hubble-insecure', '--hubble-listen on loopback without TLS')
  .option('--hubble-export <file>', 'YAML that says which flows go to which files, read again when it changes')
  .option('--metrics-listen <address>', 'metrics for Prometheus: 127.0.0.1:9965')
  .option('--hubble-metrics <list>', 'which, as Hubble names them: drop:sourceContext=pod|ip,flow; separated by commas or spaces', (text) => text.split(/[\s,]+(?=[a-zA-Z0-9-]+(?:[:,\s]|$))/).filter((one) => one !== ''));

/** What stands for a node's own name in paths and addresses. */
const nodePlace = '{node}';
const files = ['hubbleTlsCert', 'hubbleTlsKey', 'hubbleTlsClientCa', 'hubbleExport'] as const;

/** The same for every node of this machine: each has a network of its own, so all take the same ports. Throws ConfigError. */
export function sharedWords(words: HubbleWords): HubbleWords {
  const { hubbleListen, hubbleInsecure, hubbleExport, metricsListen, hubbleMetrics } = words;
  hubbleOf(words);
  if (hubbleExport !== undefined && !hubbleExport.includes(nodePlace)) throw new ConfigError(`--hubble-export ${hubbleExport}: every node writes files of its own`, 'put {node} where its name belongs, as in export-{node}.yaml');
  return {
    ...(hubbleListen !== undefined && { hubbleListen }), ...(hubbleInsecure === true && { hubbleInsecure }), ...(metricsListen !== undefined && { metricsListen }), ...(hubbleMetrics && { hubbleMetrics }),
    ...Object.fromEntries(files.flatMap((name) => (words[name] === undefined ? [] : [[name, resolve(words[name])]]))),
  };
}

/** As a node's agent takes them. */
export const hubbleArguments = (words: HubbleWords, node: string): string[] => ([
  ['--hubble-listen', words.hubbleListen], ['--hubble-tls-cert', words.hubbleTlsCert], ['--hubble-tls-key', words.hubbleTlsKey], ['--hubble-tls-client-ca', words.hubbleTlsClientCa],
  ['--hubble-export', words.hubbleExport], ['--metrics-listen', words.metricsListen], ['--hubble-metrics', words.hubbleMetrics?.join(' ')],
] as const).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value.replaceAll(nodePlace, node)])).concat(words.hubbleInsecure === true ? ['--hubble-insecure'] : []);

export function hubbleOf(words: HubbleWords): HubbleOptions {
  const { hubbleExport, metricsListen, hubbleMetrics } = words;
  if (hubbleMetrics !== undefined && metricsListen === undefined) throw new ConfigError('--hubble-metrics is about --metrics-listen', 'use for example --metrics-listen 127.0.0.1:9965');
  const listen = listenOf(words);
  return {
    ...(listen && { listen }), ...(hubbleExport !== undefined && { exportFile: resolve(hubbleExport) }),
    ...(metricsListen !== undefined && { metrics: { address: metricsListen, ...(hubbleMetrics && { wanted: hubbleMetrics }) } }),
  };
}

function listenOf({ hubbleListen, hubbleTlsCert, hubbleTlsKey, hubbleTlsClientCa, hubbleInsecure }: HubbleWords): HubbleOptions['listen'] {
  const tls = {
    ...(hubbleTlsCert !== undefined && { certificate: hubbleTlsCert }), ...(hubbleTlsKey !== undefined && { key: hubbleTlsKey }), ...(hubbleTlsClientCa !== undefined && { ca: hubbleTlsClientCa }),
  };
  const withTls = Object.keys(tls).length > 0;
  if (hubbleListen === undefined) {
    if (withTls || hubbleInsecure === true) throw new ConfigError('--hubble-tls-cert, --hubble-tls-key, --hubble-tls-client-ca and --hubble-insecure are about --hubble-listen', 'use for example --hubble-listen :4244');
    return undefined;
  }
  if (withTls && hubbleInsecure === true) throw new ConfigError('--hubble-insecure and --hubble-tls-* cannot be combined', 'leave one of them out');
  return { address: hubbleListen, ...(withTls && { tls }), ...(hubbleInsecure === true && { insecure: true }) };
}
