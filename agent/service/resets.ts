// Backends that are gone -> their clients' sockets: who is connected to one by its service is told at once (ECONNABORTED), instead of waiting
// for an answer that never comes. Connections to a backend's own address are nobody's business here.
import { setTimeout as sleep } from 'node:timers/promises';
import { mapBatch, type Batch } from '../kernel/bpf.ts';
import { codecOf } from '../kernel/codec.ts';
import { withNetlinkIn } from '../kernel/netns.ts';
import { connectedSockets, destroySocket, netlinkSockDiag } from '../kernel/sock-diag.ts';
import type { Datapath } from '../datapath/maps.ts';
import { messageOf } from '../errors.ts';
import { protocolName } from '../policy/icmp.ts';
import type { SockPeer, SockPeerKey } from '../../bpf/types.gen.ts';

/** Backends that go together are looked for together. */
const gatherMs = 10;
/** For so long: a socket may have been told of the backend and not be connected yet. */
const lookMs = 1_000;
/** Between two looks, and as a multiple of what one took: 7 ms for 20,000 sockets. */
const pauseMs = 100;
const pauseShare = 20;
const batchRows = 1_024;
/** ::ffff:0:0/96, to be put before 4 bytes in hexadecimal. */
const ipv4Prefix = '00000000000000000000ffff';

/** As the kernel had it. */
export interface GoneBackend { readonly number: number; readonly address: Uint8Array; readonly port: number }

export interface ResetOptions {
  readonly datapath: Pick<Datapath, 'object'>;
  /** Path of the namespace of a client (struct service_client); undefined: it is gone as well. */
  readonly netnsOf: (ifindex: number) => string | undefined;
  readonly log: (line: string) => void;
}

interface Told { readonly cookie: bigint; readonly peer: SockPeer }

/** Of a socket that talks to several backends, the one that it is connected to. */
const endOf = (cookie: bigint, address: Uint8Array): string => {
  const mapped = Buffer.from(address).toString('hex').padStart(32, ipv4Prefix);
  return `${cookie} ${mapped}`;
};

export class Resets {
  readonly #options: ResetOptions;
  readonly #gone = new Map<number, GoneBackend & { readonly sinceMs: number }>();
  readonly #stopped = new AbortController();
  #looking: Promise<void> | undefined;
  /** Connections reset, by protocol. */
  readonly counts: Record<string, number> = { TCP: 0, UDP: 0 };

  constructor(options: ResetOptions) { this.#options = options; }

  /** To be called once nobody is sent to these backends any more: a grace period after their last slot went. */
  gone(backends: readonly GoneBackend[]): void {
    if (this.#stopped.signal.aborted) return;
    for (const backend of backends) this.#gone.set(backend.number, { ...backend, sinceMs: performance.now() });
    if (this.#gone.size > 0) this.#looking ??= this.#look().finally(() => { this.#looking = undefined; });
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#looking;
  }

  async #look(): Promise<void> {
    await this.#pause(gatherMs);
    while (this.#gone.size > 0 && !this.#stopped.signal.aborted) {
      const begin = performance.now();
      try {
        this.#reset(await this.#toldOf(this.#gone));
      } catch (error) {
        this.#options.log(`connections to backends that are gone: ${messageOf(error)}`);
      }
      for (const [number, { sinceMs }] of this.#gone) if (begin - sinceMs >= lookMs) this.#gone.delete(number);
      if (this.#gone.size > 0) await this.#pause(Math.max(pauseMs, (performance.now() - begin) * pauseShare));
    }
  }

  /** Ends early with `stop`. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopped.signal }).catch((error: Error) => { if (error.name !== 'AbortError') throw error; });
  }

  /** Sockets that were told of one of these. */
  async #toldOf(gone: ReadonlyMap<number, GoneBackend>): Promise<Told[]> {
    const { maps, btf } = this.#options.datapath.object;
    const map = maps.get('sock_peers')!;
    const [key, row] = [codecOf<SockPeerKey>(btf.struct('sock_peer_key')), codecOf<SockPeer>(btf.struct('sock_peer'))];
    const number = btf.struct('sock_peer').members.find(({ name }) => name === 'number')!.offset;
    const found: Told[] = [];
    for (let batch: Batch | undefined; batch === undefined || batch.next !== undefined;) {
      batch = await mapBatch(map, batchRows, batch?.next, batch);
      const [keys, values] = [new DataView(batch.keys.buffer), new DataView(batch.values.buffer)];
      for (let index = 0; index < batch.count; index += 1) {
        const backend = gone.get(values.getUint32(index * row.size + number, true));
        if (backend === undefined) continue;
        const peer = row.decode(values, index * row.size);
        // A number is another backend's after a while.
        if (peer.backend_port === backend.port && Buffer.compare(peer.backend.word, backend.address) === 0) found.push({ cookie: key.decode(keys, index * key.size).cookie, peer });
      }
    }
    return found;
  }

  #reset(told: readonly Told[]): void {
    for (const [ifindex, sockets] of Map.groupBy(told, ({ peer }) => peer.ifindex)) {
      const netns = this.#options.netnsOf(ifindex);
      if (netns === undefined) continue;
      try {
        this.#resetIn(netns, sockets);
      } catch (error) {
        this.#options.log(`connections in ${netns}: ${messageOf(error)}`);
      }
    }
  }

  /** Unconnected UDP sockets are not among those that are found: they get another backend with their next datagram. */
  #resetIn(netns: string, sockets: readonly Told[]): void {
    withNetlinkIn(netns, (netlink) => {
      for (const [, same] of Map.groupBy(sockets, ({ peer }) => `${peer.protocol} ${peer.backend_port}`)) {
        const { protocol, backend_port: port } = same[0]!.peer;
        const ends = new Set(same.map(({ cookie, peer }) => endOf(cookie, peer.backend.word)));
        for (const socket of connectedSockets(netlink, protocol, port)) {
          if (ends.has(endOf(socket.cookie, socket.remote)) && destroySocket(netlink, socket)) this.counts[protocolName(protocol)]! += 1;
        }
      }
    }, netlinkSockDiag);
  }
}
