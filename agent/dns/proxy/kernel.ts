// What the kernel says of a query, and learns from an answer before the client has it: one run of bpf/dns_tcp.c for each, by the same rules as for UDP.
import { testRun } from '../../kernel/bpf.ts';
import { dns_limit, dns_said, limit } from '../../../bpf/types.gen.ts';
import { word } from './sockets.ts';

export interface Peer { readonly address: string; readonly port: number }
/** Of a client, as both ends see it. */
export interface Connection { readonly client: Peer; readonly server: Peer }

export interface Judge {
  /** Also tells of a refusal. `gone`: the kernel knows no such connection. */
  readonly mayAsk: (of: Connection, query: Buffer) => 'yes' | 'no' | 'gone';
  /** `piece`: an answer with at most so many addresses as the kernel reads at once. False: nobody may get it. */
  readonly learn: (of: Connection, piece: Buffer, latencyNs: bigint) => boolean;
}

/** Any interface: the program's frame is no packet. */
const loopback = 1;
/** struct dns_by_tcp. */
const headBytes = 48;

export function frameOf({ client, server }: Connection, message: Buffer, latencyNs = 0n): Buffer {
  const frame = Buffer.alloc(limit.SWEEP_FIRST + headBytes + message.length);
  const head = frame.subarray(limit.SWEEP_FIRST);
  word(client.address).copy(head, 0);
  word(server.address).copy(head, 16);
  head.writeUInt16BE(client.port, 32);
  head.writeUInt16BE(server.port, 34);
  head.writeBigUInt64LE(latencyNs, 40);
  message.copy(head, headBytes);
  return frame;
}

export const kernelJudge = (program: number): Judge => ({
  mayAsk: (of, query) => {
    // As the program says of it; a test run takes no frame beyond a page.
    if (query.length > dns_limit.DNS_MESSAGE) return 'no';
    const { result } = testRun(program, frameOf(of, query), loopback);
    return result === dns_said.DNS_SAID_YES ? 'yes' : result === dns_said.DNS_SAID_NO ? 'no' : 'gone';
  },
  learn: (of, piece, latencyNs) => testRun(program, frameOf(of, piece, latencyNs), loopback).result === dns_said.DNS_SAID_YES,
});
