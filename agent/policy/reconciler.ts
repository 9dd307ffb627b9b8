// Makes the kernel judge by a new set of policies, identities and endpoints at one instant: new rows first, then rows that
// say both what held before and what holds from the next generation on, then the generation word flips (bpf/lib/types.h).
import { dirname, join } from 'node:path';
import { DnsReconciler } from '../dns/reconciler.ts';
import { ConfigError } from '../errors.ts';
import { gracePeriod } from '../kernel/bpf.ts';
import type { Datapath } from '../datapath/maps.ts';
import { ipcache_flag, limit, type Addr, type Endpoint, type IpcacheValue, type Peer } from '../../bpf/types.gen.ts';
import { ipcacheKey, mappedBytes, maskedPrefix, parsePrefix, prefixOfKey, textOf } from '../ipcache/address.ts';
import type { IpcacheRow } from '../ipcache/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { readJson, writeJson } from '../store/file.ts';
import type { PolicyImage } from './image.ts';
import { KernelNumbers, type SavedNumbers } from './kernel-numbers.ts';
import { ProxyPorts, type PortRow } from './proxy-ports.ts';

const nobody: Peer = { identity: 0, class_id: 0 };

const macBytes = (text: string): Uint8Array => Uint8Array.from(text.split(':').map((part) => parseInt(part, 16)));

/** `node`: the other node that has it. */
interface PrefixState { readonly peer: Peer; readonly ifindex: number; readonly flags: number; readonly node: string | undefined }
/** Numbers of merged policies. */
interface Judges { readonly ingress: number; readonly egress: number; readonly ingressAudit: number; readonly egressAudit: number }
interface EndpointState extends Judges { readonly uid: string }

export interface Applied { readonly generation: number; readonly prefixes: number; readonly endpoints: number }

export class PolicyReconciler {
  readonly numbers: KernelNumbers;
  readonly dns: DnsReconciler;
  readonly proxyPorts: ProxyPorts;
  readonly #datapath: Datapath;
  readonly #grace = gracePeriod();
  readonly #prefixes = new Map<string, PrefixState>();
  readonly #endpoints = new Map<number, EndpointState>();
  readonly #savePath: string | undefined;
  #saved = 0;
  #generation: number;

  /** `savePath`: where the numbers are kept for the next agent. */
  constructor(datapath: Datapath, savePath?: string) {
    this.#datapath = datapath;
    this.#savePath = savePath;
    this.numbers = new KernelNumbers(datapath);
    this.proxyPorts = new ProxyPorts(datapath, this.numbers);
    this.dns = new DnsReconciler(datapath.dns, savePath === undefined ? undefined : join(dirname(savePath), 'dns.json'));
    this.#generation = datapath.control.get(0)?.generation ?? 0;
  }

