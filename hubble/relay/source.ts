// Where a relay's nodes come from: a list, or the Peer service of an agent, asked again with backoff when it goes away.
import grpc from '@grpc/grpc-js';
import { RequestError } from '../errors.ts';
import { serverNameOf, type Peer } from '../peer.ts';
import { peerService } from '../proto.ts';
import { peerChange, type ChangeNotification } from '../types.ts';
import type { Nodes } from './nodes.ts';

const firstRetryMs = 500;

/** `[NAME=]unix:///PATH`, `[NAME=]tls://HOST:PORT`, `[NAME=]HOST:PORT`. Throws RequestError. */
export function parsePeer(text: string): Peer {
  const [, given, tls, address] = /^(?:([^=\s]+)=)?(?:(tls):\/\/)?(unix:\/\/\/\S+|\[[0-9a-fA-F:.]+\](?::[0-9]{1,5})?|[^:/\s=]+(?::[0-9]{1,5})?)$/.exec(text) ?? [];
  if (address === undefined || (tls !== undefined && address.startsWith('unix:'))) throw new RequestError(`peer ${text}: use unix:///PATH, tls://HOST:PORT or HOST:PORT, with a name before it as in node1=tls://10.0.0.1:4244`);
  const host = address.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
  const [cluster, node] = given?.includes('/') === true ? given.split('/', 2) : ['default', given];
  return { name: given ?? address, address, ...(tls !== undefined && { serverName: node === undefined ? host : serverNameOf(node, cluster) }) };
}

/** The nodes that the agent knows of, by whose name over TLS its certificate must be; those known stay while it is away. The result ends it. */
export function followPeers({ address, serverName }: Pick<Peer, 'address' | 'serverName'>, credentials: grpc.ChannelCredentials, nodes: Nodes, retryMs: number, log: (line: string) => void): () => void {
  const { path, requestSerialize, responseDeserialize } = peerService.Notify;
  const client = new grpc.Client(address, credentials, {
    'grpc.max_reconnect_backoff_ms': retryMs, ...(serverName !== undefined && { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
  });
  let stopped = false;
  let waitMs = Math.min(firstRetryMs, retryMs);
  let timer: NodeJS.Timeout | undefined;
  const ask = (): void => {
    const known = new Set(nodes.list().map(({ peer }) => peer.name));
    let settle: NodeJS.Timeout | undefined;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {});
    call.on('data', (change: ChangeNotification) => {
      waitMs = Math.min(firstRetryMs, retryMs);
      known.delete(change.name ?? '');
      // What this agent does not name any more went while it was away.
      settle ??= setTimeout(() => { for (const name of known) nodes.delete(name); }, firstRetryMs);
      apply(nodes, change);
    });
    call.on('error', (error: grpc.ServiceError) => {
      clearTimeout(settle);
      if (stopped) return;
      log(`peers at ${address}: ${error.details}; asked again in ${waitMs / 1_000} s`);
      timer = setTimeout(ask, waitMs);
      waitMs = Math.min(waitMs * 2, retryMs);
    });
    call.on('status', ({ code }: grpc.StatusObject) => { if (code === grpc.status.OK && !stopped) timer = setTimeout(ask, waitMs); });
  };
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
    client.close();
  };
}

function apply(nodes: Nodes, { name = '', address = '', type, tls }: ChangeNotification): void {
  if (type === peerChange.deleted) nodes.delete(name);
  else nodes.set({ name, address, ...(tls?.server_name && { serverName: tls.server_name }) });
}
