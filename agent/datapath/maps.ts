// The loaded programs with their maps, typed by the generated interfaces: what the reconcilers of all features write to.
import { dnsAttachTypes, dnsMaps, whyNoDnsByTcp, type DnsMaps } from '../dns/maps.ts';
import { attachType } from '../kernel/bpf.ts';
import { codecOf, type Codec } from '../kernel/codec.ts';
import { BpfMap, mapMemory, perCpuSums, possibleCpus } from '../kernel/map.ts';
import { loadObject, type LoadedMap, type LoadedObject, type LoadOptions } from '../kernel/object.ts';
import { direction as directions, drop_reason, limit, type Bounds, type Control, type CtEntry, type CtKey, type Endpoint, type FlowRecord, type FragmentKey, type FragmentValue, type IpcacheKey,
  type IpcacheValue, type NatKey, type NatValue, type Netdev, type NetnsQuestion, type Overlay, type Policy, type Proxy, type ProxyKey, type ProxyListener, type ProxyShare, type ServiceClient, type SockPeer, type SockPeerKey, type Step } from '../../bpf/types.gen.ts';

export interface Datapath {
  readonly object: LoadedObject;
  readonly control: BpfMap<number, Control>;
  readonly endpoints: BpfMap<number, Endpoint>;
  readonly ipcache: BpfMap<IpcacheKey, IpcacheValue>;
  readonly policies: BpfMap<number, Policy>;
  readonly bounds: BpfMap<number, Bounds>;
  readonly steps: BpfMap<number, Step>;
  readonly conntrack: BpfMap<CtKey, CtEntry>;
  readonly nat: BpfMap<NatKey, NatValue>;
  readonly fragments: BpfMap<FragmentKey, FragmentValue>;
  readonly netdevs: BpfMap<number, Netdev>;
  readonly overlays: BpfMap<number, Overlay>;
  /** Key: cookie of a network namespace. */
  readonly serviceClients: BpfMap<bigint, ServiceClient>;
  readonly netnsQuestions: BpfMap<number, NetnsQuestion>;
  readonly sockPeers: BpfMap<SockPeerKey, SockPeer>;
  /** Port of Envoy, by what was judged. */
  readonly proxyPorts: BpfMap<ProxyKey, number>;
  readonly proxies: BpfMap<number, Proxy>;
  /** Cookie of the listening socket. */
  readonly proxyListeners: BpfMap<ProxyListener, bigint>;
  /** By endpoint id (agent/envoy/workers.ts). */
  readonly proxyMoves: BpfMap<number, number>;
  readonly proxyShares: BpfMap<number, ProxyShare>;
  /** struct proxy_use, by endpoint id (proxy-share.ts). */
  readonly proxyUses: DataView;
  /** struct class_line, for `withMemory`. */
  readonly classRows: LoadedMap;
  /** How many rows the conntrack table may have. */
  readonly connections: number;
  /** 16 bytes each: struct usage, by endpoint id. */
  readonly usage: DataView;
  readonly flows: LoadedMap;
  readonly flowRecord: Codec<FlowRecord>;
  /** Over all CPUs; `which` of enum counter. */
  readonly counter: (which: number) => bigint;
  /** Packets that were dropped, by reason and direction; the most first. */
  readonly drops: () => readonly DropCount[];
  /** struct rule_key -> struct rule_count. */
  readonly ruleCounts: LoadedMap;
  readonly dns: DnsMaps;
}

const number: Codec<number> = {
  size: 4,
  encode: (value) => new Uint8Array(new Uint32Array([value]).buffer),
  decode: (view, offset) => view.getUint32(offset, true),
};
const cookie: Codec<bigint> = {
  size: 8,
  encode: (value) => new Uint8Array(new BigUint64Array([value]).buffer),
  decode: (view, offset) => view.getBigUint64(offset, true),
};

export interface DropCount { readonly reason: number; readonly direction: number; readonly packets: number; readonly bytes: number }

const dropCounts = (map: LoadedMap, cpus: number): DropCount[] => Object.values(drop_reason)
  .flatMap((reason) => Object.values(directions).map((direction) => {
    const [packets, bytes] = perCpuSums(map, reason << 2 | direction, cpus);
    return { reason, direction, packets: Number(packets), bytes: Number(bytes) };
  }))
  .filter(({ packets }) => packets > 0).sort((a, b) => b.packets - a.packets);

