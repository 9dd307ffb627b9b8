// Encoders and decoders compiled once from BTF layouts. Integers up to 32 bits are numbers, 64 bits bigints, network order
// is turned to host order; arrays of bytes and of network-order words are Uint8Arrays as they stand; `pad` fields are left out.
import type { Member, Type } from './btf.ts';

export interface Codec<Row> {
  readonly size: number;
  /** A new array of `size` bytes; fields that are absent are 0. */
  readonly encode: (row: Row) => Uint8Array;
  /** Reads the struct at `offset`; byte fields are copied out. */
  readonly decode: (view: DataView, offset: number) => Row;
}

const isBytes = (type: Type): boolean =>
  type.kind === 'array' && type.element.kind === 'int' && (type.element.size === 1 || type.element.bigEndian);

const isPadding = (member: Member): boolean => /^pad\d*$/.test(member.name);

const integer = (type: Type): { method: string; little: boolean; zero: string } => {
  const signed = type.kind === 'int' && type.signed;
  const method = type.size === 8 ? (signed ? 'BigInt64' : 'BigUint64') : `${signed ? 'Int' : 'Uint'}${type.size * 8}`;
  return { method, little: !(type.kind === 'int' && type.bigEndian), zero: type.size === 8 ? '0n' : '0' };
};

function readExpression(type: Type, offset: string): string {
  if (isBytes(type)) return `bytes(view, ${offset}, ${type.size})`;
  switch (type.kind) {
    case 'int': case 'enum': {
      const { method, little } = integer(type);
      return `view.get${method}(${offset}, ${little})`;
    }
    case 'array':
      return `[${Array.from({ length: type.length }, (_, i) => readExpression(type.element, `${offset} + ${i * type.element.size}`)).join(', ')}]`;
    case 'struct':
      return `{ ${type.members.filter((m) => !isPadding(m)).map((m) => `${m.name}: ${readExpression(m.type, `${offset} + ${m.offset}`)}`).join(', ')} }`;
    default:
      throw new Error(`no codec for ${type.name}`);
  }
}

function writeStatements(type: Type, value: string, offset: number): string {
  if (isBytes(type)) return `if (${value} !== undefined) out.set(${value}, ${offset});\n`;
  switch (type.kind) {
    case 'int': case 'enum': {
      const { method, little, zero } = integer(type);
      return `view.set${method}(${offset}, ${value} ?? ${zero}, ${little});\n`;
    }
    case 'array':
      return Array.from({ length: type.length }, (_, i) => writeStatements(type.element, `${value}?.[${i}]`, offset + i * type.element.size)).join('');
    case 'struct':
      return type.members.filter((m) => !isPadding(m)).map((m) => writeStatements(m.type, `${value}?.${m.name}`, offset + m.offset)).join('');
    default:
      throw new Error(`no codec for ${type.name}`);
  }
}

const bytes = (view: DataView, offset: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();

/** The names come from the compiled object, not from input: `new Function` sees C identifiers only. */
export function codecOf<Row>(type: Type): Codec<Row> {
  const decode = new Function('bytes', `return (view, offset) => (${readExpression(type, 'offset')})`)(bytes) as Codec<Row>['decode'];
  const encode = new Function(`return (row) => {
    const out = new Uint8Array(${type.size});
    const view = new DataView(out.buffer);
    ${writeStatements(type, 'row', 0)}
    return out;
  }`)() as Codec<Row>['encode'];
  return { size: type.size, encode, decode };
}
