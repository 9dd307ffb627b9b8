// Services for packet tables: frontends with their backends, as agent/service writes them, straight into the maps of a Bench.
import { ipcacheKey, mappedBytes } from '../../agent/ipcache/address.ts';
import { innerMapFlag, mapCreate, mapDelete, mapType, mapUpdate } from '../../agent/kernel/bpf.ts';
import { codecOf } from '../../agent/kernel/codec.ts';
import { BpfMap } from '../../agent/kernel/map.ts';
import type { LoadedMap } from '../../agent/kernel/object.ts';
import { frontend_flag, type Affinity, type AffinityKey, type Backend, type Frontend, type FrontendKey, type SourceRangeKey, type Translation, type TranslationKey } from '../types.gen.ts';
import type { Bench } from './bench.ts';
import { protocol, type Frame } from './packet.ts';

/** What has ports: how a connection opens and goes on. */
export const kinds = [
  { kind: 'TCP', number: protocol.tcp, port: 8080, open: (base: Frame, from: number, to: number) => base.tcp(from, to, 'S'), talk: (base: Frame, from: number, to: number) => base.tcp(from, to, 'A', 'hello') },
  { kind: 'UDP', number: protocol.udp, port: 8080, open: (base: Frame, from: number, to: number) => base.udp(from, to, 'hello'), talk: (base: Frame, from: number, to: number) => base.udp(from, to, 'hello') },
  { kind: 'SCTP', number: protocol.sctp, port: 8080, open: (base: Frame, from: number, to: number) => base.sctp(from, to, 'hello'), talk: (base: Frame, from: number, to: number) => base.sctp(from, to, 'hello to you too') },
] as const;
export type Kind = (typeof kinds)[number];

export interface TestBackend { readonly address: string; readonly port: number; readonly state?: number }
export interface TestService {
  readonly address: string; readonly port: number; readonly protocol: number; readonly scope: number; readonly backends: readonly TestBackend[];
  readonly flags?: number; readonly affinitySeconds?: number; readonly sourceRanges?: readonly string[];
  /** Slot -> index among `backends`. */
  readonly maglev?: readonly number[];
}

const word = (number: number): Uint8Array => new Uint8Array(new Uint32Array([number]).buffer);
const addr = (address: string): { word: Uint8Array } => ({ word: mappedBytes(address) });
const plain = { size: 4, encode: word, decode: (view: DataView, at: number) => view.getUint32(at, true) };

export class Services {
  readonly translations: BpfMap<TranslationKey, Translation>;
  readonly backends: BpfMap<number, Backend>;
  readonly affinities: BpfMap<AffinityKey, Affinity>;
  readonly #frontends: BpfMap<FrontendKey, Frontend>;
  readonly #ranges: BpfMap<SourceRangeKey, number>;
  readonly #slots: BpfMap<number, number>;
  readonly #tables: LoadedMap;
  readonly #control: LoadedMap;
  #backend = 0;
  #slot = 0;
  #service = 0;
  readonly #sizeAt: number;

  constructor(bench: Bench) {
    const { maps, btf } = bench.datapath.object;
    const map = (name: string): LoadedMap => maps.get(name)!;
    const layout = <Row>(name: string) => codecOf<Row>(btf.struct(name));
    this.translations = new BpfMap(map('translations'), layout<TranslationKey>('translation_key'), layout<Translation>('translation'));
    this.backends = new BpfMap(map('backends'), plain, layout<Backend>('backend'));
    this.affinities = new BpfMap(map('affinities'), layout<AffinityKey>('affinity_key'), layout<Affinity>('affinity'));
    this.#frontends = new BpfMap(map('frontends'), layout<FrontendKey>('frontend_key'), layout<Frontend>('frontend'));
    this.#ranges = new BpfMap(map('source_ranges'), layout<SourceRangeKey>('source_range_key'), plain);
    this.#slots = new BpfMap(map('service_slots'), plain, plain);
    this.#tables = map('maglev_tables');
    this.#control = map('services');
    this.#sizeAt = btf.struct('service_control').members.find(({ name }) => name === 'maglev_size')!.offset;
  }

  /** Returns the numbers of its backends. */
  put({ address, port, protocol, scope, backends, flags = 0, affinitySeconds = 0, sourceRanges = [], maglev }: TestService): number[] {
    const numbers = backends.map((one) => {
      this.backends.set(++this.#backend, { addr: addr(one.address), port: one.port, protocol, state: one.state ?? 0, connections: 0 });
      return this.#backend;
    });
    const service = ++this.#service;
    const first = this.#slot;
    for (const number of numbers) this.#slots.set(this.#slot++, number);
    for (const range of sourceRanges) {
      const { prefixlen, addr: prefix } = ipcacheKey(range);
      this.#ranges.set({ prefixlen: 32 + prefixlen, service, addr: prefix }, 1);
    }
    if (maglev !== undefined) this.#table(service, maglev);
    this.#frontends.set({ addr: addr(address), port, protocol, scope }, {
      service, first, count: numbers.length, maglev: maglev === undefined ? 0 : service, affinity_seconds: affinitySeconds,
      flags: flags | (sourceRanges.length > 0 ? frontend_flag.FRONTEND_SOURCE_RANGES : 0),
    });
    return numbers;
  }

  remove({ address, port, protocol, scope }: Pick<TestService, 'address' | 'port' | 'protocol' | 'scope'>): void { this.#frontends.delete({ addr: addr(address), port, protocol, scope }); }

  /** Every row of `translations` goes. */
  forget(): void { for (const [key] of this.translations.entries()) this.translations.delete(key); }

  /** All tables of a test have the length of the first. */
  #table(number: number, slots: readonly number[]): void {
    const inner = mapCreate(mapType.array, 4, 4, slots.length, 0, innerMapFlag);
    slots.forEach((index, slot) => { mapUpdate(inner, word(slot), word(index), 'maglev table'); });
    mapUpdate(this.#tables.fd, word(number), word(inner), 'maglev_tables');
    const control = new Uint8Array(this.#control.valueSize);
    new DataView(control.buffer).setUint32(this.#sizeAt, slots.length, true);
    mapUpdate(this.#control.fd, word(0), control, 'services');
  }

  /** The backend is gone from the kernel, as after its grace period. */
  lose(number: number): void { mapDelete(this.backends.fd, word(number), 'backends'); }
}
