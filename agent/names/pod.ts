// kube-dns: weir's own pod with the name server, under a shim like any workload, so that it outlives agents and policies for
// `k8s-app: kube-dns` hold. What it runs on is bound into it: a workload's user may not see the folder of this checkout.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Binding, PodRow } from '../workload/tables.ts';

export const dnsNamespace = 'kube-system';
export const dnsName = 'kube-dns';
export const dnsLabels = { 'k8s-app': 'kube-dns' } as const;
const folder = '/run/names';
const serverFolder = fileURLToPath(new URL('server', import.meta.url));

/** The codec and what it stands on; both have their entry in their own folder. */
function modules(): Binding[] {
  const codec = createRequire(import.meta.url).resolve('dns-packet');
  const addresses = createRequire(codec).resolve('@leichtgewicht/ip-codec');
  return [{ source: dirname(codec), target: `${folder}/node_modules/dns-packet` }, { source: dirname(addresses), target: `${folder}/node_modules/@leichtgewicht/ip-codec` }];
}

/** Changes with everything it runs: a pod of another version is replaced. */
function versionOf(binds: readonly Binding[]): string {
  const hash = createHash('sha256').update(process.version);
  for (const name of readdirSync(serverFolder).filter((one) => !one.endsWith('.test.ts')).sort()) hash.update(name).update(readFileSync(join(serverFolder, name)));
  for (const { source } of binds) hash.update(readFileSync(join(source, 'package.json')));
  return hash.digest('hex').slice(0, 16);
}

/** One per node of a cluster: `kube-dns-NODE`. */
export function dnsPod(namesFolder: string, node: string | undefined): PodRow {
  const name = node === undefined ? dnsName : `${dnsName}-${node}`;
  const codec = modules();
  const flags = ['--max-semi-space-size=1', '--disable-warning=ExperimentalWarning'];
  return {
    key: `${dnsNamespace}/${name}`, namespace: dnsNamespace, name, labels: dnsLabels, serviceAccount: dnsName, restartPolicy: 'Always', terminationGracePeriodMs: 1_000,
    namedPorts: [{ name: 'dns', port: 53, protocol: 'UDP' }, { name: 'dns-tcp', port: 53, protocol: 'TCP' }],
    containers: [{
      name: 'dns', command: [`${folder}/bin/node`, ...flags, `${folder}/server/main.ts`, `${folder}/zone`], workingDir: '/',
      env: { MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '1', WEIR_NAMES_VERSION: versionOf(codec) },
      // Ready once it listens; what it is asked later would only be noise among the flows.
      probes: { startup: { action: { kind: 'tcp', port: 53 }, initialDelayMs: 0, periodMs: 200, timeoutMs: 1_000, successThreshold: 1, failureThreshold: 150 } },
    }],
    binds: [{ source: namesFolder, target: `${folder}/zone` }, { source: serverFolder, target: `${folder}/server` }, ...codec, { source: dirname(process.execPath), target: `${folder}/bin` }],
  };
}