  /**
   * Begins with what an agent before left in the kernel, which enforces it until the first `apply`; `endpoints` live on.
   * Returns the identity behind each prefix. Throws when the maps do not fit together: then nothing of them can be adopted.
   */
  adopt(endpoints: readonly EndpointRow[]): ReadonlyMap<string, number> {
    const now = this.#generation;
    // A flip that was prepared and never came: its rows must not turn over with the next one, which has the same number.
    const pending = (since: number): boolean => ((now - since) | 0) < 0;
    for (const [key, value] of this.#datapath.ipcache.entries()) {
      const peer = value.peer[pending(value.since) ? 0 : 1]!;
      if (pending(value.since)) this.#datapath.ipcache.set(key, { ...value, peer: [peer, peer], since: now });
      const node = value.flags & (ipcache_flag.IPCACHE_REMOTE | ipcache_flag.IPCACHE_NODE) ? textOf(value.node.word) : undefined;
      this.#prefixes.set(prefixOfKey(key), { peer, ifindex: value.ifindex, flags: value.flags, node });
    }
    const uids = new Map(endpoints.map((row) => [row.ifindex, row.uid]));
    for (const [ifindex, row] of this.#datapath.endpoints.entries()) {
      const which = pending(row.since) ? 0 : 1;
      const state: EndpointState = {
        uid: uids.get(ifindex) ?? '', ingress: row.ingress_policy[which]!, egress: row.egress_policy[which]!,
        ingressAudit: row.ingress_audit[which]!, egressAudit: row.egress_audit[which]!,
      };
      if (pending(row.since)) this.#datapath.endpoints.set(ifindex, { ...row, ...policyFields(state, state), since: now });
      this.#endpoints.set(ifindex, state);
    }
    const policies = new Set([...this.#endpoints.values()].flatMap(({ ingress, egress, ingressAudit, egressAudit }) => [ingress, egress, ingressAudit, egressAudit]));
    const classes = new Set([...this.#prefixes.values()].map(({ peer }) => peer.class_id));
    for (const used of [policies, classes]) used.delete(0);
    const saved = (this.#savePath === undefined ? undefined : readJson(this.#savePath)) as SavedNumbers | undefined;
    this.numbers.adopt(policies, classes, saved ?? { policies: [], classes: [] });
    this.dns.adopt();
    this.proxyPorts.adopt(policies);
    return new Map([...this.#prefixes].map(([prefix, { peer }]) => [prefix, peer.identity]));
  }

  get generation(): number { return this.#generation; }

  /** Endpoints that audited policies would judge otherwise. */
  get audits(): number { return [...this.#endpoints.values()].filter(({ ingressAudit, egressAudit }) => ingressAudit + egressAudit > 0).length; }

  /**
   * Flips to the given state; resolves when no packet is judged by the one before any more. Calls must not overlap.
   * `ports`: where Envoy serves what L7 rules ask for; what has none is refused. Throws ConfigError with the old state untouched when it does not fit.
   */
  async apply(image: PolicyImage, prefixes: readonly IpcacheRow[], endpoints: readonly EndpointRow[], ports: readonly PortRow[] = []): Promise<Applied> {
    this.#checkRoom(prefixes, endpoints);
    this.proxyPorts.checkRoom(ports);
    this.numbers.place(image);
    await this.dns.place(image, (key) => this.numbers.policyId(key));
    this.proxyPorts.place(ports);
    this.#save();
    const next = (this.#generation + 1) >>> 0;
    const peerOf = (identity: number): Peer => {
      const key = image.classOfIdentity.get(identity);
      return { identity, class_id: key === undefined ? 0 : this.numbers.classId(key) };
    };
    const wanted = new Map(prefixes.map((row): [string, PrefixState] => [row.prefix,
      { peer: peerOf(row.identity), ifindex: row.ifindex, flags: flagsOf(row), node: row.node }]));
    const gone = [...this.#prefixes.keys()].filter((prefix) => !wanted.has(prefix));
    const changed = this.#writePrefixes(wanted, gone, next);
    const written = this.#writeEndpoints(endpoints, image, next);
    this.#datapath.control.set(0, { generation: next, audits: this.audits });
    this.#generation = next;
    await this.#grace();
    for (const prefix of gone) {
      this.#datapath.ipcache.delete(ipcacheKey(prefix));
      this.#prefixes.delete(prefix);
    }
    await this.dns.retire(image, (key) => this.numbers.policyId(key));
    this.proxyPorts.retire();
    this.numbers.retire(image);
    return { generation: next, prefixes: changed, endpoints: written };
  }

  /** Before the flip: what the kernel is going to read has its names on disk by then. */
  #save(): void {
    if (this.#savePath === undefined || this.#saved === this.numbers.revision) return;
    writeJson(this.#savePath, this.numbers.save());
    this.#saved = this.numbers.revision;
  }

  /** Rows that go stand until after the flip. */
  #checkRoom(prefixes: readonly IpcacheRow[], endpoints: readonly EndpointRow[]): void {
    if (this.#prefixes.size + prefixes.length > limit.MAX_PREFIXES) {
      const addresses = new Set([...this.#prefixes.keys(), ...prefixes.map((row) => row.prefix)]).size;
      if (addresses > limit.MAX_PREFIXES) {
        throw new ConfigError(`there are ${addresses} addresses and prefixes, the old and the new ones of a change together; at most ${limit.MAX_PREFIXES} fit`, 'name fewer prefixes in rules');
      }
    }
    if (endpoints.length > limit.MAX_ENDPOINTS) throw new ConfigError(`there are ${endpoints.length} endpoints; at most ${limit.MAX_ENDPOINTS} fit`, 'run fewer workloads on this node');
  }

  #writePrefixes(wanted: ReadonlyMap<string, PrefixState>, gone: readonly string[], next: number): number {
    const differing = [...wanted].filter(([prefix, state]) => {
      const old = this.#prefixes.get(prefix);
      return old === undefined || !sameState(old, state);
    });
    if (differing.length === 0 && gone.length === 0) return 0;
    const before = new Map(this.#prefixes);
    const [coveringBefore, coveringAfter] = [coveringIn(before), coveringIn(wanted)];
    let written = 0;
    for (const [prefix, state] of differing) {
      const old = before.get(prefix);
      // An address that is new was judged by the prefix around it until now.
      const was = old?.peer ?? coveringBefore(prefix)?.peer ?? nobody;
      this.#writePrefix(prefix, { peer: [was, state.peer], since: next, ifindex: state.ifindex, flags: state.flags, node: nodeValue(state.node) });
      this.#prefixes.set(prefix, state);
      written += 1;
    }
    for (const prefix of gone) {
      const around = coveringAfter(prefix);
      const row: IpcacheValue = { peer: [before.get(prefix)!.peer, around?.peer ?? nobody], since: next, ifindex: 0, flags: around?.flags ?? 0, node: nodeValue(around?.node) };
      this.#writePrefix(prefix, row);
      written += 1;
    }
    return written;
  }

  #writePrefix(prefix: string, value: IpcacheValue): void { this.#datapath.ipcache.set(ipcacheKey(prefix), value); }

  #writeEndpoints(rows: readonly EndpointRow[], image: PolicyImage, next: number): number {
    const present = new Set(rows.map((row) => row.ifindex));
    for (const ifindex of [...this.#endpoints.keys()]) {
      if (present.has(ifindex)) continue;
      this.#datapath.endpoints.delete(ifindex);
      this.#endpoints.delete(ifindex);
    }
    let written = 0;
    for (const row of rows) {
      const keys = image.ofEndpoint.get(row.id);
      const state: EndpointState = {
        uid: row.uid, ingress: this.numbers.policyId(keys?.ingress), egress: this.numbers.policyId(keys?.egress),
        ingressAudit: this.numbers.policyId(keys?.auditIngress), egressAudit: this.numbers.policyId(keys?.auditEgress),
      };
      const old = this.#endpoints.get(row.ifindex);
      const same = old !== undefined && sameJudges(old, state) && old.uid === row.uid;
      this.#endpoints.set(row.ifindex, state);
      if (same) continue;
      this.#datapath.endpoints.set(row.ifindex, endpointValue(row, old?.uid === row.uid ? old : state, state, next));
      written += 1;
    }
    return written;
  }
}

const sameState = (a: PrefixState, b: PrefixState): boolean =>
  a.peer.identity === b.peer.identity && a.peer.class_id === b.peer.class_id && a.ifindex === b.ifindex && a.flags === b.flags && a.node === b.node;

const flagsOf = ({ host, node, itself }: IpcacheRow): number =>
  (host ? ipcache_flag.IPCACHE_HOST : 0) | (node === undefined ? 0 : itself ? ipcache_flag.IPCACHE_NODE : ipcache_flag.IPCACHE_REMOTE);

const nodeValue = (node: string | undefined): Addr => ({ word: node === undefined ? new Uint8Array(16) : mappedBytes(node) });

const sameJudges = (a: Judges, b: Judges): boolean =>
  a.ingress === b.ingress && a.egress === b.egress && a.ingressAudit === b.ingressAudit && a.egressAudit === b.egressAudit;

const policyFields = (old: Judges, state: Judges) => ({
  ingress_policy: [old.ingress, state.ingress], egress_policy: [old.egress, state.egress],
  ingress_audit: [old.ingressAudit, state.ingressAudit], egress_audit: [old.egressAudit, state.egressAudit],
});

function endpointValue(row: EndpointRow, old: EndpointState, state: EndpointState, since: number): Endpoint {
  return {
    ipv4: { word: mappedBytes(row.ipv4) }, ipv6: { word: mappedBytes(row.ipv6) }, id: row.id, since,
    ...policyFields(old, state),
    mac: macBytes(row.mac), host_mac: macBytes(row.hostMac),
  };
}

/** Finds the longest prefix in `states` that covers another without being it: by the lengths that occur, which are few. */
function coveringIn(states: ReadonlyMap<string, PrefixState>): (prefix: string) => PrefixState | undefined {
  const family = (text: string): 'ipv4' | 'ipv6' => (text.includes(':') ? 'ipv6' : 'ipv4');
  let longestFirst: { readonly ipv4: readonly number[]; readonly ipv6: readonly number[] } | undefined;
  const lengths = (): typeof longestFirst & {} => {
    const found = { ipv4: new Set<number>(), ipv6: new Set<number>() };
    for (const prefix of states.keys()) found[family(prefix)].add(Number(prefix.slice(prefix.indexOf('/') + 1)));
    return { ipv4: [...found.ipv4].sort((a, b) => b - a), ipv6: [...found.ipv6].sort((a, b) => b - a) };
  };
  return (prefix) => {
    longestFirst ??= lengths();
    const { address, length } = parsePrefix(prefix);
    for (const shorter of longestFirst[family(prefix)]) {
      const found = shorter < length ? states.get(maskedPrefix(address, shorter)) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  };
}
