// Sockets that Node cannot make: they listen for, and speak under, addresses of others, and bear the marks by which routes lead their
// packets (agent/envoy/steering.ts).
import { closeSync } from 'node:fs';
import { isIP, Socket } from 'node:net';
import { socket } from '../../kernel/libc.ts';

const family = { ipv4: 2, ipv6: 10 } as const;
/** SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC. */
const stream = 1 | 0o4000 | 0o2000000;
const [solSocket, solIp, solIpv6] = [1, 0, 41];
const option = { reuseAddress: 2, mark: 36, transparent: 19, bindNoPort: 24, transparent6: 75, only6: 26 } as const;

const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (text: string | undefined): number[] => (text === undefined || text === '' ? [] : text.split(':').flatMap((word) => (word.includes('.') ? pairs(word) : [parseInt(word, 16)])));
  const [front, back] = [words(head), words(tail)];
  return Buffer.from([...front, ...Array.from({ length: tail === undefined ? 0 : 8 - front.length - back.length }, () => 0), ...back].flatMap((word) => [word >> 8, word & 255]));
}
const pairs = (dotted: string): number[] => {
  const [a, b, c, d] = dotted.split('.').map(Number) as [number, number, number, number];
  return [a << 8 | b, c << 8 | d];
};

/** As the kernel's maps have it: IPv4 mapped into IPv6. */
export const word = (address: string): Buffer => (isIP(address) === 6 ? addressBytes(address) : Buffer.concat([Buffer.alloc(10), Buffer.from([255, 255]), addressBytes(address)]));

/** struct sockaddr_in, sockaddr_in6. */
function nameOf(address: string, port: number): Buffer {
  const is6 = isIP(address) === 6;
  const name = Buffer.alloc(is6 ? 28 : 16);
  name.writeUInt16LE(is6 ? family.ipv6 : family.ipv4, 0);
  name.writeUInt16BE(port, 2);
  addressBytes(address).copy(name, is6 ? 8 : 4);
  return name;
}

function boundTo(address: string, port: number, mark: number, options: readonly (readonly [level: number, name: number])[]): number {
  const is6 = isIP(address) === 6;
  const fd = socket.open(is6 ? family.ipv6 : family.ipv4, stream, 0);
  try {
    for (const [level, name] of [...options, is6 ? [solIpv6, option.transparent6] as const : [solIp, option.transparent] as const]) socket.option(fd, level, name, u32(1));
    socket.option(fd, solSocket, option.mark, u32(mark));
    socket.bind(fd, nameOf(address, port));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Bound and not listening yet; what it accepts has the mark too. */
export const listening = (address: string, port: number, mark: number): number =>
  boundTo(address, port, mark, [[solSocket, option.reuseAddress], ...(isIP(address) === 6 ? [[solIpv6, option.only6] as const] : [])]);

/** A connection under the address of `source`, with a port of its own. */
export function dial(source: string, to: { readonly address: string; readonly port: number }, mark: number): Socket {
  const fd = boundTo(source, 0, mark, [[solIp, option.bindNoPort]]);
  // manualStart: it is not connected yet, and would be read from at once.
  const made = new Socket({ fd, readable: true, writable: true, manualStart: true } as ConstructorParameters<typeof Socket>[0]);
  return made.connect({ host: to.address, port: to.port });
}
