// weir relay: one observer for several nodes. It needs no agent of its own and runs until it is ended.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import grpc from '@grpc/grpc-js';
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { instanceOf } from '../agent/instance.ts';
import { version } from '../agent/version.ts';
import { Certificates } from '../hubble/certificates.ts';
import { RequestError } from '../hubble/errors.ts';
import type { GrpcServer } from '../hubble/grpc/server.ts';
import { listenTcp, listenUnix } from '../hubble/listen.ts';
import { defaultRelayOptions } from '../hubble/relay/flows.ts';
import { Nodes } from '../hubble/relay/nodes.ts';
import { relayServer } from '../hubble/relay/serve.ts';
import { followPeers, parsePeer } from '../hubble/relay/source.ts';
import { parseDurationMs } from './observe-times.ts';
import { instanceOption, wholeNumber } from './options.ts';
import { printable } from './print.ts';

interface RelayWords {
  readonly peers?: readonly string[]; readonly peerService?: string; readonly listen: string; readonly instance: string; readonly insecure?: boolean;
  readonly tlsCert?: string; readonly tlsKey?: string; readonly tlsClientCa?: string;
  readonly peerTlsCa?: string; readonly peerTlsCert?: string; readonly peerTlsKey?: string;
  readonly retryTimeout: string; readonly sortBufferLenMax: number; readonly sortBufferDrainTimeout: string;
}

const defaultListen = 'unix:///run/weir/relay.sock';

export function register(program: Command): void {
  program.command('relay').description('one observer for several nodes: their flows in one stream, in order')
    .option('--peers <list>', 'the nodes: [NAME=]unix:///PATH, [NAME=]tls://HOST:PORT or [NAME=]HOST:PORT, with commas between', (text) => text.split(','))
    .option('--peer-service <address>', 'an agent that knows the nodes; without --peers that of this machine')
    .option('--listen <address>', 'unix:///PATH, or HOST:PORT with TLS', defaultListen).option('--insecure', '--listen on loopback without TLS')
    .option('--tls-cert <file>', 'certificate of --listen, read again when it changes').option('--tls-key <file>', 'its key').option('--tls-client-ca <file>', 'who signs the clients')
    .option('--peer-tls-ca <file>', 'who signs the nodes').option('--peer-tls-cert <file>', 'certificate that is shown to the nodes').option('--peer-tls-key <file>', 'its key')
    .option('--retry-timeout <duration>', 'at most so long between two attempts to reach a node', '30s')
    .option('--sort-buffer-len-max <number>', 'flows of each node that wait to be put in order', wholeNumber, defaultRelayOptions.window)
    .option('--sort-buffer-drain-timeout <duration>', 'and how long at most', '1s')
    .addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  sudo ./weir relay --peers node1=unix:///run/weir/node1/hubble.sock,node2=tls://10.0.0.2:4244 --peer-tls-ca ca.crt --peer-tls-cert relay.crt --peer-tls-key relay.key\n  sudo ./weir observe --server unix:///run/weir/relay.sock')
    .action(async (words: RelayWords) => {
      const close = await relay(words).catch((error: unknown) => { throw error instanceof RequestError ? new ConfigError(error.message) : error; });
      await new Promise<void>((end) => { for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { end(); }); });
      close();
      process.exit(0);
    });
}

const log = (line: string): void => { process.stdout.write(`${printable(line)}\n`); };

async function relay(words: RelayWords): Promise<() => void> {
  const retryMs = durationOf('--retry-timeout', words.retryTimeout);
  const certificates = peerCertificates(words);
  const nodes = new Nodes({ retryMs, log, ...(certificates && { certificates }) });
  const { server, close } = relayServer(nodes, version, {
    ...defaultRelayOptions, window: words.sortBufferLenMax, drainMs: durationOf('--sort-buffer-drain-timeout', words.sortBufferDrainTimeout),
  });
  const peers = words.peers?.map((text) => parsePeer(text));
  const closeListener = await listen(server, words);
  let unfollow = (): void => undefined;
  if (peers !== undefined) for (const peer of peers) nodes.set(peer);
  else {
    const peer = parsePeer(words.peerService ?? `unix://${instanceOf(words.instance).hubbleSocket}`);
    if (peer.serverName !== undefined && certificates === undefined) throw new ConfigError(`--peer-service ${words.peerService}: TLS wants --peer-tls-ca`);
    unfollow = followPeers(peer, peer.serverName === undefined ? grpc.credentials.createInsecure() : certificates!.client(), nodes, retryMs, log);
  }
  log(`relay of ${peers === undefined ? 'the nodes that an agent tells of' : `${peers.length} ${peers.length === 1 ? 'node' : 'nodes'}`} at ${words.listen}`);
  return () => { unfollow(); nodes.close(); close(); closeListener(); certificates?.close(); };
}

async function listen(server: GrpcServer, { listen: address, insecure, tlsCert, tlsKey, tlsClientCa }: RelayWords): Promise<() => void> {
  const path = /^unix:\/\/(\/.+)$/.exec(address)?.[1];
  if (path !== undefined) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return listenUnix(server, path);
  }
  const tls = { ...(tlsCert !== undefined && { certificate: tlsCert }), ...(tlsKey !== undefined && { key: tlsKey }), ...(tlsClientCa !== undefined && { ca: tlsClientCa }) };
  return (await listenTcp(server, { address, ...(Object.keys(tls).length > 0 && { tls }), ...(insecure === true && { insecure: true }) }, log)).close;
}

function peerCertificates({ peerTlsCa: ca, peerTlsCert: certificate, peerTlsKey: key }: RelayWords): Certificates | undefined {
  if (ca === undefined && certificate === undefined && key === undefined) return undefined;
  if (ca === undefined || (certificate === undefined) !== (key === undefined)) throw new ConfigError('--peer-tls-cert and --peer-tls-key go together, and with --peer-tls-ca');
  return new Certificates({ ca, ...(certificate !== undefined && { certificate }), ...(key !== undefined && { key }) }, log);
}

function durationOf(flag: string, text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms <= 0) throw new ConfigError(`${flag} ${text}: expected a duration`, 'use for example 5s');
  return ms;
}
