// Random frames through the programs on one set of tables, each compared with the model: verdict, reason, record, counter and the frame that
// comes out; at the end the table of connections and who pays for them.
import { isDeepStrictEqual } from 'node:util';
import { heldOf, setQuota } from '../../agent/datapath/usage.ts';
import type { EndpointRow } from '../../agent/endpoint/tables.ts';
import { RESERVED } from '../../agent/identity/reserved.ts';
import type { IpcacheRow } from '../../agent/ipcache/tables.ts';
import { identityOf, makeWorld, type World } from '../../agent/policy/offline.ts';
import { makeRandom } from '../../agent/policy/random-cases.ts';
import { PolicyReconciler } from '../../agent/policy/reconciler.ts';
import { verdict } from '../../agent/policy/verdict.ts';
import { drop_reason, flow_event, limit } from '../types.gen.ts';
import { Bench, here } from './bench.ts';
import { Model, type Expected, type Place, type Program } from './model.ts';
import { randomFrame, type Scene, type Ways } from './random-frames.ts';

const pods = ['self', 'open', 'guarded'] as const;
const address = { ipv4: (index: number): string => `10.0.0.${index + 1}`, ipv6: (index: number): string => `fd00::${index + 1}` };
const host = { ipv4: '10.0.0.254', ipv6: 'fd00::fe' };
/** Of another node. */
const far = { ipv4: '10.0.1.1', ipv6: 'fd00:1::1', node: '192.0.2.9' };
const stranger = { ipv4: '10.0.0.9', ipv6: 'fd00::9' };
const mac = '02:00:00:00:00:01';
const families = ['ipv4', 'ipv6'] as const;

/** Who is from where to where at each program. Its own workload never writes to `far`: where that goes is for the machine's routes to say. */
const ways: Readonly<Record<Program, (self: string, open: string, guarded: string, host: string, far: string, stranger: string) => Ways>> = {
  from_workload: (self, open, guarded, node, _, nobody) => ({ from: [self], to: [open, guarded, node], strayFrom: [open, guarded, node], strayTo: [nobody] }),
  to_workload: (self, open, guarded, node, remote, nobody) => ({ from: [node, node, remote, open, guarded], to: [self], strayFrom: [nobody], strayTo: [open, guarded] }),
  from_netdev: (self, open, guarded, node, remote, nobody) => ({ from: [remote], to: [self, self, open, guarded], strayFrom: [nobody, node, open], strayTo: [node, nobody] }),
  from_overlay: (self, open, guarded, node, remote, nobody) => ({ from: [remote], to: [self, open, guarded], strayFrom: [nobody, open], strayTo: [node] }),
};
const sceneOf = (program: Program): Scene => {
  const [ipv4, ipv6] = families.map((family) => ways[program](address[family](0), address[family](1), address[family](2), host[family], far[family], stranger[family])) as [Ways, Ways];
  return { mac, ipv4, ipv6 };
};
/** How often each one runs. */
const scenes = (['from_workload', 'from_workload', 'from_workload', 'from_workload', 'to_workload', 'to_workload', 'to_workload', 'from_netdev', 'from_netdev', 'from_overlay'] as const)
  .map((program) => ({ program, scene: sceneOf(program) }));

const ports = (...list: [string, string][]): object => ({ toPorts: [{ ports: list.map(([port, protocol]) => ({ port, protocol })) }] });
const selects = (app: string): object => ({ matchLabels: { app } });
const policies = [
  { spec: { endpointSelector: selects('self'), egress: [
    { toEndpoints: [selects('open')] }, { toEndpoints: [selects('guarded')], ...ports(['80', 'ANY'], ['443', 'TCP'], ['9000', 'SCTP']) },
    { toEntities: ['host'], ...ports(['53', 'UDP'], ['80', 'TCP']) }, { toEntities: ['host'], icmps: [{ fields: [{ family: 'IPv4', type: 8 }, { family: 'IPv6', type: 128 }] }] },
  ], egressDeny: [{ toEndpoints: [selects('open')], ...ports(['81', 'TCP']) }],
  ingress: [{ fromEntities: ['host'] }, { fromEndpoints: [selects('far')], ...ports(['80', 'TCP'], ['53', 'ANY']) }, { fromEndpoints: [selects('far')], icmps: [{ fields: [{ family: 'IPv4', type: 8 }, { family: 'IPv6', type: 128 }] }] }],
  ingressDeny: [{ fromEntities: ['host'], ...ports(['443', 'TCP']) }] } },
  { spec: { endpointSelector: selects('guarded'), ingress: [{ fromEndpoints: [selects('self')], ...ports(['80', 'TCP'], ['9000', 'SCTP']) }], ingressDeny: [{ fromEndpoints: [selects('self')], ...ports(['443', 'TCP']) }] } },
].map((policy, index) => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: `p${index}`, namespace: 'default' }, ...policy }));

