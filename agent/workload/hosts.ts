// The text of a namespace's hosts file, bound to /etc/hosts of its workloads: how they find each other by name.
// NAME within the namespace, NAME.NAMESPACE from everywhere; a Deployment's name stands for all its replicas.
import { closeSync, constants, fchmodSync, ftruncateSync, openSync, writeSync } from 'node:fs';

export interface HostsRow {
  readonly namespace: string;
  readonly name: string;
  readonly owner?: { readonly name: string };
  readonly addresses: readonly string[];
}

const localLines = ['127.0.0.1 localhost', '::1 localhost ip6-localhost ip6-loopback'];

export function hostsFile(namespace: string, rows: readonly HostsRow[]): string {
  const lines = rows.flatMap((row) => {
    const names = row.owner === undefined || row.owner.name === row.name ? [row.name] : [row.name, row.owner.name];
    const all = names.flatMap((name) => (row.namespace === namespace ? [name, `${name}.${row.namespace}`] : [`${name}.${row.namespace}`]));
    return row.addresses.map((address) => `${address} ${all.join(' ')}`);
  });
  return `${[...localLines, ...lines.sort()].join('\n')}\n`;
}

/** In place: the file is bind-mounted, a new inode would not be seen. Readers may meet it half written for a moment. */
export function writeHosts(path: string, text: string): void {
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
