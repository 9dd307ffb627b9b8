// Numbers for label sets: the same set has one number as long as somebody uses it.
import { NumberAllocator } from '../store/allocator.ts';
import type { Table } from '../store/table.ts';
import { FIRST_LOCAL_IDENTITY as firstLocal, FIRST_WORKLOAD_IDENTITY as firstWorkload, LAST_LOCAL_IDENTITY as lastLocal,
  LAST_WORKLOAD_IDENTITY as lastWorkload } from './reserved.ts';
import type { SharedNumbers } from './shared.ts';
import type { IdentityRow } from './tables.ts';

/** A number rests before another label set gets it: flows that name it are still being read. */
const restMs = 60_000;

export const isLocalIdentity = (id: number): boolean => id >= firstLocal && id <= lastLocal;

/** Follows use by key: `use` with the labels of a user, `drop` when it has gone. */
export class IdentityAllocator {
  readonly #identities: Table<IdentityRow>;
  readonly #workload = new NumberAllocator(firstWorkload, lastWorkload, restMs);
  readonly #local = new NumberAllocator(firstLocal, lastLocal, restMs);
  readonly #users = new Map<number, Set<string>>();
  readonly #ofUser = new Map<string, number>();

  readonly #shared: Pick<SharedNumbers, 'numberOf'> | undefined;

  /** `shared`: where a cluster's nodes agree on the numbers of workloads. */
  constructor(identities: Table<IdentityRow>, shared?: Pick<SharedNumbers, 'numberOf'>) {
    this.#identities = identities;
    this.#shared = shared;
  }

  /** Undefined when all numbers of this kind are taken. A user has one identity at a time. */
  use(user: string, kind: 'workload' | 'cidr', labels: readonly string[]): number | undefined {
    const sorted = [...labels].sort();
    const known = this.#identities.by('labels', sorted.join('\n')).find((row) => row.kind === kind);
    const id = known?.id ?? this.#take(kind, sorted);
    if (id === undefined) return undefined;
    if (this.#ofUser.get(user) === id) return id;
    this.#users.set(id, (this.#users.get(id) ?? new Set()).add(user));
    if (known === undefined) this.#identities.write([{ id, kind, labels: sorted }]);
    this.drop(user);
    this.#ofUser.set(user, id);
    return id;
  }

  /** As `use`, for labels that had this number before the agent was restarted: they keep it unless somebody else has it. */
  keep(user: string, kind: 'workload' | 'cidr', labels: readonly string[], id: number): number | undefined {
    const sorted = [...labels].sort();
    const known = this.#identities.by('labels', sorted.join('\n')).some((row) => row.kind === kind);
    const free = !known && (kind === 'cidr' || this.#shared === undefined);
    if (free && (kind === 'workload' ? this.#workload : this.#local).reserve(id)) this.#identities.write([{ id, kind, labels: sorted }]);
    return this.use(user, kind, labels);
  }

  /** As `use`, for a number that another node told. False: here it is that of other labels. */
  learn(user: string, labels: readonly string[], id: number): boolean {
    const standing = this.#identities.get(String(id));
    if (id < firstWorkload || id > lastWorkload || (standing !== undefined && standing.labels.join('\n') !== labels.join('\n'))) return false;
    if (this.#ofUser.get(user) === id) return true;
    this.#users.set(id, (this.#users.get(id) ?? new Set()).add(user));
    if (standing === undefined) this.#identities.write([{ id, kind: 'workload', labels }]);
    this.drop(user);
    this.#ofUser.set(user, id);
    return true;
  }

  #take(kind: 'workload' | 'cidr', labels: readonly string[]): number | undefined {
    if (kind === 'cidr') return this.#local.take();
    return this.#shared === undefined ? this.#workload.take() : this.#shared.numberOf(labels);
  }

  drop(user: string): void {
    const id = this.#ofUser.get(user);
    if (id === undefined) return;
    this.#ofUser.delete(user);
    const users = this.#users.get(id)!;
    users.delete(user);
    if (users.size > 0) return;
    this.#users.delete(id);
    this.#identities.write([], [String(id)]);
    if (id >= firstLocal) this.#local.giveBack(id);
    else if (this.#shared === undefined) this.#workload.giveBack(id);
  }
}
