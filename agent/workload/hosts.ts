// The hosts file of a workload, bound to its /etc/hosts: itself and its hostAliases, as kubelet writes them. Other names come by DNS (agent/names).
import { closeSync, constants, fchmodSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { domainOf, labelOf } from './pods-names.ts';
import type { PodRow } from './tables.ts';

const localLines = ['127.0.0.1 localhost', '::1 localhost ip6-localhost ip6-loopback'];

/** A program that asks for its own name (many servers do when they start) waits for no name server. */
export function hostsText(pod: Pick<PodRow, 'namespace' | 'name' | 'hostname' | 'subdomain' | 'hostAliases'>, addresses: readonly string[]): string {
  const domain = domainOf(pod);
  const label = labelOf(pod);
  const names = domain === undefined ? label : `${label}.${domain} ${label}`;
  const aliases = (pod.hostAliases ?? []).filter(({ hostnames }) => hostnames.length > 0).map(({ ip, hostnames }) => `${ip} ${hostnames.join(' ')}`);
  return `${[...localLines, ...addresses.map((address) => `${address} ${names}`), ...aliases].join('\n')}\n`;
}

/** A file that is bind-mounted: a new inode would not be seen. Readers may meet it half written for a moment. */
export function writeInPlace(path: string, text: string): void {
  const bytes = Buffer.from(text);
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    fchmodSync(file, 0o644);
    writeSync(file, bytes, 0, bytes.length, 0);
    ftruncateSync(file, bytes.length);
  } finally {
    closeSync(file);
  }
}