export const droppedIn = (drops: readonly DropCount[]): number => drops.reduce((sum, { packets }) => sum + packets, 0);

export interface DatapathOptions {
  /** Maps are kept there and found again. */
  readonly pinDir?: string;
  /** How many the conntrack table holds; MAX_CONNECTIONS unless it is given. */
  readonly connections?: number;
  /** Rows of other maps, where they are not those of lib/maps.h. */
  readonly maxEntries?: Readonly<Record<string, number>>;
}

/** How build/weir.o is loaded, also where it is only tried: programs of one PROG_ARRAY must agree on the expected_attach_type. */
export const loading: Pick<LoadOptions, 'attachTypes' | 'leave'> = {
  attachTypes: {
    from_workload: attachType.tcxIngress, to_workload: attachType.tcxEgress, from_netdev: attachType.tcxIngress, from_overlay: attachType.tcxIngress,
    from_proxy: attachType.tcxIngress, to_netdev: attachType.tcxEgress,
    ...dnsAttachTypes(attachType.tcxIngress, attachType.tcxEgress),
  },
  leave: whyNoDnsByTcp() === undefined ? [] : ['dns_by_tcp'],
};

/** Loads build/weir.o. */
export function loadDatapath(objectPath: string, { pinDir, connections = limit.MAX_CONNECTIONS, maxEntries = {} }: DatapathOptions = {}): Datapath {
  const object = loadObject(objectPath, {
    ...(pinDir === undefined ? {} : { pinDir }),
    maxEntries: { conntrack: connections, nat: 2 * connections, translations: connections, ...maxEntries },
    ...loading,
  });
  const map = (name: string): LoadedMap => object.maps.get(name)!;
  const layout = <Row>(name: string): Codec<Row> => codecOf<Row>(object.btf.struct(name));
  const cpus = possibleCpus();
  return {
    object,
    control: new BpfMap(map('control_words'), number, layout<Control>('control')),
    endpoints: new BpfMap(map('endpoints'), number, layout<Endpoint>('endpoint')),
    ipcache: new BpfMap(map('ipcache'), layout<IpcacheKey>('ipcache_key'), layout<IpcacheValue>('ipcache_value')),
    policies: new BpfMap(map('policies'), number, layout<Policy>('policy')),
    bounds: new BpfMap(map('bounds'), number, layout<Bounds>('bounds')),
    steps: new BpfMap(map('steps'), number, layout<Step>('step')),
    conntrack: new BpfMap(map('conntrack'), layout<CtKey>('ct_key'), layout<CtEntry>('ct_entry')),
    nat: new BpfMap(map('nat'), layout<NatKey>('nat_key'), layout<NatValue>('nat_value')),
    fragments: new BpfMap(map('fragments'), layout<FragmentKey>('fragment_key'), layout<FragmentValue>('fragment_value')),
    netdevs: new BpfMap(map('netdevs'), number, layout<Netdev>('netdev')),
    overlays: new BpfMap(map('overlays'), number, layout<Overlay>('overlay')),
    serviceClients: new BpfMap(map('service_clients'), cookie, layout<ServiceClient>('service_client')),
    netnsQuestions: new BpfMap(map('netns_questions'), number, layout<NetnsQuestion>('netns_question')),
    sockPeers: new BpfMap(map('sock_peers'), layout<SockPeerKey>('sock_peer_key'), layout<SockPeer>('sock_peer')),
    proxyPorts: new BpfMap(map('proxy_ports'), layout<ProxyKey>('proxy_key'), number),
    proxies: new BpfMap(map('proxies'), number, layout<Proxy>('proxy')),
    proxyListeners: new BpfMap(map('proxy_listeners'), layout<ProxyListener>('proxy_listener'), cookie),
    proxyMoves: new BpfMap(map('proxy_moves'), number, number),
    proxyShares: new BpfMap(map('proxy_shares'), number, layout<ProxyShare>('proxy_share')),
    proxyUses: new DataView(mapMemory(map('proxy_uses'), limit.MAX_ENDPOINTS)),
    classRows: map('class_rows'),
    connections,
    usage: new DataView(mapMemory(map('usage'), limit.MAX_ENDPOINTS)),
    flows: map('flows'),
    flowRecord: layout<FlowRecord>('flow_record'),
    counter: (which) => perCpuSums(map('counters'), which, cpus)[0]!,
    drops: () => dropCounts(map('drops'), cpus),
    ruleCounts: map('rule_counts'),
    dns: dnsMaps(object),
  };
}
