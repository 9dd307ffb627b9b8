// Flags of `up` for what the agent shall offer of Hubble beyond its own socket.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import type { HubbleOptions } from '../hubble/options.ts';

export interface HubbleWords {
  readonly hubbleListen?: string; readonly hubbleTlsCert?: string; readonly hubbleTlsKey?: string; readonly hubbleTlsClientCa?: string; readonly hubbleInsecure?: boolean;
  readonly hubbleExport?: string; readonly metricsListen?: string; readonly hubbleMetrics?: readonly string[];
  readonly hubbleRedactHttpUrlquery?: boolean; readonly hubbleRedactHttpUserinfo?: string; readonly hubbleRedactHttpHeadersAllow?: readonly string[]; readonly hubbleRedactHttpHeadersDeny?: readonly string[];
}

const commaList = (text: string): string[] => text.split(',').map((one) => one.trim()).filter((one) => one !== '');

export const hubbleFlags = (command: Command): Command => command
  .option('--hubble-listen <address>', 'the observer on TCP too, for relays: :4244, with TLS on both sides')
  .option('--hubble-tls-cert <file>', 'certificate of --hubble-listen, read again when it changes').option('--hubble-tls-key <file>', 'its key')
  .option('--hubble-tls-client-ca <file>', 'who signs the clients of --hubble-listen')
  .option('--hubble-insecure', '--hubble-listen on loopback without TLS')
  .option('--hubble-export <file>', 'YAML that says which flows go to which files, read again when it changes')
  .option('--metrics-listen <address>', 'metrics for Prometheus: 127.0.0.1:9965')
  .option('--hubble-metrics <list>', 'which, as Hubble names them: drop:sourceContext=pod|ip,flow; separated by commas or spaces', (text) => text.split(/[\s,]+(?=[a-zA-Z0-9-]+(?:[:,\s]|$))/).filter((one) => one !== ''))
  .option('--hubble-redact-http-urlquery', 'flows do not keep the query of a URL')
  .option('--hubble-redact-http-userinfo <boolean>', 'flows do not keep a password in a URL (true)')
  .option('--hubble-redact-http-headers-allow <names>', 'flows keep the values of these headers only', commaList)
  .option('--hubble-redact-http-headers-deny <names>', 'flows keep the values of all other headers (those that carry credentials)', commaList);

/** What stands for a node's own name in paths and addresses. */
const nodePlace = '{node}';
const files = ['hubbleTlsCert', 'hubbleTlsKey', 'hubbleTlsClientCa', 'hubbleExport'] as const;

/** The same for every node of this machine: each has a network of its own, so all take the same ports. Throws ConfigError. */
export function sharedWords(words: HubbleWords): HubbleWords {
  const { hubbleListen, hubbleInsecure, hubbleExport, metricsListen, hubbleMetrics, hubbleRedactHttpUrlquery: query, hubbleRedactHttpUserinfo: userInfo, hubbleRedactHttpHeadersAllow: allow, hubbleRedactHttpHeadersDeny: deny } = words;
  hubbleOf(words);
  if (hubbleExport !== undefined && !hubbleExport.includes(nodePlace)) throw new ConfigError(`--hubble-export ${hubbleExport}: every node writes files of its own`, 'put {node} where its name belongs, as in export-{node}.yaml');
  return {
    ...(hubbleListen !== undefined && { hubbleListen }), ...(hubbleInsecure === true && { hubbleInsecure }), ...(metricsListen !== undefined && { metricsListen }), ...(hubbleMetrics && { hubbleMetrics }),
    ...(query === true && { hubbleRedactHttpUrlquery: query }), ...(userInfo !== undefined && { hubbleRedactHttpUserinfo: userInfo }), ...(allow && { hubbleRedactHttpHeadersAllow: allow }), ...(deny && { hubbleRedactHttpHeadersDeny: deny }),
    ...Object.fromEntries(files.flatMap((name) => (words[name] === undefined ? [] : [[name, resolve(words[name])]]))),
  };
}

/** As a node's agent takes them. */
export const hubbleArguments = (words: HubbleWords, node: string): string[] => ([
  ['--hubble-listen', words.hubbleListen], ['--hubble-tls-cert', words.hubbleTlsCert], ['--hubble-tls-key', words.hubbleTlsKey], ['--hubble-tls-client-ca', words.hubbleTlsClientCa],
  ['--hubble-export', words.hubbleExport], ['--metrics-listen', words.metricsListen], ['--hubble-metrics', words.hubbleMetrics?.join(' ')],
  ['--hubble-redact-http-userinfo', words.hubbleRedactHttpUserinfo],
  ['--hubble-redact-http-headers-allow', words.hubbleRedactHttpHeadersAllow?.join(',')], ['--hubble-redact-http-headers-deny', words.hubbleRedactHttpHeadersDeny?.join(',')],
] as const).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value.replaceAll(nodePlace, node)])).concat(words.hubbleInsecure === true ? ['--hubble-insecure'] : [], words.hubbleRedactHttpUrlquery === true ? ['--hubble-redact-http-urlquery'] : []);

export function hubbleOf(words: HubbleWords): HubbleOptions {
  const { hubbleExport, metricsListen, hubbleMetrics } = words;
  if (hubbleMetrics !== undefined && metricsListen === undefined) throw new ConfigError('--hubble-metrics is about --metrics-listen', 'use for example --metrics-listen 127.0.0.1:9965');
  const listen = listenOf(words);
  const redact = redactOf(words);
  return {
    ...(listen && { listen }), ...(redact && { redact }), ...(hubbleExport !== undefined && { exportFile: resolve(hubbleExport) }),
    ...(metricsListen !== undefined && { metrics: { address: metricsListen, ...(hubbleMetrics && { wanted: hubbleMetrics }) } }),
  };
}

function redactOf({ hubbleRedactHttpUrlquery: urlQuery, hubbleRedactHttpUserinfo: userInfo, hubbleRedactHttpHeadersAllow: headersAllow, hubbleRedactHttpHeadersDeny: headersDeny }: HubbleWords): HubbleOptions['redact'] {
  if (userInfo !== undefined && userInfo !== 'true' && userInfo !== 'false') throw new ConfigError(`--hubble-redact-http-userinfo ${userInfo}: expected true or false`);
  if (headersAllow !== undefined && headersDeny !== undefined) throw new ConfigError('--hubble-redact-http-headers-allow and --hubble-redact-http-headers-deny cannot be combined', 'leave one of them out');
  if (urlQuery === undefined && userInfo === undefined && headersAllow === undefined && headersDeny === undefined) return undefined;
  return { ...(urlQuery === true && { urlQuery }), ...(userInfo !== undefined && { userInfo: userInfo !== 'false' }), ...(headersAllow && { headersAllow }), ...(headersDeny && { headersDeny }) };
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
