// Whose sockets are translated (bpf/socket.c): the network namespace of the node and of each workload, by cookie. No cookie is given twice
// while the machine runs, so a row that is left over is of no harm.
import { closeSync, openSync } from 'node:fs';
import { linkCreate, attachType } from '../kernel/bpf.ts';
import { socket } from '../kernel/libc.ts';
import { inNetns } from '../kernel/netns.ts';
import type { Datapath } from './maps.ts';

const inet = 2;
const datagram = 2;
const closeOnExec = 0o2000000;
const solSocket = 1;
const soCookie = 57;
/** In place of an ifindex. */
export const ofNode = 0;
export const ownNetns = '/proc/thread-self/ns/net';
const addressBytes = 16;

export type ClientsDatapath = Pick<Datapath, 'object' | 'serviceClients' | 'netnsQuestions'>;

export class ServiceClients {
  readonly #datapath: ClientsDatapath;
  readonly #link: number;
  readonly #cookies: Map<number, bigint>;

  /** `cgroup`: path of the root of the v2 tree. */
  constructor(datapath: ClientsDatapath, cgroup: string) {
    this.#datapath = datapath;
    const folder = openSync(cgroup, 'r');
    try {
      this.#link = linkCreate(datapath.object.programs.get('netns_cookie')!, folder, attachType.bind4, `netns_cookie on ${cgroup}`);
    } finally {
      closeSync(folder);
    }
    this.#cookies = new Map(datapath.serviceClients.entries().map(([cookie, { ifindex }]) => [ifindex, cookie]));
  }

  addNode(): void { this.#add(ownNetns, ofNode, false); }
  /** `netns`: path of the workload's namespace; `ifindex`: of the host side of its veth; `marked`: its sockets may be joined (sockmap.ts). */
  add(netns: string, ifindex: number, marked = false): void { this.#add(netns, ifindex, marked); }

  remove(ifindex: number): void {
    const cookie = this.#cookies.get(ifindex);
    if (cookie !== undefined) this.#datapath.serviceClients.delete(cookie);
    this.#cookies.delete(ifindex);
  }

  /** Takes away those whose interface went while no agent ran. */
  retain(present: ReadonlySet<number>): void {
    for (const ifindex of [...this.#cookies.keys()]) if (ifindex !== ofNode && !present.has(ifindex)) this.remove(ifindex);
  }

  close(): void { closeSync(this.#link); }

  #add(netns: string, ifindex: number, marked: boolean): void {
    const cookie = this.cookieOf(netns);
    if (this.#cookies.get(ifindex) !== cookie) this.remove(ifindex);
    this.#datapath.serviceClients.set(cookie, { ifindex, marked: marked ? 1 : 0 });
    this.#cookies.set(ifindex, cookie);
  }

  /** bpf/netns_cookie.c tells it when a socket is bound there. */
  cookieOf(netns: string): bigint {
    const { netnsQuestions } = this.#datapath;
    const fd = inNetns(netns, () => socket.open(inet, datagram | closeOnExec, 0));
    try {
      const own = new BigUint64Array(1);
      socket.readOption(fd, solSocket, soCookie, new Uint8Array(own.buffer));
      netnsQuestions.set(0, { socket: own[0]!, netns: 0n });
      const any = new Uint8Array(addressBytes);
      any[0] = inet;
      socket.bind(fd, any);
      const { netns: cookie } = netnsQuestions.get(0)!;
      if (cookie === 0n) throw new Error(`${netns}: its cookie was not told`);
      return cookie;
    } finally {
      netnsQuestions.set(0, { socket: 0n, netns: 0n });
      closeSync(fd);
    }
  }
}
