// Reads .BTF from a compiled object: the C types are the only definition of every layout shared with the kernel.
// Format: Documentation/bpf/btf.rst. A description built in TypeScript's terms; no encoding or decoding here.

export interface Member { readonly name: string; readonly offset: number; readonly type: Type }

/** Offsets and sizes in bytes. `bigEndian`: a typedef __be16, __be32 or __be64. */
export type Type =
  | { readonly kind: 'int'; readonly size: number; readonly signed: boolean; readonly bigEndian: boolean; readonly name: string }
  | { readonly kind: 'enum'; readonly size: number; readonly name: string; readonly values: ReadonlyMap<string, number> }
  | { readonly kind: 'array'; readonly size: number; readonly element: Type; readonly length: number }
  | { readonly kind: 'struct'; readonly size: number; readonly name: string; readonly members: readonly Member[] }
  | { readonly kind: 'other'; readonly size: number; readonly name: string };

const kind = { int: 1, pointer: 2, array: 3, struct: 4, union: 5, enum: 6, typedef: 8, volatile: 9, const: 10, restrict: 11, func: 12,
  funcProto: 13, var: 14, datasec: 15, float: 16, declTag: 17, typeTag: 18, enum64: 19 } as const;

interface Raw { readonly kind: number; readonly vlen: number; readonly kindFlag: boolean; readonly sizeOrType: number; readonly name: string; readonly at: number }

export class Btf {
  readonly #view: DataView;
  readonly #raw: Raw[] = [{ kind: 0, vlen: 0, kindFlag: false, sizeOrType: 0, name: 'void', at: 0 }];
  readonly #types = new Map<number, Type>();
  readonly #strings: number;

  /** Throws when the section is not BTF. */
  constructor(section: Uint8Array) {
    this.#view = new DataView(section.buffer, section.byteOffset, section.byteLength);
    if (this.#view.getUint16(0, true) !== 0xeb9f) throw new Error('.BTF: bad magic');
    const header = this.#view.getUint32(4, true);
    const types = header + this.#view.getUint32(8, true);
    const end = types + this.#view.getUint32(12, true);
    this.#strings = header + this.#view.getUint32(16, true);
    for (let at = types; at < end;) at = this.#readRaw(at);
  }

  struct(name: string): Type & { kind: 'struct' } {
    const id = this.#raw.findIndex((raw) => raw.kind === kind.struct && raw.name === name);
    if (id < 0) throw new Error(`.BTF: no struct ${name}`);
    return this.#type(id) as Type & { kind: 'struct' };
  }

  enums(): (Type & { kind: 'enum' })[] {
    return this.#raw.flatMap((raw, id) => (raw.kind === kind.enum && raw.name !== '' ? [this.#type(id) as Type & { kind: 'enum' }] : []));
  }

  #readRaw(at: number): number {
    const info = this.#view.getUint32(at + 4, true);
    const raw: Raw = { kind: (info >>> 24) & 0x1f, vlen: info & 0xffff, kindFlag: info >>> 31 === 1,
      sizeOrType: this.#view.getUint32(at + 8, true), name: this.#string(this.#view.getUint32(at, true)), at: at + 12 };
    this.#raw.push(raw);
    return raw.at + extraLength(raw);
  }

  #string(offset: number): string {
    let end = this.#strings + offset;
    while (this.#view.getUint8(end) !== 0) end += 1;
    return Buffer.from(this.#view.buffer, this.#view.byteOffset + this.#strings + offset, end - this.#strings - offset).toString();
  }

  #type(id: number): Type {
    const known = this.#types.get(id);
    if (known !== undefined) return known;
    const type = this.#build(id);
    this.#types.set(id, type);
    return type;
  }

  #build(id: number): Type {
    const raw = this.#raw[id]!;
    switch (raw.kind) {
      case kind.int: {
        const encoding = this.#view.getUint32(raw.at, true);
        return { kind: 'int', size: raw.sizeOrType, signed: ((encoding >>> 24) & 1) === 1, bigEndian: false, name: raw.name };
      }
      case kind.typedef: {
        const type = this.#type(raw.sizeOrType);
        return type.kind === 'int' && raw.name.startsWith('__be') ? { ...type, bigEndian: true, name: raw.name } : type;
      }
      case kind.const: case kind.volatile: case kind.restrict: case kind.typeTag:
        return this.#type(raw.sizeOrType);
      case kind.array: {
        const element = this.#type(this.#view.getUint32(raw.at, true));
        const length = this.#view.getUint32(raw.at + 8, true);
        return { kind: 'array', size: element.size * length, element, length };
      }
      case kind.struct:
        return { kind: 'struct', size: raw.sizeOrType, name: raw.name, members: this.#members(raw) };
      case kind.enum:
        return { kind: 'enum', size: raw.sizeOrType, name: raw.name, values: this.#values(raw) };
      default:
        return { kind: 'other', size: raw.kind === kind.pointer ? 8 : 0, name: raw.name };
    }
  }

  #members(raw: Raw): Member[] {
    return Array.from({ length: raw.vlen }, (_, index) => {
      const at = raw.at + index * 12;
      const bits = this.#view.getUint32(at + 8, true);
      const name = this.#string(this.#view.getUint32(at, true));
      if (raw.kindFlag || bits % 8 !== 0) throw new Error(`.BTF: struct ${raw.name}: bitfield ${name}`);
      return { name, offset: bits / 8, type: this.#type(this.#view.getUint32(at + 4, true)) };
    });
  }

  #values(raw: Raw): Map<string, number> {
    return new Map(Array.from({ length: raw.vlen }, (_, index) => {
      const at = raw.at + index * 8;
      return [this.#string(this.#view.getUint32(at, true)), this.#view.getInt32(at + 4, true)] as const;
    }));
  }
}

function extraLength(raw: Raw): number {
  switch (raw.kind) {
    case kind.int: case kind.var: case kind.declTag: return 4;
    case kind.array: return 12;
    case kind.struct: case kind.union: case kind.datasec: case kind.enum64: return raw.vlen * 12;
    case kind.enum: case kind.funcProto: return raw.vlen * 8;
    default: return 0;
  }
}

/** One section of a 64-bit little-endian ELF file. */
export function elfSection(file: Uint8Array, name: string): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0, false) !== 0x7f454c46) throw new Error('not an ELF file');
  const headers = Number(view.getBigUint64(40, true));
  const size = view.getUint16(58, true);
  const count = view.getUint16(60, true);
  const header = (index: number): number => headers + index * size;
  const start = (index: number): number => Number(view.getBigUint64(header(index) + 24, true));
  const names = start(view.getUint16(62, true));
  for (let index = 0; index < count; index += 1) {
    const from = names + view.getUint32(header(index), true);
    if (Buffer.from(file.buffer, file.byteOffset + from, name.length + 1).toString('latin1') !== `${name}\0`) continue;
    return file.subarray(start(index), start(index) + Number(view.getBigUint64(header(index) + 32, true)));
  }
  throw new Error(`ELF: no section ${name}`);
}
