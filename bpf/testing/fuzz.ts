// Random frames through from_workload, each compared with the model: verdict, reason, record, counter and the frame that comes out.
import { isDeepStrictEqual } from 'node:util';
import { setQuota } from '../../agent/datapath/usage.ts';
import type { EndpointRow } from '../../agent/endpoint/tables.ts';
import { RESERVED } from '../../agent/identity/reserved.ts';
import type { IpcacheRow } from '../../agent/ipcache/tables.ts';
import { identityOf, makeWorld, type World } from '../../agent/policy/offline.ts';
import { makeRandom } from '../../agent/policy/random-cases.ts';
import { PolicyReconciler } from '../../agent/policy/reconciler.ts';
import { verdict } from '../../agent/policy/verdict.ts';
import { drop_reason, flow_event, limit } from '../types.gen.ts';
import { Bench, here } from './bench.ts';
import { Model, type Expected } from './model.ts';
import { randomFrame, type Scene } from './random-frames.ts';

const pods = ['self', 'open', 'guarded'] as const;
const address = { ipv4: (index: number): string => `10.0.0.${index + 1}`, ipv6: (index: number): string => `fd00::${index + 1}` };
const host = { ipv4: '10.0.0.254', ipv6: 'fd00::fe' };
const mac = '02:00:00:00:00:01';
const scene: Scene = {
  mac,
  ipv4: { self: address.ipv4(0), others: [address.ipv4(1), address.ipv4(2), host.ipv4], stranger: '10.0.0.9' },
  ipv6: { self: address.ipv6(0), others: [address.ipv6(1), address.ipv6(2), host.ipv6], stranger: 'fd00::9' },
};

const ports = (...list: [string, string][]): object => ({ toPorts: [{ ports: list.map(([port, protocol]) => ({ port, protocol })) }] });
const selects = (app: string): object => ({ matchLabels: { app } });
const policies = [
  { spec: { endpointSelector: selects('self'), egress: [
    { toEndpoints: [selects('open')] }, { toEndpoints: [selects('guarded')], ...ports(['80', 'ANY'], ['443', 'TCP'], ['9000', 'SCTP']) },
    { toEntities: ['host'], ...ports(['53', 'UDP'], ['80', 'TCP']) }, { toEntities: ['host'], icmps: [{ fields: [{ family: 'IPv4', type: 8 }, { family: 'IPv6', type: 128 }] }] },
  ], egressDeny: [{ toEndpoints: [selects('open')], ...ports(['81', 'TCP']) }] } },
  { spec: { endpointSelector: selects('guarded'), ingress: [{ fromEndpoints: [selects('self')], ...ports(['80', 'TCP'], ['9000', 'SCTP']) }], ingressDeny: [{ fromEndpoints: [selects('self')], ...ports(['443', 'TCP']) }] } },
].map((policy, index) => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: `p${index}`, namespace: 'default' }, ...policy }));

const makeScene = (): World => makeWorld({
  ipv6: true, namespaces: { default: {} }, policies, endpoints: pods.map((name) => ({ name, namespace: 'default', labels: { app: name } })),
});

const denialOf = { 'none': 0, 'allow': 0, 'deny': drop_reason.DROP_POLICY_DENY, 'default-deny': drop_reason.DROP_POLICY_DENIED } as const;

export interface Difference { /** Of the frame that is judged otherwise, among those given. */ readonly number: number; readonly expected: Expected; readonly found: object }

/** Of one seed. */
export function framesOf(seed: number, count: number): Uint8Array[] {
  const random = makeRandom(seed);
  return Array.from({ length: count }, () => randomFrame(random, scene)).filter(isTaken);
}

export class Fuzz {
  readonly #bench = new Bench();
  readonly #world = makeScene();
  readonly #index = new Map<string, number>([...pods.keys()].flatMap((index) => [[address.ipv4(index), index], [address.ipv6(index), index]] as [string, number][]));