const makeScene = (): World => makeWorld({
  ipv6: true, namespaces: { default: {} }, policies, endpoints: [...pods, 'far'].map((name) => ({ name, namespace: 'default', labels: { app: name } })),
});

const ifindexOf = (index: number): number => (index === 0 ? here : 100 + index);
const sorted = (drops: ReadonlyMap<number, number>): [number, number][] => [...drops].sort(([a], [b]) => a - b);
/** What runs together is over before the second after which talk goes on behind a reset. */
const framesAtOnce = 250;

const denialOf = { 'none': 0, 'allow': 0, 'deny': drop_reason.DROP_POLICY_DENY, 'default-deny': drop_reason.DROP_POLICY_DENIED } as const;

export interface Difference { /** Of the frame that is judged otherwise, among those given. */ readonly number: number; readonly expected: Expected | undefined; readonly found: object }

/** A frame and the program that sees it. As text, `program hex`; without a program it is from_workload. */
export interface Sent { readonly program: Program; readonly frame: Uint8Array }
export const textOfSent = ({ program, frame }: Sent): string => `${program} ${Buffer.from(frame).toString('hex')}`;
export function sentOf(text: string): Sent {
  const [first, second] = text.split(' ') as [string, string?];
  return { program: second === undefined ? 'from_workload' : first as Program, frame: Uint8Array.from(Buffer.from(second ?? first, 'hex')) };
}

/** Of one seed. */
export function framesOf(seed: number, count: number): Sent[] {
  const random = makeRandom(seed);
  return Array.from({ length: count }, () => {
    const { program, scene } = random.pick(scenes);
    return { program, frame: randomFrame(random, scene) };
  }).filter(({ frame }) => isTaken(frame));
}

export class Fuzz {
  readonly #bench = new Bench();
  readonly #world = makeScene();
  readonly #index = new Map<string, number>([...pods.keys()].flatMap((index) => [[address.ipv4(index), index], [address.ipv6(index), index]] as [string, number][]));

