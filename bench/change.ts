// From a policy file's write to the kernel, with the recorded set of 1,000 policies and 5,000 endpoints in force: the agent's own
// directory, tables, compiler, loop and maps, without workloads.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Enforcement } from '../agent/datapath/enforcement.ts';
import { loadDatapath, type Datapath } from '../agent/datapath/maps.ts';
import { reflectDirectory } from '../agent/directory/reflector.ts';
import { manifestTable, problemTable } from '../agent/directory/tables.ts';
import { endpointTable, type EndpointRow } from '../agent/endpoint/tables.ts';
import { IdentityAllocator } from '../agent/identity/allocator.ts';
import { podIdentityLabels } from '../agent/identity/labels.ts';
import { identityTable } from '../agent/identity/tables.ts';
import { ipcacheTable } from '../agent/ipcache/tables.ts';
import { nodeAddressTable, nodeTable, remoteEndpointTable } from '../agent/node/tables.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { PolicySet } from '../agent/policy/reflector.ts';
import { policyTable } from '../agent/policy/tables.ts';
import { objectPath } from '../bpf/build.ts';
import { readScale, type Scale } from './policy-input.ts';
import { atMost, type Figure } from './table.ts';

const rounds = 200;
const restMs = 60;
const firstIfindex = 10_000;
type Policy = Readonly<Record<string, unknown>>;

/** Tells when the generation word is written. */
function watchFlips(datapath: Datapath): () => Promise<number> {
  const { control } = datapath;
  const write = control.set.bind(control);
  let flipped: (atMs: number) => void = () => undefined;
  control.set = (key, row) => {
    write(key, row);
    flipped(performance.now());
  };
  return () => new Promise((resolve) => { flipped = resolve; });
}

function endpointRows({ endpoints, namespaces }: Scale, allocator: IdentityAllocator): EndpointRow[] {
  return endpoints.map(({ name, namespace, labels, serviceAccount = 'default', namedPorts = [] }, index): EndpointRow => {
    const key = `${namespace}/${name}`;
    const own = podIdentityLabels({ labels, namespace, serviceAccount, namespaceLabels: namespaces[namespace]?.labels ?? {} });
    const at = index + 1;
    return {
      id: at, key, namespace, name, uid: key, labels: own, identity: allocator.use(key, 'workload', own)!, ipv4: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, ipv6: `fd00::${at.toString(16)}`,
      interfaceName: `bench${at}`, ifindex: firstIfindex + at, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts, state: 'ready',
    };
  });
}

/** Through another name and a rename, as editors and configuration tools do. */
function write(dir: string, index: number, policy: Policy): void {
  const path = join(dir, `${index}.yaml`);
  writeFileSync(`${path}.new`, JSON.stringify(policy));
  renameSync(`${path}.new`, path);
}

const changed = (policy: Policy, round: number): Policy => {
  const spec = policy['spec'] as { ingress?: readonly object[] };
  return { ...policy, spec: { ...spec, ingress: [...spec.ingress ?? [], { fromEndpoints: [{ matchLabels: { app: `app-${round}` } }], toPorts: [{ ports: [{ port: String(7_000 + round), protocol: 'TCP' }] }] }] } };
};

export async function change(): Promise<Figure[]> {
  const scale = readScale();
  const dir = mkdtempSync(join(tmpdir(), 'weir-bench-change-'));
  scale.policies.forEach((policy, index) => { write(dir, index, policy); });
  const datapath = loadDatapath(objectPath);
  const nextFlip = watchFlips(datapath);
  const [manifests, problems, endpoints, identities, ipcache] = [manifestTable(), problemTable(), endpointTable(), identityTable(), ipcacheTable()];
  const allocator = new IdentityAllocator(identities);
  endpoints.write(endpointRows(scale, allocator));
  const enforcement = new Enforcement({
    policies: new PolicySet(manifests, policyTable(), problems), endpoints, identities, allocator, nodeAddresses: nodeAddressTable(), ipcache, nodes: nodeTable(), remoteEndpoints: remoteEndpointTable(),
    reconciler: new PolicyReconciler(datapath), applied: async () => Promise.resolve(), open: () => undefined, log: (line) => { throw new Error(line); },
  });
  const first = nextFlip();
  const directory = await reflectDirectory({ dir, display: dir, manifests, problems });
  try {
    await first;
    await enforcement.settled();
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await sleep(restMs);
      const flip = nextFlip();
      const before = performance.now();
      const index = (round * 17) % scale.policies.length;
      write(dir, index, changed(scale.policies[index]!, round));
      times.push(await flip - before);
      await enforcement.settled();
    }
    times.sort((a, b) => a - b);
    const at = (part: number): number => times[Math.min(rounds - 1, Math.floor(rounds * part))]!;
    return [
      { name: 'file write to generation flip, P50', value: at(0.5), unit: 'ms' },
      { name: 'file write to generation flip, P99', value: at(0.99), unit: 'ms', ...atMost(50, at(0.99), ' ms') },
      { name: 'file write to generation flip, slowest of 200', value: times.at(-1)!, unit: 'ms' },
    ];
  } finally {
    directory.stop();
    await enforcement.stop();
    datapath.object.close();
    rmSync(dir, { recursive: true });
  }
}
