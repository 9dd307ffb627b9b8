// The L7 proxy of an agent: nothing of it is there before a policy has L7 rules, or an agent before has left it.
import { existsSync, readlinkSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProxyAccess } from '../../hubble/access.ts';
import type { ManifestRow } from '../directory/tables.ts';
import type { Instance } from '../instance.ts';
import type { L7Proxy } from '../policy/l7-serving.ts';
import type { Table } from '../store/table.ts';
import { dnsPortOf, Ports, portsPerInstance, rangeOf, type Range } from './ports.ts';
import { startEnvoy, type EnvoyStatus, type L7Proxy as Envoy } from './proxy.ts';
import { Processes } from './processes.ts';
import { ownNetns, startSteering, type Steering, type SteeringOptions } from './steering.ts';

export interface L7Options {
  readonly instance: Instance;
  /** Of the instance. */
  readonly cgroup: string;
  /** `--envoy PATH`. */
  readonly binary?: string;
  readonly steering: SharedSteering;
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

/** Made by whoever needs it first. */
export interface SharedSteering {
  readonly use: () => Steering;
  /** Of the ports that Envoy and the proxy of DNS listen at. */
  readonly range: () => Range;
  readonly stop: () => void;
}

export function sharedSteering(options: Omit<SteeringOptions, 'ports'>): SharedSteering {
  const { name, stateDir } = options.instance;
  let range: Range | undefined;
  let steering: Steering | undefined;
  const claim = (): Range => {
    if (range === undefined) {
      range = rangeOf(name, dirname(stateDir), readlinkSync(ownNetns));
      new Ports(stateDir, range); // from now on other instances see it
    }
    return range;
  };
  return {
    range: claim,
    use: () => {
      const taken = claim();
      return steering ??= startSteering({ ...options, ports: { first: taken.first, count: portsPerInstance, dns: dnsPortOf(taken) } });
    },
    stop: () => { steering?.stop(); },
  };
}

export function l7Proxy(options: L7Options): L7 {
  const { instance, cgroup, binary, steering, manifests, onAccess, changed, log } = options;
  let envoy: Envoy | undefined;
  let starting: Promise<void> | undefined;
  const start = async (): Promise<void> => {
    envoy = await startEnvoy({
      instance: instance.name, stateDir: instance.stateDir, cgroup, ports: steering.range(), ...(binary === undefined ? {} : { binary }), steering: steering.use(),
      secretOf: (key) => manifests.get(key)?.object, onAccess, changed, log,
    });
  };
  const proxy: L7 = {
    start: async () => {
      starting ??= start().catch((error: unknown) => {
        starting = undefined;
        throw error;
      });
      return starting;
    },
    portOf: (key) => envoy!.portOf(key),
    serve: async (sets) => envoy!.serve(sets),
    retire: (needed) => { envoy?.retire(needed); },
    status: () => envoy?.status(),
    stop: async () => { await envoy?.stop(); },
  };
  if (existsSync(join(instance.stateDir, 'envoy'))) proxy.start().catch((error: unknown) => { log(String(error)); });
  return proxy;
}

/** Of an agent that died. */
export async function removeEnvoy(instance: Instance, cgroup: string): Promise<void> {
  const folder = join(instance.stateDir, 'envoy');
  if (existsSync(folder)) await new Processes({ instance: instance.name, folder, cgroup, attach: () => undefined, hasAll: () => false, sockets: () => new Map(), log: () => undefined }).end();
  rmSync(folder, { recursive: true, force: true });
}
