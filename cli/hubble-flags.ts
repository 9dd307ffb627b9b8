// Flags of `up` for what the agent shall offer of Hubble beyond its own socket.
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import type { HubbleOptions } from '../hubble/options.ts';

export interface HubbleWords {
  readonly hubbleListen?: string; readonly hubbleTlsCert?: string; readonly hubbleTlsKey?: string; readonly hubbleTlsClientCa?: string; readonly hubbleInsecure?: boolean;
}

export const hubbleFlags = (command: Command): Command => command
  .option('--hubble-listen <address>', 'the observer on TCP too, for relays: :4244, with TLS on both sides')
  .option('--hubble-tls-cert <file>', 'certificate of --hubble-listen, read again when it changes').option('--hubble-tls-key <file>', 'its key')
  .option('--hubble-tls-client-ca <file>', 'who signs the clients of --hubble-listen')
  .option('--hubble-insecure', '--hubble-listen on loopback without TLS');

export function hubbleOf({ hubbleListen, hubbleTlsCert, hubbleTlsKey, hubbleTlsClientCa, hubbleInsecure }: HubbleWords): HubbleOptions {
  const tls = {
    ...(hubbleTlsCert !== undefined && { certificate: hubbleTlsCert }), ...(hubbleTlsKey !== undefined && { key: hubbleTlsKey }), ...(hubbleTlsClientCa !== undefined && { ca: hubbleTlsClientCa }),
  };
  const withTls = Object.keys(tls).length > 0;
  if (hubbleListen === undefined) {
    if (withTls || hubbleInsecure === true) throw new ConfigError('--hubble-tls-cert, --hubble-tls-key, --hubble-tls-client-ca and --hubble-insecure are about --hubble-listen', 'use for example --hubble-listen :4244');
    return {};
  }
  if (withTls && hubbleInsecure === true) throw new ConfigError('--hubble-insecure and --hubble-tls-* cannot be combined', 'leave one of them out');
  return { listen: { address: hubbleListen, ...(withTls && { tls }), ...(hubbleInsecure === true && { insecure: true }) } };
}
