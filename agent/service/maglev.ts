// Maglev (Eisenbud et al., NSDI 2016): a table in which each backend has about its share of the slots, the same at every node, and of which little
// changes when a backend goes. Equal to Cilium's for the same seed and strings.
import { ConfigError } from '../errors.ts';
import { murmur128 } from './murmur.ts';

export interface MaglevBackend {
  /** What it is hashed by. */
  readonly hashString: string;
  readonly weight: number;
}

export const maxMaglevSize = 131_071;
export const defaultSeed = 'JLfvgnHc2kaSUFaI';
const seedBytes = 12;

export function isPrime(number: number): boolean {
  if (number < 2 || !Number.isInteger(number)) return false;
  for (let divisor = 2; divisor * divisor <= number; divisor += 1) if (number % divisor === 0) return false;
  return true;
}

/** Throws ConfigError: only with a prime does each backend's walk meet every slot. */
export function checkMaglevSize(size: number): number {
  if (isPrime(size) && size <= maxMaglevSize) return size;
  throw new ConfigError(`a Maglev table of ${size} slots: it must be a prime up to ${maxMaglevSize}`, 'for example 251, 1021, 16381 or 131071');
}

/** The first four of its bytes count. */
export function seedOf(text: string): number {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== seedBytes) throw new ConfigError(`Maglev seed ${JSON.stringify(text)}: expected ${seedBytes} bytes in base64`, 'make one with: head -c12 /dev/urandom | base64');
  return bytes.readUInt32BE();
}

const modulo = (low: number, high: number, by: number): number => ((high % by) * (0x100000000 % by) + low) % by;

/** For each slot an index into `backends`; empty when there are none. */
export function maglevTable(backends: readonly MaglevBackend[], size: number, seed: number): Uint32Array {
  checkMaglevSize(size);
  const count = backends.length;
  if (count === 0) return new Uint32Array(0);
  const order = backends.map((_, index) => index).sort((a, b) => (backends[a]!.hashString < backends[b]!.hashString ? -1 : backends[a]!.hashString > backends[b]!.hashString ? 1 : a - b));
  const next = new Uint32Array(count);
  const skip = new Uint32Array(count);
  const encoder = new TextEncoder();
  order.forEach((index, at) => {
    const [h1l, h1h, h2l, h2h] = murmur128(encoder.encode(backends[index]!.hashString), seed);
    next[at] = modulo(h1l, h1h, size);
    skip[at] = modulo(h2l, h2h, size - 1) + 1;
  });
  const turns = turnsOf(order.map((index) => backends[index]!.weight), size);
  const table = new Uint32Array(size);
  const taken = new Uint8Array(size); // smaller, so faster to search than the table
  for (let turn = 0; turn < size; turn += 1) {
    const at = turns === undefined ? turn % count : turns(turn);
    let slot = next[at]!;
    const step = skip[at]!;
    while (taken[slot] !== 0) {
      slot += step;
      if (slot >= size) slot -= size;
    }
    taken[slot] = 1;
    table[slot] = order[at]!;
    slot += step;
    next[at] = slot >= size ? slot - size : slot;
  }
  return table;
}

/** Who has each turn, where not all weigh the same or more than one; undefined: everybody in turn. */
function turnsOf(weights: readonly number[], size: number): ((turn: number) => number) | undefined {
  const count = weights.length;
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (Math.floor(sum / count) <= 1 || weights.every((weight) => weight === weights[0])) return undefined;
  if (!weights.every((weight) => Number.isInteger(weight) && weight > 0) || sum * size > Number.MAX_SAFE_INTEGER) throw new ConfigError('Maglev weights must be whole numbers above 0', 'for example 100');
  const counters = weights.map((weight) => Math.floor(weight / count));
  return (turn) => {
    let at = turn % count;
    while ((turn + 1) * weights[at]! < counters[at]!) at = (at + 1) % count;
    counters[at]! += sum;
    return at;
  };
}
