// A loaded datapath with as many identities and policies as asked for, compiled and written as the agent does it, and random
// pairs of addresses in it, each allowed, for the programs of judge.c.
import { setQuota } from '../agent/datapath/usage.ts';
import { loadDatapath, type Datapath } from '../agent/datapath/maps.ts';
import type { EndpointRow } from '../agent/endpoint/tables.ts';
import { ipcacheKey, mappedBytes } from '../agent/ipcache/address.ts';
import type { IpcacheRow } from '../agent/ipcache/tables.ts';
import { withMemory } from '../agent/kernel/map.ts';
import { mapUpdate } from '../agent/kernel/bpf.ts';
import { openRing, type Ring } from '../agent/kernel/ring.ts';
import { linesOf, stepsOf } from '../agent/policy/kernel-rows.ts';
import { makeWorld } from '../agent/policy/offline.ts';
import { makeRandom } from '../agent/policy/random-cases.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { limit } from '../bpf/types.gen.ts';
import { judgePath } from './build.ts';

/** As in judge.c. */
export const mostPairs = 16_384;
const pairBytes = 48;
/** struct policy, bounds, step. */
const rowBytes = { policy: 64, line: 64, step: 16 } as const;

/** `policies` objects of `rulesEach` rules each; those with the same subject become one merged policy. `tiers`: a second label, so that there are
 * up to `subjects` x `tiers` classes. */
export interface Size { readonly identities: number; readonly policies: number; readonly subjects: number; readonly tiers: number }

const rulesEach = 4;
const portsEach = 4;
const mostLocal = 8_192;
const namespace = 'default';
const firstIfindex = 100;

const portOf = (rule: number, index: number): number => 1_000 + rule * 100 + index * 10;
/** The peer of an even rule; odd ones take a tier. */
const appOfRule = (policy: number, rule: number, size: Size): number => (policy * 7 + rule) % size.subjects;
const labelsOf = (index: number, size: Size): Record<string, string> => ({
  app: `a${index % size.subjects}`, tier: `t${Math.floor(index / size.subjects) % size.tiers}`, name: `n${index}`,
});

function policyOf(index: number, size: Size): Record<string, unknown> {
  const ingress = Array.from({ length: rulesEach }, (_, rule) => ({
    fromEndpoints: [{ matchLabels: rule % 2 === 0 ? { app: `a${appOfRule(index, rule, size)}` } : { tier: `t${(index + rule) % size.tiers}` } }],
    toPorts: [{ ports: Array.from({ length: portsEach }, (__, at) => ({ port: String(portOf(rule, at)), protocol: 'TCP' })) }],
  }));
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: `p${index}`, namespace },
    spec: { endpointSelector: { matchLabels: { app: `a${index % size.subjects}` } }, ingress } };
}

