// Sockets of a network namespace (sock_diag(7); include/uapi/linux/inet_diag.h): those that are connected to a port, and their end.
// Needs CONFIG_INET_DIAG_DESTROY, and CONFIG_INET_UDP_DIAG for UDP.
import { errno, KernelError } from './errors.ts';
import type { Netlink } from './netlink.ts';

export const netlinkSockDiag = 4;
const byFamily = 20;
const destroy = 21;
const inet = 2;
const families = [inet, 10] as const;
const requestBytes = 56;
const at = { protocol: 1, states: 4, id: 8, remotePort: 10 } as const;
/** struct inet_diag_msg: its id, and the cookie in that. */
const answer = { id: 4, remote: 24, idEnd: 52, cookie: 44 } as const;
/** 1 << TCP_ESTABLISHED and so on: with another end, and with somebody who waits for it. UDP knows connected ones as established. */
const connectedStates = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

export interface ConnectedSocket {
  readonly cookie: bigint;
  readonly family: number;
  readonly protocol: number;
  /** Address of the other end: 4 bytes or 16. */
  readonly remote: Buffer;
  readonly id: Buffer;
}

/** `netlink`: one of netlinkSockDiag. An IPv4 address in an IPv6 socket is found as well. */
export function connectedSockets(netlink: Netlink, protocol: number, remotePort: number): ConnectedSocket[] {
  return families.flatMap((family) => {
    const request = requestOf(family, protocol);
    request.writeUInt32LE(connectedStates, at.states);
    request.writeUInt16BE(remotePort, at.remotePort);
    return netlink.dump(byFamily, request, `sockets of protocol ${protocol}`).filter(({ type }) => type === byFamily)
      .map(({ body }) => ({
        cookie: body.readBigUInt64LE(answer.cookie), family, protocol, remote: body.subarray(answer.remote, answer.remote + (family === inet ? 4 : 16)), id: body.subarray(answer.id, answer.idEnd),
      }));
  });
}

/** Who waits for it gets ECONNABORTED. TCP tells the other end by RST; a UDP socket is not connected any more. False: it had ended by itself. */
export function destroySocket(netlink: Netlink, { family, protocol, id }: ConnectedSocket): boolean {
  const request = requestOf(family, protocol);
  id.copy(request, at.id);
  try {
    netlink.request(destroy, 0, request, 'socket', 'SOCK_DESTROY');
    return true;
  } catch (error) {
    if (error instanceof KernelError && error.errno === errno.ENOENT) return false;
    throw error;
  }
}

function requestOf(family: number, protocol: number): Buffer {
  const request = Buffer.alloc(requestBytes);
  request[0] = family;
  request[at.protocol] = protocol;
  return request;
}
