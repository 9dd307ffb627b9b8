// A client's and a server's bytes through the proxy of DNS by TCP (agent/dns/proxy), most of them broken, with the shipped program as its judge:
// whatever they are, nothing is forwarded that the kernel has not allowed, nothing handed on that it has not learned, and all of it ends.
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import packet from 'dns-packet';
import { Conversation, type Counts } from '../../agent/dns/proxy/conversation.ts';
import { kernelJudge, type Connection, type Judge } from '../../agent/dns/proxy/kernel.ts';
import { mappedBytes } from '../../agent/ipcache/address.ts';
import { framed } from '../../agent/names/server/upstream.ts';
import { errno, KernelError } from '../../agent/kernel/errors.ts';
import { openRing } from '../../agent/kernel/ring.ts';
import { PolicyReconciler } from '../../agent/policy/reconciler.ts';
import { dns_limit } from '../types.gen.ts';
import { Bench } from './bench.ts';
import { isRefusedAddress } from './dns-addresses.ts';
import { egress, ends, families, imageOf, prefixes } from './dns-world.ts';
import { frame } from './packet.ts';
import { proxyPort, standIn, steer } from './proxy.ts';

/** `client`, `server`: bytes in hexadecimal digits; of a server, `answer`: to the query that waits for so long, with its id, as a message. */
export type Step =
  | { readonly kind: 'client' | 'server'; readonly bytes: string }
  | { readonly kind: 'answer'; readonly of: number; readonly bytes: string; readonly cut: number }
  | { readonly kind: 'client ends' | 'server ends' | 'client goes' | 'server goes' | 'client reads' | 'no way there' };

const mostFrame = 2 + 0xffff;
const mostQueries = 32;
/** What the client has not taken, by which the conversation holds on, and what may be under way then. */
const mostUnsent = (1 << 18) + (mostQueries + 1) * mostFrame;
const headBytes = 12;
const truncated = 0x02;
const port = 31_000;
const owner = 1;
const allowed = /^(.+\.example\.test|exact\.test)$/i;

/** One end of a connection as Node has it, without the kernel: events come one after another, data only while it is wanted. */
class End extends EventEmitter {
  destroyed = false;
  writableEnded = false;
  writableLength = 0;
  /** Written after its end: Node would make an error of that. */
  late = 0;
  #paused = false;
  #over = false;
  #given: (Buffer | undefined)[] = [];
  readonly #wrote: (data: Buffer) => void;

  constructor(wrote: (data: Buffer) => void) {
    super();
    this.#wrote = wrote;
  }

