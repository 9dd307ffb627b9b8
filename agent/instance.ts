// One agent on a machine has an instance name; everything it leaves in the system is named after it,
// so that several agents never meet: folders, pins, cgroup, interfaces.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ConfigError } from './errors.ts';

export const defaultInstance = 'default';

export interface Instance {
  readonly name: string;
  /** Run-time state: sockets, shim state, logs, names; 0700. */
  readonly stateDir: string;
  /** Hubble API (gRPC), 0600. */
  readonly hubbleSocket: string;
  /** weir's own API (gRPC), 0600. */
  readonly apiSocket: string;
  /** Pins, below the mounted bpffs. */
  readonly pinDir: string;
  /** cgroup v2 folder, relative to the root of the cgroup2 mount. */
  readonly cgroup: string;
  /** Every interface of this instance begins with it; at most 7 characters, so that an endpoint id fits behind. */
  readonly interfacePrefix: string;
}

const namePattern = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/;

export function instanceOf(name: string = defaultInstance): Instance {
  if (!namePattern.test(name)) {
    throw new ConfigError(`instance name ${JSON.stringify(name)}: expected at most 32 of a-z, 0-9 and "-"`, 'use for example --instance lab');
  }
  const stateDir = join('/run/weir', name);
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 4);
  return {
    name,
    stateDir,
    hubbleSocket: join(stateDir, 'hubble.sock'),
    apiSocket: join(stateDir, 'api.sock'),
    pinDir: join('/sys/fs/bpf/weir', name),
    cgroup: join('weir', name),
    interfacePrefix: name === defaultInstance ? 'weir_' : `wr${digest}_`,
  };
}
