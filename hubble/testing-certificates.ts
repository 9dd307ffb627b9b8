// Certificates for tests, made by openssl: a CA, and what it signs.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TlsFiles } from './certificates.ts';

const openssl = (args: readonly string[], input = ''): void => { execFileSync('openssl', args, { input, stdio: ['pipe', 'ignore', 'ignore'] }); };

export class TestCa {
  readonly certificate: string;
  readonly #folder: string;
  readonly #key: string;
  #serial = 0;

  constructor(folder: string, name = 'ca') {
    this.#folder = folder;
    this.certificate = join(folder, `${name}.crt`);
    this.#key = join(folder, `${name}.key`);
    openssl(['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${name}`, '-keyout', this.#key, '-out', this.certificate]);
  }

  /** `file`: without its ending; an older certificate of that name is replaced. */
  sign(file: string, dnsName: string): Required<TlsFiles> {
    const path = (ending: string): string => join(this.#folder, `${file}.${ending}`);
    this.#serial += 1;
    writeFileSync(path('ext'), `subjectAltName=DNS:${dnsName},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n`);
    openssl(['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${file}`, '-keyout', path('key.new'), '-out', path('csr')]);
    openssl(['x509', '-req', '-in', path('csr'), '-CA', this.certificate, '-CAkey', this.#key, '-set_serial', String(this.#serial), '-days', '1', '-extfile', path('ext'), '-out', path('crt.new')]);
    execFileSync('mv', [path('key.new'), path('key')]);
    execFileSync('mv', [path('crt.new'), path('crt')]);
    return { certificate: path('crt'), key: path('key'), ca: this.certificate };
  }
}
