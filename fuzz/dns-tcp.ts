// Streams through the proxy of DNS by TCP, with the shipped program as its judge, as root: 100 for each seed.
import { dnsStreams, type Step } from '../bpf/testing/dns-streams.ts';
import { stepsOf } from '../bpf/testing/dns-steps.ts';
import { smallest } from './smallest.ts';

export const streamsPerSeed = 100;

export async function dnsTcp(): Promise<(seed: number) => string | undefined> {
  const streams = await dnsStreams();
  return (seed) => {
    for (let index = 0; index < streamsPerSeed; index += 1) {
      const steps = stepsOf(seed * streamsPerSeed + index);
      const fault = streams.run(steps, index & 1);
      if (fault === undefined) continue;
      const run = (candidate: readonly string[]): string | undefined => streams.run(candidate.map((step) => JSON.parse(step) as Step), index & 1);
      const small = smallest(steps.map((step) => JSON.stringify(step)), (candidate) => run(candidate) !== undefined);
      return `for bpf/testdata/streams.jsonl:\n${JSON.stringify({ name: `seed ${seed}`, steps: small.map((step) => JSON.parse(step) as Step) })}\n${run(small) ?? `not again: ids are random; it was: ${fault}`}`;
    }
    return undefined;
  };
}
