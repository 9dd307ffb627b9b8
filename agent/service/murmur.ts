// MurmurHash3, x64, 128 bits (Austin Appleby, public domain): where Maglev begins for a backend. 64-bit words as pairs of 32-bit ones: BigInts are
// a hundred times slower.

/** [low, high] of h1, then of h2. */
export type Hash128 = readonly [h1Low: number, h1High: number, h2Low: number, h2High: number];

let high = 0;

/** Low word of a product; the high one is in `high`. */
function multiply(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  const a0 = aLow & 0xffff;
  const a1 = aLow >>> 16;
  const b0 = bLow & 0xffff;
  const b1 = bLow >>> 16;
  const p00 = a0 * b0;
  const middle = a1 * b0 + (p00 >>> 16);
  const carried = (middle & 0xffff) + a0 * b1;
  const low = ((carried & 0xffff) << 16 | (p00 & 0xffff)) >>> 0;
  const upper = a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(carried / 0x10000);
  high = (upper + Math.imul(aLow, bHigh) + Math.imul(aHigh, bLow)) >>> 0;
  return low;
}

function add(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  const low = aLow + bLow;
  high = (aHigh + bHigh + (low > 0xffffffff ? 1 : 0)) >>> 0;
  return low >>> 0;
}

function rotate(low: number, upper: number, bits: number): number {
  const [a, b, by] = bits >= 32 ? [upper, low, bits - 32] : [low, upper, bits];
  if (by === 0) {
    high = b;
    return a;
  }
  high = (b << by | a >>> (32 - by)) >>> 0;
  return (a << by | b >>> (32 - by)) >>> 0;
}

const c1 = [0x114253d5, 0x87c37b91] as const;
const c2 = [0x2745937f, 0x4cf5ad43] as const;

/** k * first, rotated, * second. */
function mixKey(low: number, upper: number, first: readonly [number, number], bits: number, second: readonly [number, number]): number {
  low = multiply(low, upper, first[0], first[1]);
  low = rotate(low, high, bits);
  return multiply(low, high, second[0], second[1]);
}

function finish(low: number, upper: number): number {
  low = (low ^ upper >>> 1) >>> 0;
  low = multiply(low, upper, 0xed558ccd, 0xff51afd7);
  low = multiply((low ^ high >>> 1) >>> 0, high, 0x1a85ec53, 0xc4ceb9fe);
  return (low ^ high >>> 1) >>> 0;
}

export function murmur128(data: Uint8Array, seed: number): Hash128 {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let [h1l, h1h, h2l, h2h] = [seed >>> 0, 0, seed >>> 0, 0];
  const blocks = data.length >>> 4;
  for (let block = 0; block < blocks; block += 1) {
    const at = block * 16;
    let low = mixKey(view.getUint32(at, true), view.getUint32(at + 4, true), c1, 31, c2);
    h1l = rotate((h1l ^ low) >>> 0, (h1h ^ high) >>> 0, 27);
    h1l = add(h1l, high, h2l, h2h);
    h1l = multiply(h1l, high, 5, 0);
    h1l = add(h1l, high, 0x52dce729, 0);
    h1h = high;
    low = mixKey(view.getUint32(at + 8, true), view.getUint32(at + 12, true), c2, 33, c1);
    h2l = rotate((h2l ^ low) >>> 0, (h2h ^ high) >>> 0, 31);
    h2l = add(h2l, high, h1l, h1h);
    h2l = multiply(h2l, high, 5, 0);
    h2l = add(h2l, high, 0x38495ab5, 0);
    h2h = high;
  }
  const tail = new DataView(new ArrayBuffer(16));
  for (let index = blocks * 16; index < data.length; index += 1) tail.setUint8(index & 15, data[index]!);
  let low = mixKey(tail.getUint32(8, true), tail.getUint32(12, true), c2, 33, c1);
  h2l = (h2l ^ low) >>> 0;
  h2h = (h2h ^ high) >>> 0;
  low = mixKey(tail.getUint32(0, true), tail.getUint32(4, true), c1, 31, c2);
  h1l = (h1l ^ low ^ data.length) >>> 0;
  h1h = (h1h ^ high) >>> 0;
  h2l = (h2l ^ data.length) >>> 0;
  h1l = add(h1l, h1h, h2l, h2h);
  h1h = high;
  h2l = add(h2l, h2h, h1l, h1h);
  h2h = high;
  h1l = finish(h1l, h1h);
  h1h = high;
  h2l = finish(h2l, h2h);
  h2h = high;
  h1l = add(h1l, h1h, h2l, h2h);
  h1h = high;
  h2l = add(h2l, h2h, h1l, h1h);
  return [h1l, h1h, h2l, high];
}
