// What hubble/flow.ts asks of the agent: names for the numbers and addresses of a record, as they were when it was written. The
// tables say what holds now; what they said before is kept until no record asks for it any more.
import { isDeepStrictEqual } from 'node:util';
import type { EndpointNames, Lookups } from '../../hubble/flow.ts';
import type { ServiceLookup } from '../../hubble/services.ts';
import { mappedBytes } from '../ipcache/address.ts';
import { DEFAULT_CLUSTER } from '../identity/labels.ts';
import type { IdentityRow } from '../identity/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { RemoteEndpointRow } from '../node/tables.ts';
import type { Table } from '../store/table.ts';
import { WallClock } from './clock.ts';
import { History } from './history.ts';
import { controllerOf, labelsOf, logsOf, policiesOf } from './names.ts';
import { PolicyHistory, type Numbers } from './policy-history.ts';

/** CLOCK_MONOTONIC, as records have it. */
const monotonicNs = (): number => Number(process.hrtime.bigint());

/** The part of DnsCache that is asked here. */
export interface LearnedNames { readonly revision: number; readonly namesOf: (endpoint: number, address: string) => string[] }
/** The part of AddressIdentities that is asked here. */
export interface KnownIdentities { readonly revision: number; readonly of: (address: string) => number }

/** An endpoint of this node, or of another. */
type End = EndpointRow | RemoteEndpointRow;

export class Names {
  readonly lookups: Lookups;
  readonly #endpoints = new History<End>();
  readonly #identities = new History<IdentityRow>();
  readonly #policies: PolicyHistory;
  readonly #clock = new WallClock();
  readonly #now: () => number;
  readonly #unsubscribe: (() => void)[];
  #changedNs = 0;
  #learned: LearnedNames = { revision: 0, namesOf: () => [] };
  #known: KnownIdentities = { revision: 0, of: () => 0 };

  constructor(endpoints: Table<EndpointRow>, remote: Table<RemoteEndpointRow>, identities: Table<IdentityRow>, numbers: Numbers, nodeName: string, services: ServiceLookup | undefined = undefined, now = monotonicNs) {
    this.#now = now;
    this.#policies = new PolicyHistory(numbers);
    this.#unsubscribe = [
      endpoints.subscribe((changes) => { for (const { old, row } of changes) this.#supersede(old, row); }),
      remote.subscribe((changes) => { for (const { old, row } of changes) this.#supersede(old, row); }),
      identities.subscribe((changes) => {
        for (const { key, old } of changes) this.#identities.supersede(key, old, this.#change());
      }),
    ];
    const policyAt = (id: number, timeNs: number) => this.#policies.at(id, timeNs);
    this.lookups = {
      endpoint: (address, timeNs) => namesOf(this.#endpoints.at(address, timeNs, () => endpoints.by('address', address)[0] ?? remote.by('address', address)[0])),
      identityLabels: (id, timeNs) => labelsOf(id, () => this.#identities.at(String(id), timeNs, () => identities.get(String(id)))),
      policies: (judgement, _, timeNs) => policiesOf(policyAt(judgement.policy, timeNs), judgement),
      policyLog: (judgement, timeNs) => logsOf(policyAt(judgement.policy, timeNs), judgement),
      changedNs: () => this.#changedNs,
      forgotten: () => this.dropped,
      toUnixNs: this.#clock.toUnixNs,
      identity: (address) => this.#known.of(address),
      identityRevision: () => this.#known.revision,
      names: { revision: () => this.#learned.revision, of: (endpoint, address) => this.#learned.namesOf(endpoint, bytesText(address)).map((name) => name.replace(/\.$/, '')) },
      nodeName, ...(services === undefined ? {} : { services }),
    };
  }

  /** Names that answers gave for addresses; who has which address, now. */
  follow(learned: LearnedNames, known: KnownIdentities): void { [this.#learned, this.#known] = [learned, known]; }

  /** Superseded names that are kept, and those that went too early for want of room. */
  get kept(): number { return this.#histories.reduce((sum, { size }) => sum + size, 0); }
  get dropped(): number { return this.#histories.reduce((sum, { dropped }) => sum + dropped, 0); }

  get #histories(): readonly History<unknown>[] { return [this.#endpoints, this.#identities, this.#policies.history]; }

  /** Before each drain of the ring. */
  look(): void { if (this.#policies.look(this.#now())) this.#change(); }

  /** About once a second; `oldestNs` gives the time of the oldest record that is kept. */
  upkeep(oldestNs: (nowNs: number) => number): void {
    this.#clock.measure();
    if (this.kept === 0) return;
    const beforeNs = oldestNs(this.#now());
    for (const history of this.#histories) history.forget(beforeNs);
  }

  close(): void { for (const unsubscribe of this.#unsubscribe) unsubscribe(); }

  #supersede(old: End | undefined, row: End | undefined): void {
    if (sameNames(old, row)) return;
    const changedNs = this.#change();
    for (const address of addressesOf(old, row)) this.#endpoints.supersede(address, addressesOf(old).has(address) ? old : undefined, changedNs);
  }

  #change(): number {
    this.#changedNs = this.#now();
    return this.#changedNs;
  }
}

/** 16 bytes, as the DNS cache has them. */
const bytesText = (address: string): string => Buffer.from(mappedBytes(address)).toString('latin1');

const addressesOf = (...rows: readonly (End | undefined)[]): Set<string> => new Set(rows.flatMap((row) => (row === undefined ? [] : [row.ipv4, row.ipv6])));

const sameNames = (old: End | undefined, row: End | undefined): boolean =>
  isDeepStrictEqual([namesOf(old), addressesOf(old)], [namesOf(row), addressesOf(row)]);

const namesOf = (row: End | undefined): EndpointNames | undefined => row && {
  id: 'id' in row ? row.id : 0, identity: row.identity, namespace: row.namespace, podName: row.name, labels: row.labels, workloads: [controllerOf(row)], clusterName: DEFAULT_CLUSTER,
};
