// Names and patterns of the policies into the kernel: numbers for selectors, exact names as keys, patterns as one automaton, and which bits
// each sets in which policy. What is new stands there before the flip, what is gone goes after it.
import { randomBytes } from 'node:crypto';
import { ConfigError } from '../errors.ts';
import { gracePeriod } from '../kernel/bpf.ts';
import { withMemory } from '../kernel/map.ts';
import type { FqdnSelector } from '../policy/fqdn.ts';
import type { MergedPolicy, PolicyImage } from '../policy/image.ts';
import { readJson, writeJson } from '../store/file.ts';
import { dns_use_kind, dns_limit, type DnsUse } from '../../bpf/types.gen.ts';
import type { DnsMaps } from './maps.ts';
import { match, pack, type Numbered, type Packed } from './packed.ts';
import { chargeAddress } from './sweeper.ts';

/** struct dns_short_name. */
const shortBytes = 64;

/** Kept on disk: what the kernel has learned names selectors by number. A number is never given twice. */
interface SavedSelectors { readonly next: number; readonly selectors: readonly { readonly selector: FqdnSelector; readonly number: number }[] }

/** As on the wire (RFC 1035, 3.1); undefined: no such name can be asked for. */
export function wireOf(name: string): Uint8Array | undefined {
  const wire = new Uint8Array(256);
  const labels = name === '.' ? [] : name.slice(0, -1).split('.');
  if (labels.some((label) => label.length === 0 || label.length > 63) || name.length > 254) return undefined;
  let at = 0;
  for (const label of labels) {
    wire[at] = label.length;
    wire.set(Buffer.from(label, 'latin1'), at + 1);
    at += 1 + label.length;
  }
  return wire;
}

export class DnsReconciler {
  readonly #maps: DnsMaps;
  readonly #grace = gracePeriod();
  readonly #savePath: string | undefined;
  readonly #numbers = new Map<string, Numbered>();
  /** Policies whose uses stand in the kernel, by id. */
  readonly #written = new Map<number, readonly DnsUse[]>();
  #next = 1;
  #patterns = '';
  #packed: Packed | undefined;

  /** Told of selectors that are new, by number, before they are in force. */
  teacher: ((fresh: ReadonlySet<number>) => void) | undefined;

  /** `savePath`: where the numbers are kept for the next agent. */
  constructor(maps: DnsMaps, savePath?: string) {
    this.#maps = maps;
    this.#savePath = savePath;
  }

