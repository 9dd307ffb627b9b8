// Whose DNS rules hold for TCP, in an image: these need a proxy.
import type { PolicyImage, PolicyRef } from './image.ts';
import { bitsIn } from './rule-set.ts';

const tcp = 6;

export function policiesOfDnsByTcp(image: PolicyImage): PolicyRef[] {
  const found = new Map<string, PolicyRef>();
  const enforced = new Set([...image.ofEndpoint.values()].map(({ egress }) => egress).filter((key) => key !== undefined));
  for (const key of enforced) {
    const policy = image.policies.get(key)!;
    for (const { lower, steps } of policy.intervals) {
      if (lower >>> 16 !== tcp) continue;
      for (const { word, mask, action } of steps) {
        if (action !== 'dns') continue;
        for (const bit of bitsIn(mask)) {
          const { policy: ref } = policy.rules[word * 64 + bit]!;
          found.set(`${ref.kind}/${ref.namespace}/${ref.name}`, ref);
        }
      }
    }
  }
  return [...found.values()];
}
