// Random frames through the shipped programs against a model of them, as root: 2,000 frames for each seed, on fresh tables.
import { Fuzz, framesOf, sentOf, textOfSent } from '../bpf/testing/fuzz.ts';
import { smallest } from './smallest.ts';

export const framesPerSeed = 2_000;

export async function packets(): Promise<(seed: number) => string | undefined> {
  const fuzz = new Fuzz();
  await fuzz.start();
  const differs = (frames: readonly string[]) => fuzz.run(frames.map(sentOf));
  return (seed) => {
    const sent = framesOf(seed, framesPerSeed);
    const first = fuzz.run(sent);
    if (first === undefined) return undefined;
    const small = smallest(sent.slice(0, first.number + 1).map(textOfSent), (candidate) => differs(candidate) !== undefined);
    return `the programs differ from the model; for bpf/testdata/corpus.jsonl:\n${JSON.stringify({ name: `seed ${seed}`, frames: small })}\n${JSON.stringify(differs(small))}`;
  };
}
