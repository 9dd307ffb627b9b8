// The maps and programs of DNS rules, typed: a part of the datapath.
import { release } from 'node:os';
import { codecOf, type Codec } from '../kernel/codec.ts';
import { mapUpdate, updateFlags } from '../kernel/bpf.ts';
import { BpfMap, mapMemory, perCpuSums, possibleCpus } from '../kernel/map.ts';
import type { LoadedMap, LoadedObject } from '../kernel/object.ts';
import { dns_program, limit, type DnsAddress, type DnsAddressKey, type DnsControl, type DnsName, type DnsRecord, type DnsShortName, type DnsUse } from '../../bpf/types.gen.ts';

export interface DnsMaps {
  /** struct dns_automaton, two of them, for `withMemory`. */
  readonly automata: LoadedMap;
  readonly control: BpfMap<number, DnsControl>;
  /** Exact names -> number of their selector. */
  readonly names: BpfMap<DnsName, number>;
  /** Those of up to 63 bytes on the wire. */
  readonly shortNames: BpfMap<DnsShortName, number>;
  /** Which bits a selector sets in a policy. */
  readonly uses: BpfMap<DnsUse, bigint>;
  /** What was learned. */
  readonly addresses: BpfMap<DnsAddressKey, DnsAddress>;
  /** struct dns_usage, by endpoint id. */
  readonly usages: DataView;
  /** Over all CPUs; `which` of enum dns_counter. */
  readonly counter: (which: number) => bigint;
  readonly records: LoadedMap;
  /** Without its addresses, of which an entry of the ring has as many as there are. */
  readonly record: Codec<DnsRecord>;
}

/** expected_attach_type of each program: that of the hook it is called from. */
export const dnsAttachTypes = (ingress: number, egress: number): Record<string, number> =>
  ({ dns_query: ingress, dns_passed: ingress, dns_answer: ingress, dns_answer_host: egress, dns_by_tcp: ingress });

/** Before 6.0 packets interrupt test runs and take their rows (bpf/dns_tcp.c), and the verifier of 5.10 gives up on the program. */
const byTcpKernel = 6;

/** Undefined: this kernel can judge what the proxy of DNS by TCP asks. */
export const whyNoDnsByTcp = (kernel = release()): string | undefined =>
  (Number(kernel.split('.')[0]) < byTcpKernel ? `their proxy needs Linux ${byTcpKernel}.0, this is ${kernel}` : undefined);

const called = [
  ['dns_programs', dns_program.DNS_QUERY, 'dns_query'], ['dns_programs', dns_program.DNS_PASSED, 'dns_passed'],
  ['dns_programs', dns_program.DNS_ANSWER, 'dns_answer'], ['dns_programs_out', dns_program.DNS_ANSWER, 'dns_answer_host'],
] as const;

const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
const number: Codec<number> = { size: 4, encode: u32, decode: (view, offset) => view.getUint32(offset, true) };
const mask: Codec<bigint> = { size: 8, encode: (value) => new Uint8Array(new BigUint64Array([value]).buffer), decode: (view, offset) => view.getBigUint64(offset, true) };

/** Also makes the programs callable: in place of those of an agent before, whose rows they share. */
export function dnsMaps(object: LoadedObject): DnsMaps {
  const cpus = possibleCpus();
  const map = (name: string): LoadedMap => object.maps.get(name)!;
  const layout = <Row>(name: string): Codec<Row> => codecOf<Row>(object.btf.struct(name));
  for (const [name, index, program] of called) mapUpdate(map(name).fd, u32(index), u32(object.programs.get(program)!), name, updateFlags.any);
  return {
    automata: map('dns_automata'),
    control: new BpfMap(map('dns_controls'), number, layout<DnsControl>('dns_control')),
    names: new BpfMap(map('dns_names'), layout<DnsName>('dns_name'), number),
    shortNames: new BpfMap(map('dns_short_names'), layout<DnsShortName>('dns_short_name'), number),
    uses: new BpfMap(map('dns_uses'), layout<DnsUse>('dns_use'), mask),
    addresses: new BpfMap(map('dns_addresses'), layout<DnsAddressKey>('dns_address_key'), layout<DnsAddress>('dns_address')),
    usages: new DataView(mapMemory(map('dns_usages'), limit.MAX_ENDPOINTS)),
    counter: (which) => perCpuSums(map('dns_counters'), which, cpus)[0]!,
    records: map('dns_records'),
    record: layout<DnsRecord>('dns_record'),
  };
}
