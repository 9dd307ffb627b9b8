// Where a gRPC server of ours listens: a unix socket that only its owner can open, TCP with TLS on both sides.
import { rmSync } from 'node:fs';
import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { Certificates, type TlsFiles } from './certificates.ts';
import { RequestError } from './errors.ts';
import type { GrpcServer } from './grpc/server.ts';

export interface Listen {
  /** `:PORT`, `HOST:PORT`, `[IPV6]:PORT`. */
  readonly address: string;
  /** Absent: plaintext, which is for loopback alone and only when `insecure` says so. */
  readonly tls?: TlsFiles;
  readonly insecure?: boolean;
}

export interface Listening { readonly port: number; readonly close: () => void }

/** Who comes while others are being taken; a unix socket refuses those beyond at once. At most net.core.somaxconn. */
const backlog = 4_096;

const bind = async (listener: Server, where: ListenOptions): Promise<void> => new Promise((resolve, reject) => {
  listener.once('error', reject);
  listener.listen({ ...where, backlog }, () => { listener.off('error', reject); resolve(); });
});

/** The folder of the socket must exist. The result removes the socket. */
export async function listenUnix(server: GrpcServer, path: string): Promise<() => void> {
  rmSync(path, { force: true });
  const mask = process.umask(0o177); // the socket is 0600 from its first moment
  try {
    await bind(server.listener(), { path });
  } finally {
    process.umask(mask);
  }
  return () => { rmSync(path, { force: true }); };
}

export function splitAddress(text: string): { readonly host: string; readonly port: number } {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s/]*):([0-9]{1,5})$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new RequestError(`${text}: not an address; use :PORT, HOST:PORT or [IPV6]:PORT`);
  return { host, port: Number(port) };
}

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '[::1]' || /^127\.[0-9.]+$/.test(host);

/** Throws RequestError when it may not or cannot listen there. */
export async function listenTcp(server: GrpcServer, listen: Listen, log: (line: string) => void): Promise<Listening> {
  const { host, port } = splitAddress(listen.address);
  const certificates = certificatesOf(listen, host, log);
  const listener = server.listener(certificates?.server());
  if ('setSecureContext' in listener) certificates?.renew(listener);
  try {
    await bind(listener, { port, ...(host !== '' && { host: host.replace(/^\[(.*)\]$/, '$1') }) });
    return { port: (listener.address() as AddressInfo).port, close: () => { certificates?.close(); } };
  } catch (error) {
    certificates?.close();
    throw new RequestError(`listen on ${listen.address}: ${(error as Error).message}`);
  }
}

function certificatesOf({ address, tls, insecure }: Listen, host: string, log: (line: string) => void): Certificates | undefined {
  if (tls !== undefined) {
    const missing = (['certificate', 'key', 'ca'] as const).filter((part) => tls[part] === undefined);
    if (missing.length > 0) throw new RequestError(`listen on ${address}: TLS wants a certificate, its key and the CA of the clients; missing: ${missing.join(', ')}`);
    return new Certificates(tls, log);
  }
  if (insecure !== true) throw new RequestError(`listen on ${address}: flows leave the machine only over TLS; give a certificate, its key and the CA of the clients`);
  if (!isLoopback(host)) throw new RequestError(`listen on ${address}: without TLS only on loopback`);
  return undefined;
}
