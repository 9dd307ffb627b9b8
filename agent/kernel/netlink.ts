// Netlink, as a rule rtnetlink (RFC 3549; include/uapi/linux/rtnetlink.h): requests as bytes, answers checked. One socket, one request at a time.
import { errno, KernelError } from './errors.ts';
import { socket } from './libc.ts';

const family = { netlink: 16, route: 0 } as const;
const sockRaw = 3;
const sockCloexec = 0o2000000;
const solSocket = 1;
const soReceiveTimeout = 20;
const receiveBytes = 1 << 18;

export const message = {
  error: 2, done: 3, newLink: 16, deleteLink: 17, getLink: 18, setLink: 19, newAddress: 20, getAddress: 22, newRoute: 24, deleteRoute: 25,
  getRoute: 26, newNeighbour: 28, newRule: 32, deleteRule: 33, newQdisc: 36, deleteQdisc: 37, newFilter: 44, deleteFilter: 45,
} as const;
export const flag = { request: 1, ack: 4, replace: 0x100, exclusive: 0x200, create: 0x400, dump: 0x300 } as const;

/** An attribute's value: bytes, text (with its final 0), a 32-bit number, or attributes within. */
export type Value = Uint8Array | string | number | readonly Attribute[];
export type Attribute = readonly [type: number, value: Value];

const nested = 0x8000;

function encodeAttribute([type, value]: Attribute): Buffer {
  let payload: Buffer;
  if (typeof value === 'string') payload = Buffer.from(`${value}\0`);
  else if (typeof value === 'number') { payload = Buffer.alloc(4); payload.writeUInt32LE(value); }
  else if (value instanceof Uint8Array) payload = Buffer.from(value);
  else payload = encodeAttributes(value);
  const out = Buffer.alloc((4 + payload.length + 3) & ~3);
  out.writeUInt16LE(4 + payload.length, 0);
  out.writeUInt16LE(Array.isArray(value) ? type | nested : type, 2);
  payload.copy(out, 4);
  return out;
}

export const encodeAttributes = (list: readonly Attribute[]): Buffer => Buffer.concat(list.map(encodeAttribute));

export function decodeAttributes(data: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= data.length;) {
    const length = data.readUInt16LE(at);
    if (length < 4 || at + length > data.length) break;
    found.set(data.readUInt16LE(at + 2) & 0x3fff, data.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

export interface Answer { readonly type: number; readonly body: Buffer }

export class Netlink {
  readonly #fd: number;
  #sequence = 1;

  /** Belongs to the network namespace that the calling thread is in now, and stays there. */
  constructor(protocol: number = family.route) {
    this.#fd = socket.open(family.netlink, sockRaw | sockCloexec, protocol);
    const timeout = Buffer.alloc(16);
    timeout.writeBigInt64LE(5n, 0);
    socket.option(this.#fd, solSocket, soReceiveTimeout, timeout);
    const address = Buffer.alloc(12);
    address.writeUInt16LE(family.netlink, 0);
    socket.bind(this.#fd, address);
  }

  get fd(): number { return this.#fd; }

  /** Sends one request and waits for its acknowledgement; throws KernelError naming `object`. */
  request(type: number, flags: number, body: Buffer, object: string, operation: string): void {
    this.#exchange(type, flags | flag.request | flag.ack, body, object, operation);
  }

  /** Asks for all rows of a kind. */
  dump(type: number, body: Buffer, object: string): Answer[] {
    return this.#exchange(type, flag.request | flag.dump, body, object, 'dump');
  }

  #exchange(type: number, flags: number, body: Buffer, object: string, operation: string): Answer[] {
    this.#sequence += 1;
    const head = Buffer.alloc(16);
    head.writeUInt32LE(16 + body.length, 0);
    head.writeUInt16LE(type, 4);
    head.writeUInt16LE(flags, 6);
    head.writeUInt32LE(this.#sequence, 8);
    socket.send(this.#fd, Buffer.concat([head, body]));
    const answers: Answer[] = [];
    const buffer = Buffer.alloc(receiveBytes);
    for (;;) {
      const length = socket.receive(this.#fd, buffer);
      for (let at = 0; at + 16 <= length;) {
        const size = buffer.readUInt32LE(at);
        const answer = buffer.readUInt16LE(at + 4);
        const mine = buffer.readUInt32LE(at + 8) === this.#sequence;
        if (mine && answer === message.done) return answers;
        if (mine && answer === message.error) {
          const code = -buffer.readInt32LE(at + 16);
          if (code !== 0) throw new KernelError(object, operation, code);
          return answers;
        }
        if (mine) answers.push({ type: answer, body: Buffer.from(buffer.subarray(at + 16, at + size)) });
        at += (size + 3) & ~3;
      }
    }
  }
}

/** Runs `work` and takes the kernel's "already so" (or "not there") as success. */
export function tolerate(codes: readonly (keyof typeof errno)[], work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof KernelError) || !codes.some((code) => errno[code] === error.errno)) throw error;
  }
}
