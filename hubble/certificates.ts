// TLS from files, for servers and for clients: read again when they change, so that a renewed certificate needs no restart. What does
// not fit together (half written, the key of another certificate) is left alone: the last good set stays, and is told once.
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions, type Server, type TlsOptions } from 'node:tls';
import grpc, { type experimental } from '@grpc/grpc-js';
import { RequestError } from './errors.ts';

export interface TlsFiles {
  /** Chain in PEM. Absent on a client that shows none. */
  readonly certificate?: string;
  readonly key?: string;
  /** Who signs the other side. Absent on a client: the system's. */
  readonly ca?: string;
}

interface Loaded { readonly certificate: Buffer | undefined; readonly key: Buffer | undefined; readonly ca: Buffer | undefined }

const { createCertificateProviderChannelCredentials } = grpc.experimental;
type Provider = experimental.CertificateProvider;
type CaListener = experimental.CaCertificateUpdateListener;
type IdentityListener = experimental.IdentityCertificateUpdateListener;

const checkMs = 1_000;

export class Certificates implements Provider {
  readonly #files: TlsFiles;
  readonly #log: (line: string) => void;
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();
  readonly #servers = new Set<Pick<Server, 'setSecureContext'>>();
  readonly #timer: NodeJS.Timeout;
  #loaded: Loaded;
  #stamp: string;
  /** Sets of files that could not be used. */
  refused = 0;

  /** Throws RequestError when the files are no set that fits together. */
  constructor(files: TlsFiles, log: (line: string) => void, intervalMs = checkMs) {
    this.#files = files;
    this.#log = log;
    this.#stamp = this.#stampOf();
    this.#loaded = load(files);
    this.#timer = setInterval(() => { this.#check(); }, intervalMs);
    this.#timer.unref();
  }

  close(): void { clearInterval(this.#timer); }

  /** Nobody is served whose certificate the CA did not sign. */
  server(): TlsOptions { return { ...contextOf(this.#loaded), requestCert: true, rejectUnauthorized: true }; }
  /** Connections that come after a renewal see what is new. */
  renew(server: Pick<Server, 'setSecureContext'>): void { this.#servers.add(server); }
  client(): grpc.ChannelCredentials { return createCertificateProviderChannelCredentials(this, this.#files.certificate === undefined ? null : this); }

  // The credentials listen before they are ready to be told.
  addCaCertificateListener(listener: CaListener): void { this.#caListeners.add(listener); process.nextTick(() => { this.#tellCa(listener); }); }
  removeCaCertificateListener(listener: CaListener): void { this.#caListeners.delete(listener); }
  addIdentityCertificateListener(listener: IdentityListener): void { this.#identityListeners.add(listener); process.nextTick(() => { this.#tellIdentity(listener); }); }
  removeIdentityCertificateListener(listener: IdentityListener): void { this.#identityListeners.delete(listener); }

  #tellCa(listener: CaListener): void {
    const { ca } = this.#loaded;
    listener(ca === undefined ? null : { caCertificate: ca });
  }

  #tellIdentity(listener: IdentityListener): void {
    const { certificate, key } = this.#loaded;
    listener(certificate === undefined || key === undefined ? null : { certificate, privateKey: key });
  }

  #check(): void {
    const stamp = this.#stampOf();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#loaded = load(this.#files);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.refused += 1;
      this.#log(`${error.message}; the certificate read before stays`);
      return;
    }
    for (const listener of this.#identityListeners) this.#tellIdentity(listener);
    for (const listener of this.#caListeners) this.#tellCa(listener);
    for (const server of this.#servers) server.setSecureContext(contextOf(this.#loaded));
  }

  /** Links of mounted secrets are followed: what they lead to changes. */
  #stampOf(): string {
    return [this.#files.certificate, this.#files.key, this.#files.ca].map((path) => {
      const stat = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
    }).join('\n');
  }
}

const contextOf = ({ certificate: cert, key, ca }: Loaded): SecureContextOptions => ({ ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }) });

function load({ certificate, key, ca }: TlsFiles): Loaded {
  const read = (path: string | undefined): Buffer | undefined => {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new RequestError(`read ${path}: ${(error as Error).message}`);
    }
  };
  const loaded = { certificate: read(certificate), key: read(key), ca: read(ca) };
  try {
    createSecureContext(contextOf(loaded));
  } catch (error) {
    throw new RequestError(`${[certificate, key, ca].filter((path) => path !== undefined).join(', ')}: ${(error as Error).message}`);
  }
  return loaded;
}
