// The proxy of DNS by TCP as enforcement sees it: started when a policy first needs it, adopted, watched. Until it listens the kernel resets
// connections that need it.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Datapath } from '../datapath/maps.ts';
import type { SharedSteering } from '../envoy/start.ts';
import { dnsPortOf } from '../envoy/ports.ts';
import { messageOf } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { whyNoDnsByTcp } from './maps.ts';
import type { Counts } from './proxy/conversation.ts';
import { ProxyProcess } from './proxy-process.ts';

const readyMs = 10_000;
const pollMs = 20;
const lookMs = 1_000;
/** Looks at which nobody listened: it is started anew. */
const mostMissing = 15;
const statusMs = 1_000;

export interface DnsByTcpOptions {
  readonly instance: Instance;
  readonly cgroup: string;
  readonly steering: SharedSteering;
  readonly datapath: Datapath;
  readonly objectPath: string;
  /** It may listen by now. */
  readonly changed: () => void;
  readonly log: (line: string) => void;
}

export interface DnsProxyStatus extends Partial<Counts> { readonly running: boolean; readonly pid: number; readonly restarts: number; readonly port: number; readonly problem?: string }

export interface DnsByTcp {
  /** Resolves when it listens; else why queries by TCP are refused. */
  readonly serve: () => Promise<string | undefined>;
  /** Absent: no policy has needed it. */
  readonly status: () => Promise<DnsProxyStatus | undefined>;
  readonly stop: () => Promise<void>;
}

const folderOf = (instance: Instance): string => join(instance.stateDir, 'dns');

export function dnsByTcp({ instance, cgroup, steering, datapath, objectPath, changed, log }: DnsByTcpOptions): DnsByTcp {
  const folder = folderOf(instance);
  const port = (): number => dnsPortOf(steering.range());
  let kept: ProxyProcess | undefined;
  let look: NodeJS.Timeout | undefined;
  let problem: string | undefined;
  let watching = false;
  let missing = 0;
  const kernel = createHash('sha256').update(readFileSync(objectPath)).update(String(datapath.connections)).digest('hex').slice(0, 16);

  const listens = (): boolean => {
    const { ipv4, ipv6 } = steering.use().listening(port());
    return ipv4 && ipv6;
  };
  const ensure = async (): Promise<void> => {
    const { marks, attachDnsListenHook } = steering.use();
    kept ??= new ProxyProcess({ instance: instance.name, folder, cgroup, attach: attachDnsListenHook });
    kept.makeFolders();
    await kept.ensure({ port: port(), marks, program: datapath.object.programs.get('dns_by_tcp')!, kernel });
    look ??= setInterval(() => { void watch(); }, lookMs).unref();
  };
  const watch = async (): Promise<void> => {
    if (watching) return;
    watching = true;
    try {
      missing = listens() ? 0 : missing + 1;
      if (kept!.keeper === undefined || missing >= mostMissing) {
        log(`the proxy for DNS by TCP ${kept!.keeper === undefined ? `has ended: ${kept!.lastWords()}` : 'does not listen'}; another is started`);
        missing = 0;
        await kept!.end();
        await ensure();
      }
      if (problem !== undefined && listens()) changed();
    } catch (error) {
      log(messageOf(error));
    } finally {
      watching = false;
    }
  };
  const serve = async (): Promise<string | undefined> => {
    const why = whyNoDnsByTcp();
    if (why !== undefined) return `queries by TCP are refused: ${why}`;
    try {
      await ensure();
      for (const deadline = performance.now() + readyMs; !listens() && performance.now() < deadline;) await sleep(pollMs);
      return listens() ? undefined : `queries by TCP are refused: their proxy does not listen yet${kept!.lastWords() === '' ? '' : `: ${kept!.lastWords()}`}`;
    } catch (error) {
      return `queries by TCP are refused: ${messageOf(error)}`;
    }
  };
  return {
    serve: async () => problem = await serve(),
    status: async () => (kept === undefined ? undefined : {
      running: (kept.status?.envoy ?? 0) > 0, pid: kept.status?.envoy ?? 0, restarts: kept.status?.restarts ?? 0, port: port(), ...await countsOf(kept), ...(problem !== undefined && { problem }),
    }),
    stop: async () => {
      clearInterval(look);
      watching = true;
      await removeDnsProxy(instance, cgroup);
    },
  };
}

/** None: it does not answer. */
function countsOf(kept: ProxyProcess): Promise<Partial<Counts>> {
  return new Promise((resolve) => {
    const asked = request({ socketPath: join(kept.runFolder, 'own', 'admin.sock'), timeout: statusMs }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data: string) => { text += data; }).on('end', () => { resolve(JSON.parse(text) as Counts); });
    });
    asked.on('timeout', () => { asked.destroy(); }).on('error', () => { resolve({}); }).end();
  });
}

/** Of an agent that died. */
export async function removeDnsProxy(instance: Instance, cgroup: string): Promise<void> {
  const folder = folderOf(instance);
  if (existsSync(folder)) await new ProxyProcess({ instance: instance.name, folder, cgroup, attach: () => undefined }).end();
  rmSync(folder, { recursive: true, force: true });
}
