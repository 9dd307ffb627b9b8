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
  .option('--hubble-metrics <list>', 'which, as Hubble names them: drop:sourceContext=pod|ip,flow; separated by commas or spaces', (text) => text.split(/[\s,]+(?=[a-z-]+(?:[:,\s]|$))/).filter((one) => one !== ''));

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