  /** Numbers of an agent before, which the kernel's rows speak of. Without them nothing that was learned means anything. */
  adopt(): void {
    const saved = (this.#savePath === undefined ? undefined : readJson(this.#savePath)) as SavedSelectors | undefined;
    for (const one of saved?.selectors ?? []) this.#numbers.set(one.selector.key, one);
    this.#next = saved?.next ?? 1;
    if (saved === undefined) {
      for (const [use] of this.#maps.uses.entries()) this.#maps.uses.delete(use);
      for (const [key] of this.#maps.addresses.entries()) if (this.#maps.addresses.delete(key)) chargeAddress(this.#maps, key.endpoint, -1);
    }
    for (const [use] of this.#maps.uses.entries()) this.#written.set(use.policy, [...this.#written.get(use.policy) ?? [], use]);
  }

  /** As adopt, where the maps are new and have nothing but the addresses of those before. */
  inherit(): void {
    this.adopt();
    for (const { selector, number } of this.#numbers.values()) if (selector.kind === 'name') this.#setName(selector, number);
  }

  selectors(): readonly Numbered[] { return [...this.#numbers.values()]; }

  /** The numbers of the selectors that match a name in lower case with its final dot. */
  matching(name: string): number[] {
    const exact = this.#numbers.get(`name ${name}`);
    return [...(exact === undefined ? [] : [exact.number]), ...(this.#packed === undefined ? [] : match(this.#packed, name))];
  }

  /** Before the flip; throws ConfigError with nothing in force changed when it does not fit. `idOf`: the kernel's number of a policy. */
  async place(image: PolicyImage, idOf: (key: string) => number): Promise<void> {
    const wanted = new Map<string, FqdnSelector>();
    for (const { names } of image.policies.values()) for (const { selector } of names) wanted.set(selector.key, selector);
    const fresh = [...wanted.values()].filter(({ key }) => !this.#numbers.has(key));
    const numbered = [...this.#numbers.values(), ...fresh.map((selector, index) => ({ selector, number: this.#next + index }))];
    if (numbered.length > dns_limit.MAX_DNS_NAMES) throw new ConfigError(`policies have ${numbered.length} DNS names, at most ${dns_limit.MAX_DNS_NAMES} fit`, 'use patterns, or fewer names');
    const uses = [...image.policies.values()].reduce((sum, { names }) => sum + names.length, 0);
    if (uses > dns_limit.MAX_DNS_USES / 2) throw new ConfigError(`policies use DNS names in ${uses} places, at most ${dns_limit.MAX_DNS_USES / 2} fit`, 'let more endpoints share the same policies');
    // Also patterns of the generation that still runs.
    const patterns = numbered.filter(({ selector }) => selector.kind === 'pattern');
    await this.#placePatterns(patterns);
    for (const one of numbered.slice(this.#numbers.size)) this.#numbers.set(one.selector.key, one);
    this.#next += fresh.length;
    if (fresh.length > 0) this.#save();
    for (const selector of fresh) if (selector.kind === 'name') this.#setName(selector, this.#numbers.get(selector.key)!.number);
    if (fresh.length > 0) this.#turn();
    for (const policy of image.policies.values()) this.#placeUses(policy, idOf(policy.key));
    if (fresh.length > 0) this.teacher?.(new Set(fresh.map(({ key }) => this.#numbers.get(key)!.number)));
  }

  /** After it, when nobody reads the generation before. */
  async retire(image: PolicyImage, idOf: (key: string) => number): Promise<void> {
    const ids = new Set([...image.policies.values()].filter(({ names }) => names.length > 0).map(({ key }) => idOf(key)));
    for (const [id, uses] of this.#written) {
      if (ids.has(id)) continue;
      for (const use of uses) this.#maps.uses.delete(use);
      this.#written.delete(id);
    }
    const wanted = new Set([...image.policies.values()].flatMap(({ names }) => names.map(({ selector }) => selector.key)));
    const gone = [...this.#numbers.values()].filter(({ selector }) => !wanted.has(selector.key));
    for (const { selector } of gone) {
      this.#numbers.delete(selector.key);
      if (selector.kind === 'name') this.#setName(selector, undefined);
    }
    if (gone.length > 0) {
      this.#turn();
      this.#save();
    }
    if (gone.some(({ selector }) => selector.kind === 'pattern')) await this.#placePatterns([...this.#numbers.values()].filter(({ selector }) => selector.kind === 'pattern'));
  }

  /** `number` undefined: the name goes. */
  #setName({ text }: FqdnSelector, number: number | undefined): void {
    const wire = wireOf(text);
    if (wire === undefined) return;
    const [map, key] = wire.indexOf(0) < shortBytes ? [this.#maps.shortNames, { wire: wire.subarray(0, shortBytes) }] as const : [this.#maps.names, { wire }] as const;
    if (number === undefined) map.delete(key);
    else map.set(key, number);
  }

  /** Queries under way are matched again from here on. The secret stays as long as the maps. */
  #turn(half = this.#maps.control.get(0)?.half ?? 0): void {
    const { version = 0, secret = [0n, 0n] } = this.#maps.control.get(0) ?? {};
    const [first, second] = secret[1] === 0n ? [randomBytes(8).readBigUInt64LE(), randomBytes(8).readBigUInt64LE() | 1n] : [secret[0]!, secret[1]!];
    this.#maps.control.set(0, { half, version: (version + 1) % 2 ** 32 || 1, secret: [first, second] });
  }

  #placeUses({ names }: MergedPolicy, id: number): void {
    if (names.length === 0 || this.#written.has(id)) return;
    const rows = names.map(({ selector, use, word, mask }) => ({
      mask, key: { policy: id, selector: this.#numbers.get(selector.key)!.number, word, use: use === 'peer' ? dns_use_kind.DNS_USE_PEER : dns_use_kind.DNS_USE_QUERY } satisfies DnsUse,
    }));
    for (const { key, mask } of rows) this.#maps.uses.set(key, mask);
    this.#written.set(id, rows.map(({ key }) => key));
  }

  /** Into the half that nobody reads, which is the one in force from then on. */
  async #placePatterns(patterns: readonly Numbered[]): Promise<void> {
    const text = patterns.map(({ selector, number }) => `${number} ${selector.text}`).join('\n');
    if (text === this.#patterns && this.#packed !== undefined) return;
    const packed = pack(patterns);
    const half = 1 - (this.#maps.control.get(0)?.half ?? 1);
    const { states, edges, accepts } = packed;
    withMemory(this.#maps.automata, 2, (memory) => {
      const at = half * this.#maps.automata.valueSize;
      new Uint8Array(memory, at, this.#maps.automata.valueSize).fill(0);
      const rows = new Uint16Array(memory, at, dns_limit.DNS_STATES * 4);
      states.forEach(({ base, other, accept, same }, id) => { rows.set([base, other, accept, same], id * 4); });
      const steps = new Uint16Array(memory, at + dns_limit.DNS_STATES * 8, dns_limit.DNS_EDGES * 2);
      edges.forEach(({ state, next }, index) => { steps.set([state, next], index * 2); });
      const lists = new Uint32Array(memory, at + dns_limit.DNS_STATES * 8 + dns_limit.DNS_EDGES * 4, dns_limit.DNS_ACCEPTS * 2);
      accepts.forEach(({ selector, next }, index) => { lists.set([selector, next], index * 2); });
    });
    this.#turn(half);
    // The other half is free once nobody walks it.
    await this.#grace();
    this.#packed = packed;
    this.#patterns = text;
  }

  #save(): void {
    if (this.#savePath !== undefined) writeJson(this.#savePath, { next: this.#next, selectors: [...this.#numbers.values()] } satisfies SavedSelectors);
  }
}
