// Random frames through the shipped program against a model of it, as root: 2,000 frames for each seed, on fresh tables.
import { Fuzz, framesOf } from '../bpf/testing/fuzz.ts';
import { smallest } from './smallest.ts';

const framesPerSeed = 2_000;
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

export async function packets(): Promise<(seed: number) => string | undefined> {
  const fuzz = new Fuzz();
  await fuzz.start();
  const differs = (frames: readonly string[]) => fuzz.run(frames.map(bytesOf));
  return (seed) => {
    const frames = framesOf(seed, framesPerSeed);
    const first = fuzz.run(frames);
    if (first === undefined) return undefined;
    const small = smallest(frames.slice(0, first.number + 1).map((frame) => Buffer.from(frame).toString('hex')), (candidate) => differs(candidate) !== undefined);
    return `the program differs from the model; for bpf/testdata/corpus.jsonl:\n${JSON.stringify({ name: `seed ${seed}`, frames: small })}\n${JSON.stringify(differs(small))}`;
  };
}
