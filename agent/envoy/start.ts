// The L7 proxy of an agent: nothing of it is there before a policy has L7 rules, or an agent before has left it.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ProxyAccess } from '../../hubble/access.ts';
import type { Hooks } from '../datapath/hooks.ts';
import type { Datapath } from '../datapath/maps.ts';
import type { ManifestRow } from '../directory/tables.ts';
import type { Instance } from '../instance.ts';
import type { Netlink } from '../kernel/netlink.ts';
import type { L7Proxy } from '../policy/l7-serving.ts';
import type { Table } from '../store/table.ts';
import { dnsPortOf, firstPortOf, portsPerInstance } from './ports.ts';
import { startEnvoy, type EnvoyStatus, type L7Proxy as Envoy } from './proxy.ts';
import { EnvoyProcess } from './process.ts';
import { startSteering, type Steering } from './steering.ts';

export interface L7Options {
  readonly instance: Instance;
  /** Of the instance. */
  readonly cgroup: string;
  /** `--envoy PATH`. */
  readonly binary?: string;
  readonly netlink: Netlink;
  readonly datapath: Datapath;
  readonly hooks: Hooks;
  readonly mtu: number;
  readonly manifests: Table<ManifestRow>;
  readonly onAccess: (entry: ProxyAccess) => void;
  /** Sets that were refused may be served now. */
  readonly changed: () => void;
  readonly log: (line: string) => void;
}

export interface L7 extends L7Proxy {
  /** Absent: no policy has needed it. */
  readonly status: () => EnvoyStatus | undefined;
  readonly stop: () => Promise<void>;
}

interface Parts { readonly steering: Steering; readonly envoy: Envoy }

export function l7Proxy(options: L7Options): L7 {
  const { instance, cgroup, binary, netlink, datapath, hooks, mtu, manifests, onAccess, changed, log } = options;
  let parts: Parts | undefined;
  let starting: Promise<void> | undefined;
  const start = async (): Promise<void> => {
    const steering = startSteering({ instance, netlink, datapath, hooks, mtu, ports: { first: firstPortOf(instance.name), count: portsPerInstance, dns: dnsPortOf(instance.name) } });
    try {
      const envoy = await startEnvoy({
        instance: instance.name, stateDir: instance.stateDir, cgroup, ...(binary === undefined ? {} : { binary }), steering,
        secretOf: (key) => manifests.get(key)?.object, onAccess, changed, log,
      });
      parts = { steering, envoy };
    } catch (error) {
      steering.stop();
      throw error;
    }
  };
  const proxy: L7 = {
    start: async () => {
      starting ??= start().catch((error: unknown) => {
        starting = undefined;
        throw error;
      });
      return starting;
    },
    portOf: (key) => parts!.envoy.portOf(key),
    serve: async (sets) => parts!.envoy.serve(sets),
    retire: (needed) => { parts?.envoy.retire(needed); },
    status: () => parts?.envoy.status(),
    stop: async () => {
      await parts?.envoy.stop();
      parts?.steering.stop();
    },
  };
  if (existsSync(join(instance.stateDir, 'envoy'))) proxy.start().catch((error: unknown) => { log(String(error)); });
  return proxy;
}

/** Of an agent that died. */
export async function removeEnvoy(instance: Instance, cgroup: string): Promise<void> {
  const folder = join(instance.stateDir, 'envoy');
  if (existsSync(folder)) await new EnvoyProcess({ instance: instance.name, folder, cgroup, attach: () => undefined }).end();
  rmSync(folder, { recursive: true, force: true });
}