  get unread(): number { return this.#given.reduce((sum, one) => sum + (one?.length ?? 0), 0); }
  setNoDelay(): this { return this; }
  setTimeout(): this { return this; }
  pause(): this { this.#paused = true; return this; }
  resume(): this { this.#paused = false; return this; }
  write(data: Buffer): boolean {
    if (this.writableEnded) this.late += 1;
    else if (!this.destroyed) {
      this.writableLength += data.length;
      this.#wrote(data);
    }
    return this.writableLength < 1 << 14;
  }
  end(): this { this.writableEnded = true; return this; }
  destroy(): this { this.destroyed = true; return this; }
  resetAndDestroy(): this { return this.destroy(); }

  /** Undefined: its end, behind which there is nothing. False: nobody gets it. */
  give(data: Buffer | undefined): boolean {
    if (this.destroyed || this.#over) return false;
    this.#over = data === undefined;
    this.#given.push(data);
    return true;
  }
  /** Its other end reads all. */
  take(): void {
    this.writableLength = 0;
    if (!this.destroyed) this.emit('drain');
  }
  #closed = false;
  /** One event, if one is due. */
  turn(): boolean {
    if (this.destroyed) {
      if (this.#closed) return false;
      this.#closed = true;
      return this.emit('close');
    }
    if (this.#paused || this.#given.length === 0) return false;
    const data = this.#given.shift();
    return data === undefined ? this.emit('end') : this.emit('data', data);
  }
}

/** Whole messages of a stream, read without the proxy's own codec. */
class Reader {
  #bytes = Buffer.alloc(0);
  *read(data: Buffer): Generator<Buffer> {
    this.#bytes = Buffer.concat([this.#bytes, data]);
    for (let end: number; this.#bytes.length >= 2 && this.#bytes.length >= (end = 2 + this.#bytes.readUInt16BE(0)); this.#bytes = this.#bytes.subarray(end)) yield this.#bytes.subarray(2, end);
  }
}

const nameless = (message: Buffer): string => message.toString('latin1', 2);

/** The first question's name in text; undefined: there is none. */
function nameOf(message: Buffer): string | undefined {
  const labels: string[] = [];
  for (let at = headBytes; at < message.length; at += 1 + message[at]!) {
    if (message[at] === 0) return labels.join('.');
    labels.push(message.toString('latin1', at + 1, at + 1 + message[at]!));
  }
  return undefined;
}

/** Those that a client would take: as 32 hexadecimal digits, IPv4 mapped. The codec makes multicast DNS's `flush` of a class's highest bit. */
function addressesOf(message: Buffer): string[] {
  if ((message[2]! & truncated) !== 0) return [];
  let answers: readonly { readonly type: string; readonly class?: string; readonly flush?: boolean; readonly data: unknown }[];
  try {
    answers = packet.decode(message).answers as typeof answers;
  } catch {
    return []; // a name that leads through the id, which is the client's again
  }
  return answers.filter((one) => (one.type === 'A' || one.type === 'AAAA') && one.class === 'IN' && one.flush !== true).map(({ data }) => Buffer.from(mappedBytes(String(data))).toString('hex'));
}

export interface Streams {
  /** Undefined: all held. */
  readonly run: (steps: readonly Step[], family: number) => string | undefined;
  readonly seen: { forwarded: number; refused: number; answered: number; reset: number };
  readonly close: () => Promise<void>;
}

export async function dnsStreams(): Promise<Streams> {
  const bench = new Bench();
  const { dns, object } = bench.datapath;
  const ring = openRing(dns.records.fd, dns_limit.DNS_RING_BYTES);
  steer(bench, 5_000);
  const hangUp = await standIn(bench, [proxyPort.dns]);
  await new PolicyReconciler(bench.datapath).apply(imageOf(egress), prefixes, ends);
  dns.usages.setUint32(owner * 16 + 4, 100_000, true);
  const ways = families.map((f): Connection => {
    bench.run('from_workload', frame().ip(f.own, f.dns).tcp(port, 53, 'S').bytes());
    return { client: { address: f.own, port }, server: { address: f.dns, port: 53 } };
  });
  const judge = kernelJudge(object.programs.get('dns_by_tcp')!);
  const seen: Streams['seen'] = { forwarded: 0, refused: 0, answered: 0, reset: 0 };
  const known = (word: string): boolean => dns.addresses.get({ endpoint: owner, addr: { word: Buffer.from(word, 'hex') } }) !== undefined;
  const forget = (): void => {
    if (dns.usages.getInt32(owner * 16, true) > 0) for (const [key] of dns.addresses.entries()) dns.addresses.delete(key);
    dns.usages.setInt32(owner * 16, 0, true);
    ring.drain(() => undefined, 100_000);
  };
  return {
    run: (steps, family) => {
      forget();
      try {
        return new Run(ways[family]!, judge, known, seen).all(steps);
      } catch (error) {
        return `it throws: ${error instanceof Error ? error.stack : String(error)}`;
      }
    },
    seen,
    close: async () => {
      ring.close();
      await hangUp();
      bench.close();
    },
  };
}

class Run {
  readonly #client: End;
  readonly #counts: Counts = { connections: 0, queries: 0, refused: 0, answered: 0, failed: 0, unread: 0, crowded: 0 };
  readonly #servers: { end: End; queries: Buffer[] }[] = [];
  /** Allowed by the kernel and not forwarded yet. */
  readonly #allowed: string[] = [];
  readonly #known: (word: string) => boolean;
  readonly #seen: Streams['seen'];
  #fault: string | undefined;
  #noWay = false;
  #judgedBytes = 0;
  #givenBytes = 0;
  /** Whole messages. */
  #given = 0;
  #replies = 0;
  readonly #reader = new Reader();

  constructor(of: Connection, judge: Judge, known: (word: string) => boolean, seen: Streams['seen']) {
    this.#known = known;
    this.#seen = seen;
    const told = new Reader();
    this.#client = new End((data) => { for (const one of told.read(data)) this.#told(one); });
    const watched: Judge = {
      mayAsk: (at, query) => {
        const said = judge.mayAsk(at, query);
        this.#judgedBytes += 2 + query.length;
        if (said === 'yes') this.#allowed.push(nameless(query));
        return said;
      },
      learn: judge.learn,
    };
    new Conversation(this.#client as unknown as Socket, of, { judge: watched, dial: () => this.#dial() as unknown as Socket, counts: this.#counts });
  }

  #dial(): End {
    if (this.#noWay) throw new KernelError('a connection', 'bind', errno.EADDRNOTAVAIL);
    const [reader, queries] = [new Reader(), [] as Buffer[]];
    const end = new End((data) => { for (const one of reader.read(data)) this.#forwarded(one, queries); });
    this.#servers.push({ end, queries });
    return end;
  }

  #forwarded(query: Buffer, queries: Buffer[]): void {
    queries.push(query);
    this.#seen.forwarded += 1;
    const at = this.#allowed.indexOf(nameless(query));
    if (at < 0) this.#fault ??= `forwarded, and never allowed: ${query.toString('hex')}`;
    else this.#allowed.splice(at, 1);
    const name = nameOf(query);
    if (name === undefined || !allowed.test(name)) this.#fault ??= `forwarded, and no rule names it: ${query.toString('hex')}`;
  }

  #told(message: Buffer): void {
    this.#replies += 1;
    const rcode = message[3]! & 15;
    if (rcode !== 0) {
      this.#seen.refused += 1;
      return;
    }
    this.#seen.answered += 1;
    for (const word of addressesOf(message)) {
      if (!isRefusedAddress(word) && !this.#known(word)) this.#fault ??= `handed on, and not learned: ${word} of ${message.toString('hex')}`;
    }
  }

  #step(step: Step): void {
    const server = this.#servers.at(-1);
    switch (step.kind) {
      case 'client': {
        const bytes = Buffer.from(step.bytes, 'hex');
        if (!this.#client.give(bytes)) break;
        this.#givenBytes += bytes.length;
        this.#given += [...this.#reader.read(bytes)].length;
        break;
      }
      case 'server': server?.end.give(Buffer.from(step.bytes, 'hex')); break;
      case 'answer': {
        const query = server?.queries.at(step.of % (server.queries.length || 1));
        if (query === undefined) break;
        const answer = Buffer.from(step.bytes, 'hex');
        query.copy(answer, 0, 0, Math.min(2, answer.length));
        const whole = framed(answer);
        server!.end.give(whole.subarray(0, step.cut));
        server!.end.give(whole.subarray(step.cut));
        break;
      }
      case 'client ends': this.#client.give(undefined); break;
      case 'server ends': server?.end.give(undefined); break;
      case 'client goes': this.#client.destroy(); break;
      case 'server goes': server?.end.destroy(); break;
      case 'client reads': this.#client.take(); break;
      case 'no way there': this.#noWay = true;
    }
  }

  #turn(): void {
    for (let more = true; more && this.#fault === undefined;) {
      more = this.#client.turn();
      for (const { end } of this.#servers) more = end.turn() || more;
      const client = this.#client;
      if (client.late > 0) this.#fault ??= 'written behind its end';
      if (client.writableLength > mostUnsent) this.#fault ??= `${client.writableLength} bytes wait for a client that does not read`;
      const held = this.#givenBytes - client.unread - this.#judgedBytes;
      if (!client.destroyed && held > 3 * mostFrame) this.#fault ??= `${held} bytes of a client are held`;
    }
  }

  all(steps: readonly Step[]): string | undefined {
    for (const step of steps) {
      this.#step(step);
      this.#turn();
      if (this.#fault !== undefined) return this.#fault;
    }
    if (this.#client.destroyed) this.#seen.reset += 1;
    else if (this.#client.writableEnded && this.#given !== this.#replies) return `it ends with ${this.#replies} replies to ${this.#given} queries`;
    this.#client.destroy();
    this.#turn();
    if (this.#servers.some(({ end }) => !end.destroyed)) this.#fault ??= 'the client is gone, its connection to the server is not';
    return this.#fault;
  }
}