  /** Writes the scene as the agent does. */
  async start(): Promise<void> {
    const ends = pods.map((name, index): EndpointRow => ({
      id: this.#world.pods.get(`default/${name}`)!.id, key: `default/${name}`, namespace: 'default', name, uid: name, labels: [], identity: identityOf(this.#world, `default/${name}`),
      ipv4: address.ipv4(index), ipv6: address.ipv6(index), interfaceName: name, ifindex: ifindexOf(index), mac, hostMac: '02:00:00:00:00:fe', namedPorts: [], state: 'ready',
    }));
    const row = (prefix: string, identity: number, ifindex: number, isHost: boolean): IpcacheRow => ({ prefix, identity, ifindex, host: isHost, origin: 'policy' });
    const remote = [`${far.ipv4}/32`, `${far.ipv6}/128`].map((prefix): IpcacheRow => ({ ...row(prefix, identityOf(this.#world, 'default/far'), 0, false), node: far.node, origin: 'remote' }));
    const rows = ends.flatMap((end) => [row(`${end.ipv4}/32`, end.identity, end.ifindex, false), row(`${end.ipv6}/128`, end.identity, end.ifindex, false)]);
    await new PolicyReconciler(this.#bench.datapath).apply(this.#world.image, [...rows, ...remote, row(`${host.ipv4}/32`, RESERVED.host, 0, true), row(`${host.ipv6}/128`, RESERVED.host, 0, true)], ends);
  }

  /** Sends the frames one after another, some at a time on fresh tables. Ends at the first difference. */
  run(sent: readonly Sent[]): Difference | undefined {
    for (let first = 0; first < sent.length; first += framesAtOnce) {
      const found = this.#runOn(sent.slice(first, first + framesAtOnce));
      if (found !== undefined) return { ...found, number: first + found.number };
    }
    return undefined;
  }

  #runOn(sent: readonly Sent[]): Difference | undefined {
    const { datapath } = this.#bench;
    for (const [key] of datapath.conntrack.entries()) datapath.conntrack.delete(key);
    for (const [key] of datapath.fragments.entries()) datapath.fragments.delete(key);
    new Uint8Array(datapath.usage.buffer).fill(0);
    setQuota(datapath.usage, limit.MAX_CONNECTIONS);
    const model = new Model({ self: { ifindex: here, ipv4: address.ipv4(0), ipv6: address.ipv6(0), mac }, place: (to) => this.#place(to), denial: (flow) => this.#denial(flow) });
    const counted = this.#drops();
    let expected: Expected | undefined;
    for (const [number, one] of sent.entries()) {
      expected = model.expect(one.program, one.frame);
      const found = this.#send(one, expected);
      if (found !== undefined) return { number, expected, found };
      if (expected.verdict === 'drop') counted.set(expected.reason, (counted.get(expected.reason) ?? 0) + 1);
    }
    const found = { drops: sorted(this.#drops()), connections: datapath.conntrack.entries().length, paidFor: heldOf(datapath.usage) };
    const wanted = { drops: sorted(counted), connections: model.connections, paidFor: model.connections };
    return isDeepStrictEqual(found, wanted) ? undefined : { number: sent.length - 1, expected, found: { found, wanted } };
  }

  /** Packets by reason, as the kernel counts them: read before and after all frames, as it takes long. */
  #drops(): Map<number, number> {
    const found = new Map<number, number>();
    for (const { reason, packets } of this.#bench.datapath.drops()) found.set(reason, (found.get(reason) ?? 0) + packets);
    return found;
  }

  /** What differs. */
  #send({ program, frame }: Sent, expected: Expected): object | undefined {
    const { verdict: got, packet, records } = this.#bench.run(program, frame);
    const last = records.at(-1);
    const reason = last?.event === flow_event.FLOW_DROP ? last.reason : 0;
    if (got !== expected.verdict || reason !== expected.reason) return { verdict: got, reason };
    if (expected.silent && records.length > 0) return { records: records.length };
    // A connection that is opened on its packet's last hop is told of twice.
    if (records.length > (reason === drop_reason.DROP_TTL_EXCEEDED ? 2 : 1) || (got === 'drop') !== (reason !== 0)) return { records: records.map((one) => [one.event, one.reason]) };
    if ((got === 'pass' || got === 'next') && Buffer.compare(packet, frame) !== 0) return { changed: Buffer.from(packet).toString('hex') };
    if (got === 'redirect' && !isHop(frame, packet)) return { hop: Buffer.from(packet).toString('hex') };
    return undefined;
  }

  #place(at: string): Place | undefined {
    const index = this.#index.get(at);
    if (index !== undefined) return { kind: 'workload', ifindex: ifindexOf(index) };
    if (at === far.ipv4 || at === far.ipv6) return { kind: 'remote' };
    return at === host.ipv4 || at === host.ipv6 ? { kind: 'host' } : undefined;
  }

  #denial({ from, to, protocol, port }: { from: string; to: string; protocol: number; port: number }): number {
    const party = (at: string): string | { entity: string } => (this.#index.has(at) ? `default/${pods[this.#index.get(at)!]!}` : at === host.ipv4 || at === host.ipv6 ? { entity: 'host' } : 'default/far');
    const side = (direction: 'ingress' | 'egress', subject: string, peer: string): number => {
      const end = this.#index.has(subject) ? this.#world.pods.get(String(party(subject))) : undefined; // each node judges its own
      const answer = verdict(this.#world.image, {
        policy: end === undefined ? undefined : this.#world.image.ofEndpoint.get(end.id)?.[direction],
        class: this.#world.image.classOfIdentity.get(identityOf(this.#world, party(peer)))!, protocol, port,
      });
      return denialOf[answer.action];
    };
    return side('egress', from, to) || side('ingress', to, from);
  }

  close(): void { this.#bench.close(); }
}

/** bpf_prog_test_run itself wants a whole IP header (net/bpf/test_run.c). */
function isTaken(frame: Uint8Array): boolean {
  if (frame.length < 14) return false;
  const type = Buffer.from(frame).readUInt16BE(12);
  return frame.length > 14 && !(type === 0x0800 && frame.length < 34) && !(type === 0x86dd && frame.length < 54);
}

/** Only MAC addresses, the hop limit and the sum over it differ, by exactly one hop (RFC 1624). */
function isHop(sent: Uint8Array, got: Uint8Array): boolean {
  const expected = Buffer.from(sent);
  expected.fill(Buffer.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe]), 0, 12);
  const is4 = expected.readUInt16BE(12) === 0x0800;
  const at = is4 ? 22 : 21;
  expected[at]! -= 1;
  if (is4) {
    const sum = expected.readUInt16BE(24) + 0x0100;
    expected.writeUInt16BE((sum & 0xffff) + (sum >> 16), 24);
  }
  return Buffer.compare(expected, got) === 0;
}