export const address = (index: number): string => `10.${100 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;

export class World {
  readonly datapath: Datapath;
  readonly #size: Size;
  readonly #reconciler: PolicyReconciler;
  readonly #image: ReturnType<typeof makeWorld>['image'];
  readonly #endpoints: readonly EndpointRow[];
  readonly #identities: readonly number[];
  readonly #ring: Ring;

  private constructor(size: Size) {
    this.#size = size;
    this.datapath = loadDatapath(judgePath);
    setQuota(this.datapath.usage, limit.MAX_CONNECTIONS);
    this.#ring = openRing(this.datapath.flows.fd, limit.RING_BYTES);
    const pods = Array.from({ length: size.identities }, (_, index) => ({ name: `p${index}`, namespace, labels: labelsOf(index, size) }));
    const world = makeWorld({ ipv6: true, namespaces: {}, endpoints: pods, policies: Array.from({ length: size.policies }, (_, index) => policyOf(index, size)) });
    this.#image = world.image;
    this.#identities = world.endpoints.map(({ identity }) => identity);
    this.#endpoints = world.endpoints.slice(0, mostLocal).map((end, index): EndpointRow => ({
      id: end.id, key: `${namespace}/p${index}`, namespace, name: `p${index}`, uid: String(index), labels: [], identity: end.identity, ipv4: address(index), ipv6: `fd00::${index.toString(16)}`,
      interfaceName: `p${index}`, ifindex: firstIfindex + index, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:01', namedPorts: [], state: 'ready',
    }));
    this.#reconciler = new PolicyReconciler(this.datapath);
  }

  static async make(size: Size): Promise<World> {
    const world = new World(size);
    const prefixes = world.#identities.map((identity, index): IpcacheRow => ({ prefix: `${address(index)}/32`, identity, ifindex: index < mostLocal ? firstIfindex + index : 0, host: false, origin: 'endpoint' }));
    await world.#reconciler.apply(world.#image, prefixes, world.#endpoints);
    return world;
  }

  program(name: string): number { return this.datapath.object.programs.get(name)!; }

  /** Random local destinations, a rule of theirs, a random source that it allows. */
  choosePairs(count: number): void {
    withMemory(this.datapath.object.maps.get('pairs')!, mostPairs, (memory) => { this.#writePairs(memory, count); });
    const word = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
    mapUpdate(this.datapath.object.maps.get('pair_mask')!.fd, word(0), word(count - 1), 'pair_mask');
  }

  #writePairs(memory: ArrayBuffer, count: number): void {
    const random = makeRandom(1);
    const view = new DataView(memory);
    const bytes = new Uint8Array(memory);
    for (let pair = 0; pair < count; pair += 1) {
      const at = pair * pairBytes;
      const to = random.below(this.#endpoints.length);
      const policy = this.#policyOf(to, random.below(this.#size.policies));
      const rule = random.below(rulesEach / 2) * 2;
      const from = appOfRule(policy, rule, this.#size) + this.#size.subjects * random.below(Math.floor(this.#size.identities / this.#size.subjects));
      bytes.set(mappedBytes(address(from)), at);
      bytes.set(mappedBytes(address(to)), at + 16);
      view.setUint16(at + 32, 1_024 + pair, false);
      view.setUint16(at + 34, portOf(rule, random.below(portsEach)), false);
      view.setUint32(at + 36, this.#reconciler.numbers.policyId(this.#image.ofEndpoint.get(this.#endpoints[to]!.id)?.ingress), true);
      view.setUint32(at + 40, this.#reconciler.numbers.classId(this.#image.classOfIdentity.get(this.#identities[from]!)!), true);
    }
  }

  /** One of the policies whose subject is this endpoint. */
  #policyOf(endpoint: number, choice: number): number {
    const { policies, subjects } = this.#size;
    return (endpoint % subjects) + subjects * (choice % Math.floor(policies / subjects));
  }

  /** An endpoint that endpoint 0 may reach, and at which port. */
  peerOfFirst(): readonly [endpoint: number, port: number] {
    const { policies, subjects } = this.#size;
    for (let policy = 0; policy < policies; policy += 1) {
      for (let rule = 0; rule < rulesEach; rule += 2) {
        if (policy % subjects !== 0 && appOfRule(policy, rule, this.#size) === 0) return [policy % subjects, portOf(rule, 0)];
      }
    }
    throw new Error('nobody lets endpoint 0 in');
  }

  /** The interface `lo` stands for that of endpoint 0, so that its packets can be run. */
  sendAs(ifindex: number): void {
    const { endpoints, ipcache } = this.datapath;
    const key = ipcacheKey(`${address(0)}/32`);
    endpoints.set(ifindex, endpoints.get(firstIfindex)!);
    ipcache.set(key, { ...ipcache.get(key)!, ifindex });
  }

  get merged(): number { return this.#image.policies.size; }
  /** What the rows of one merged policy take, on average. */
  get policyBytes(): number {
    const bytes = [...this.#image.policies.values()].map((policy) => rowBytes.policy + linesOf(policy.intervals.length) * rowBytes.line + stepsOf(policy) * rowBytes.step);
    return bytes.reduce((sum, one) => sum + one, 0) / bytes.length;
  }
  get locals(): number { return this.#endpoints.length; }
  get classes(): number { return this.#image.classes.size; }

  drain(): void { while (this.#ring.drain(() => {}, 100_000) > 0); }

  close(): void {
    this.#ring.close();
    this.datapath.object.close();
  }
}
