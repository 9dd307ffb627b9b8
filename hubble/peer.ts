// peer.Peer: tells a relay which nodes there are and where their observers listen, at once and whenever it changes.
import { isDeepStrictEqual } from 'node:util';
import type { GrpcServer } from './grpc/server.ts';
import { peerService } from './proto.ts';
import { peerChange, type ChangeNotification } from './types.ts';

export interface Peer {
  /** `CLUSTER/NODE`, or `NODE` in the cluster `default`. */
  readonly name: string;
  /** `unix:///PATH`, `HOST:PORT`, or a host alone. */
  readonly address: string;
  /** Absent: no TLS. */
  readonly serverName?: string;
}

/** The name in a node's certificate, by which relays know it: dots would stand for more levels. */
export function serverNameOf(node: string, cluster = 'default'): string {
  const flat = (name: string): string => name.replaceAll('.', '-');
  return `${flat(node)}.${flat(cluster)}.hubble-grpc.cilium.io`;
}

const notificationOf = ({ name, address, serverName }: Peer, type: number): ChangeNotification =>
  ({ name, address, type, ...(serverName !== undefined && { tls: { server_name: serverName } }) });

export class Peers {
  #peers = new Map<string, Peer>();
  readonly #listeners = new Set<(change: ChangeNotification) => void>();

  list(): Peer[] { return [...this.#peers.values()]; }

  /** All peers there are now. */
  set(peers: Iterable<Peer>): void {
    const old = this.#peers;
    this.#peers = new Map([...peers].map((peer) => [peer.name, peer]));
    for (const [name, peer] of old) if (!this.#peers.has(name)) this.#tell(peer, peerChange.deleted);
    for (const [name, peer] of this.#peers) {
      const before = old.get(name);
      if (before === undefined) this.#tell(peer, peerChange.added);
      else if (!isDeepStrictEqual(before, peer)) this.#tell(peer, peerChange.updated);
    }
  }

  #tell(peer: Peer, type: number): void {
    for (const listener of this.#listeners) listener(notificationOf(peer, type));
  }

  addTo(server: GrpcServer): void {
    server.stream(peerService.Notify, (call) => {
      const listener = (change: ChangeNotification): void => { call.write(change); };
      for (const peer of this.#peers.values()) listener(notificationOf(peer, peerChange.added));
      this.#listeners.add(listener);
      call.whenOver(() => { this.#listeners.delete(listener); });
    });
  }
}