  /** Writes the scene as the agent does. */
  async start(): Promise<void> {
    const ends = pods.map((name, index): EndpointRow => ({
      id: this.#world.pods.get(`default/${name}`)!.id, key: `default/${name}`, namespace: 'default', name, uid: name, labels: [], identity: identityOf(this.#world, `default/${name}`),
      ipv4: address.ipv4(index), ipv6: address.ipv6(index), interfaceName: name, ifindex: index === 0 ? here : 100 + index, mac, hostMac: '02:00:00:00:00:fe', namedPorts: [], state: 'ready',
    }));
    const row = (prefix: string, identity: number, ifindex: number, isHost: boolean): IpcacheRow => ({ prefix, identity, ifindex, host: isHost, origin: 'policy' });
    const rows = ends.flatMap((end) => [row(`${end.ipv4}/32`, end.identity, end.ifindex, false), row(`${end.ipv6}/128`, end.identity, end.ifindex, false)]);
    await new PolicyReconciler(this.#bench.datapath).apply(this.#world.image, [...rows, row(`${host.ipv4}/32`, RESERVED.host, 0, true), row(`${host.ipv6}/128`, RESERVED.host, 0, true)], ends);
  }

  /** Sends the frames one after another on fresh tables. Ends at the first difference. */
  run(frames: readonly Uint8Array[]): Difference | undefined {
    const { datapath } = this.#bench;
    for (const [key] of datapath.conntrack.entries()) datapath.conntrack.delete(key);
    for (const [key] of datapath.fragments.entries()) datapath.fragments.delete(key);
    new Uint8Array(datapath.usage.buffer).fill(0);
    setQuota(datapath.usage, limit.MAX_CONNECTIONS);
    const model = new Model({ self: { ipv4: address.ipv4(0), ipv6: address.ipv6(0), mac }, place: (to) => this.#place(to), denial: (flow) => this.#denial(flow) });
    const counted = this.#drops();
    let expected: Expected | undefined;
    for (const [number, frame] of frames.entries()) {
      expected = model.expect(frame);
      const found = this.#send(frame, expected);
      if (found !== undefined) return { number, expected, found };
      if (expected.verdict === 'drop') counted.set(expected.reason, (counted.get(expected.reason) ?? 0) + 1);
    }
    const drops = this.#drops();
    return isDeepStrictEqual(drops, counted) ? undefined : { number: frames.length - 1, expected: expected!, found: { drops: [...drops], counted: [...counted] } };
  }

  /** Packets by reason, as the kernel counts them: read before and after all frames, as it takes long. */
  #drops(): Map<number, number> {
    const found = new Map<number, number>();
    for (const { reason, packets } of this.#bench.datapath.drops()) found.set(reason, (found.get(reason) ?? 0) + packets);
    return found;
  }

  /** What differs. */
  #send(frame: Uint8Array, expected: Expected): object | undefined {
    const { verdict: got, packet, records } = this.#bench.run('from_workload', frame);
    const last = records.at(-1);
    const reason = last?.event === flow_event.FLOW_DROP ? last.reason : 0;
    if (got !== expected.verdict || reason !== expected.reason) return { verdict: got, reason };
    if (expected.silent && records.length > 0) return { records: records.length };
    if (got === 'pass' && Buffer.compare(packet, frame) !== 0) return { changed: Buffer.from(packet).toString('hex') };
    if (got === 'redirect' && !isHop(frame, packet)) return { hop: Buffer.from(packet).toString('hex') };
    return undefined;
  }

  #place(to: string): { kind: 'workload' | 'host' } | undefined {
    if (this.#index.has(to)) return { kind: 'workload' };
    return to === host.ipv4 || to === host.ipv6 ? { kind: 'host' } : undefined;
  }

  #denial({ from, to, protocol, port }: { from: string; to: string; protocol: number; port: number }): number {
    const party = (at: string): string | { entity: string } => (this.#index.has(at) ? `default/${pods[this.#index.get(at)!]!}` : { entity: 'host' });
    const side = (direction: 'ingress' | 'egress', subject: string, peer: string): number => {
      const end = this.#world.pods.get(String(party(subject)));
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
