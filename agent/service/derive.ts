// One service, its slices and the node's addresses -> its frontends and their backends. Pure; what is shared between services is put together
// in follow.ts.
import type { BackendRow, FrontendRow, Scope, ServicePort, ServiceProtocol, ServiceRow, SliceRow } from './tables.ts';
import { defaultWeight } from './words.ts';

export interface NodeView {
  readonly node: string;
  /** Those at which node ports are reached. */
  readonly addresses: readonly string[];
  /** Where a service leaves it open. */
  readonly maglev: boolean;
  readonly dsr: boolean;
}

export interface Derived { readonly frontends: readonly FrontendRow[]; readonly backends: readonly BackendRow[] }

/** By these nobody else on the node gets the port (bpf/socket_bind.c). */
const anyAddress = ['0.0.0.0', '::'];

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);
export const backendKey = (address: string, port: number, protocol: ServiceProtocol): string => `${bracketed(address)}:${port}/${protocol}`;
export const frontendKey = (address: string, port: number, protocol: ServiceProtocol, scope: Scope): string => `${backendKey(address, port, protocol)} ${scope}`;

interface Candidate extends BackendRow { readonly ready: boolean; readonly serving: boolean; readonly terminating: boolean; readonly weight: number }

/** Those of one list, in its order; `weights` is absent where all are the same. */
interface Spread { readonly backends: readonly string[]; readonly weights?: readonly number[] }

/** Those of one port and family, by address: an address that stands twice counts once. */
function candidatesOf({ name, protocol }: ServicePort, family: 4 | 6, slices: readonly SliceRow[]): Candidate[] {
  const found = new Map<string, Candidate>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    const target = slice.ports.find((port) => port.name === name && port.protocol === protocol)?.port;
    if (target === undefined) continue;
    for (const { addresses, ready, serving, terminating, node, pod, weight = defaultWeight } of slice.endpoints) {
      for (const address of addresses) {
        const key = backendKey(address, target, protocol);
        if (found.get(key)?.ready !== true) {
          found.set(key, { key, address, port: target, protocol, state: 'active', ready: ready && !terminating, serving, terminating, weight, ...(node === undefined ? {} : { node }), ...(pod === undefined ? {} : { pod }) });
        }
      }
    }
  }
  return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Ready ones; where there are none, those that still serve while they end (KEP-1669). */
function chosen(candidates: readonly Candidate[]): Candidate[] {
  const ready = candidates.filter((one) => one.ready);
  return ready.length > 0 ? ready : candidates.filter((one) => one.terminating && one.serving);
}

function spreadOf(list: readonly Candidate[]): Spread {
  const backends = list.map(({ key }) => key);
  return list.every(({ weight }) => weight === list[0]!.weight) ? { backends } : { backends, weights: list.map(({ weight }) => weight) };
}

export function deriveService(service: ServiceRow, slices: readonly SliceRow[], view: NodeView): Derived {
  if (service.headless || service.type === 'ExternalName') return { frontends: [], backends: [] };
  const frontends: FrontendRow[] = [];
  const backends = new Map<string, BackendRow>();
  for (const port of service.ports) {
    for (const family of [4, 6] as const) {
      const isFamily = (address: string): boolean => address.includes(':') === (family === 6);
      if (!service.clusterIps.some(isFamily)) continue;
      const candidates = candidatesOf(port, family, slices);
      const here = candidates.filter(({ node }) => node === view.node);
      const [all, local] = [chosen(candidates), chosen(here)];
      const active = new Set([...all, ...local].map(({ key }) => key));
      // A pod that is not ready, or is going, keeps the connections that it has.
      for (const { ready: _, serving, terminating, weight, ...row } of candidates) backends.set(row.key, { ...row, state: active.has(row.key) ? 'active' : 'terminating' });
      const lists = { all: spreadOf(all), local: spreadOf(local) };
      frontends.push(...frontendsOf(service, port, isFamily, lists, view));
    }
  }
  return { frontends, backends: [...backends.values()] };
}

function frontendsOf(service: ServiceRow, port: ServicePort, isFamily: (address: string) => boolean, lists: { readonly all: Spread; readonly local: Spread }, view: NodeView): FrontendRow[] {
  const { key, clusterIps, externalIps, loadBalancerIps, affinitySeconds = 0, internalLocal, externalLocal, sourceRanges, forwarding } = service;
  const row = (kind: FrontendRow['kind'], address: string, number: number, scope: Scope): FrontendRow => {
    const local = kind === 'ClusterIP' ? internalLocal : scope === 'external' && externalLocal;
    const outside = scope === 'external';
    const spread = local ? lists.local : lists.all;
    return {
      key: frontendKey(address, number, port.protocol, scope), address, port: number, protocol: port.protocol, scope, service: key, portName: port.name, kind, affinitySeconds, local,
      sourceRanges: outside && kind === 'LoadBalancer' ? sourceRanges : [],
      maglev: spread.weights !== undefined || (outside && (forwarding.algorithm === undefined ? view.maglev : forwarding.algorithm === 'maglev')),
      dsr: outside && (forwarding.mode === undefined ? view.dsr : forwarding.mode === 'dsr'),
      ...spread,
    };
  };
  const both = (kind: FrontendRow['kind'], addresses: readonly string[], number: number): FrontendRow[] =>
    addresses.filter(isFamily).flatMap((address) => (['cluster', 'external'] as const).map((scope) => row(kind, address, number, scope)));
  return [
    ...clusterIps.filter(isFamily).map((address) => row('ClusterIP', address, port.port, 'cluster')),
    ...both('ExternalIP', externalIps, port.port),
    ...both('LoadBalancer', loadBalancerIps, port.port),
    ...(port.nodePort === undefined ? [] : [...both('NodePort', view.addresses, port.nodePort), ...anyAddress.filter(isFamily).map((address) => row('NodePort', address, port.nodePort!, 'cluster'))]),
  ];
}
