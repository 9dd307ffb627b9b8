// From the layout of a row in one version to that in another, field by field by name: which bytes go where. Pure.
import { ConfigError } from '../errors.ts';
import type { Type } from '../kernel/btf.ts';

export interface Move { readonly from: number; readonly to: number; readonly bytes: number }
export interface Moves { readonly size: number; readonly moves: readonly Move[]; /** Fields that were not there before: 0. */ readonly absent: readonly string[] }

const isPadding = (name: string): boolean => /^pad\d*$/.test(name);
const isScalar = (type: Type): boolean => type.kind === 'int' || type.kind === 'enum';
const isSame = (a: Type, b: Type): boolean =>
  isScalar(a) && isScalar(b) && a.size === b.size && (a.kind === 'int' && a.bigEndian) === (b.kind === 'int' && b.bigEndian);

function refuse(what: string): never {
  throw new ConfigError(`the connections of the agent before cannot be taken over: ${what}`, 'go on with the version that runs, or end it and its connections with ./weir down');
}

/** Throws ConfigError where a field has another size or kind than before, or one of `needed` was not there. */
export function movesOf(before: Type, after: Type, needed: readonly string[] = []): Moves {
  const moves: Move[] = [];
  const absent: string[] = [];
  const walk = (old: Type, now: Type, path: string, from: number, to: number): void => {
    if (old.kind === 'struct' && now.kind === 'struct') {
      for (const member of now.members) {
        if (isPadding(member.name)) continue;
        const was = old.members.find(({ name }) => name === member.name);
        const name = path === '' ? member.name : `${path}.${member.name}`;
        if (was === undefined) absent.push(name);
        else walk(was.type, member.type, name, from + was.offset, to + member.offset);
      }
    } else if (old.kind === 'array' && now.kind === 'array' && old.length === now.length) {
      for (let index = 0; index < now.length; index += 1) walk(old.element, now.element, path, from + index * old.element.size, to + index * now.element.size);
    } else if (isSame(old, now)) {
      const last = moves.at(-1);
      if (last !== undefined && last.from + last.bytes === from && last.to + last.bytes === to) moves[moves.length - 1] = { ...last, bytes: last.bytes + now.size };
      else moves.push({ from, to, bytes: now.size });
    } else {
      refuse(`${after.kind === 'struct' ? after.name : '?'}.${path} had ${old.size} bytes of another kind than now`);
    }
  };
  walk(before, after, '', 0, 0);
  const missing = needed.filter((name) => absent.includes(name));
  if (missing.length > 0) refuse(`${after.kind === 'struct' ? after.name : '?'} had no ${missing.join(', ')}`);
  return { size: after.size, moves, absent };
}

/** Throws ConfigError where a number meant something else before. */
export function checkNumbers(name: string, before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): void {
  for (const [word, value] of before) if (after.get(word) !== value) refuse(`${word} of ${name} was ${value} and is ${after.get(word) ?? 'gone'}`);
}

export function moved(row: Uint8Array, { size, moves }: Moves): Uint8Array {
  const out = new Uint8Array(size);
  for (const { from, to, bytes } of moves) out.set(row.subarray(from, from + bytes), to);
  return out;
}
