// The nodes that a relay knows, each with a connection that is made again by itself, with backoff, for as long as the node is known.
import { isDeepStrictEqual } from 'node:util';
import grpc from '@grpc/grpc-js';
import type { Certificates } from '../certificates.ts';
import type { Peer } from '../peer.ts';

export interface NodesOptions {
  /** For nodes that want TLS; absent: none of those can be reached. */
  readonly certificates?: Certificates;
  /** Between two attempts, at most. */
  readonly retryMs: number;
  readonly log: (line: string) => void;
}

/** The port of an observer when a peer does not say it. */
const defaultPort = 4244;
const firstRetryMs = 500;
/** A connection over which nothing comes back for so long is dead. */
const keepaliveMs = 5_000;

export class NodeConnection {
  readonly peer: Peer;
  readonly client: grpc.Client | undefined;
  /** Why it cannot be reached; undefined while it can. */
  trouble: string | undefined;
  #closed = false;

  constructor(peer: Peer, { certificates, retryMs }: NodesOptions, changed: (node: NodeConnection) => void) {
    this.peer = peer;
    this.trouble = `no connection to ${peer.address}`;
    if (peer.serverName !== undefined && certificates === undefined) {
      this.trouble = 'it wants TLS, and this relay has no certificate for its nodes';
      return;
    }
    this.client = new grpc.Client(targetOf(peer), peer.serverName === undefined ? grpc.credentials.createInsecure() : certificates!.client(), {
      'grpc.initial_reconnect_backoff_ms': Math.min(firstRetryMs, retryMs), 'grpc.max_reconnect_backoff_ms': retryMs, 'grpc.use_local_subchannel_pool': 1,
      'grpc.keepalive_time_ms': keepaliveMs, 'grpc.keepalive_timeout_ms': keepaliveMs, 'grpc.max_receive_message_length': -1,
      ...(peer.serverName !== undefined && { 'grpc.ssl_target_name_override': peer.serverName, 'grpc.default_authority': peer.serverName }),
    });
    this.#watch(changed);
  }

  get connected(): boolean { return this.trouble === undefined; }

  #watch(changed: (node: NodeConnection) => void): void {
    if (this.#closed) return;
    const channel = this.client!.getChannel();
    const state = channel.getConnectivityState(true);
    const trouble = state === grpc.connectivityState.READY ? undefined : `no connection to ${this.peer.address}`;
    if (trouble !== this.trouble) {
      this.trouble = trouble;
      changed(this);
    }
    // Without end, but not without a look now and then: a state that changed before it was watched is seen then.
    channel.watchConnectivityState(state, Date.now() + keepaliveMs, () => { this.#watch(changed); });
  }

  close(): void {
    this.#closed = true;
    this.client?.close();
  }
}

/** As gRPC takes it. */
export function targetOf({ address }: Peer): string {
  if (address.startsWith('unix:')) return address;
  return /:[0-9]+$/.test(address) && !/^[0-9a-fA-F:]*:[0-9a-fA-F]*:[0-9a-fA-F:]*$/.test(address) ? address : `${address.includes(':') && !address.startsWith('[') ? `[${address}]` : address}:${defaultPort}`;
}

export class Nodes {
  readonly #options: NodesOptions;
  readonly #nodes = new Map<string, NodeConnection>();
  readonly #listeners = new Set<() => void>();

  constructor(options: NodesOptions) { this.#options = options; }

  list(): NodeConnection[] { return [...this.#nodes.values()]; }

  /** A peer that changed gets a new connection. */
  set(peer: Peer): void {
    const known = this.#nodes.get(peer.name);
    if (known !== undefined && isDeepStrictEqual(known.peer, peer)) return;
    known?.close();
    this.#nodes.set(peer.name, new NodeConnection(peer, this.#options, (node) => {
      this.#options.log(node.connected ? `${peer.name}: connected` : `${peer.name}: ${node.trouble}`);
      this.#tell();
    }));
    this.#tell();
  }

  delete(name: string): void {
    this.#nodes.get(name)?.close();
    if (this.#nodes.delete(name)) this.#tell();
  }

  /** Told when a node comes, goes or changes its state. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  #tell(): void { for (const listener of [...this.#listeners]) listener(); }

  close(): void {
    for (const node of this.#nodes.values()) node.close();
    this.#nodes.clear();
  }
}
