// Broken answers of name servers against a DNS library, as root: 10,000 for each seed.
import { answersOf, dnsFuzz } from '../bpf/testing/dns-fuzz.ts';
import { smallest } from './smallest.ts';

export const answersPerSeed = 10_000;

export async function dns(): Promise<(seed: number) => string | undefined> {
  const fuzz = await dnsFuzz();
  return (seed) => {
    for (const message of answersOf(seed, answersPerSeed)) {
      if (fuzz.run(message) === undefined) continue;
      const small = Buffer.from(smallest([...message], (candidate) => fuzz.run(Buffer.from(candidate)) !== undefined));
      return `what is learned is not what the library takes; for bpf/testdata/dns.jsonl:\n${JSON.stringify({ name: `seed ${seed}`, message: small.toString('hex'), learns: 0 })}\n${fuzz.run(small)}`;
    }
    return undefined;
  };
}
