import { describe, expect, test } from '@jest/globals';
import { otherReplica } from './pods.ts';
import { rollOut } from './rollout.ts';
import type { PodRow } from './tables.ts';

const source = { file: 'f', line: 1, column: 1 };
const replica = (index: number, command: string): PodRow => ({
  key: `shop/web-vchvt-${index}`, namespace: 'shop', name: `web-vchvt-${index}`, labels: {}, serviceAccount: 'default', containers: [{ name: 'c', command: [command], env: {}, workingDir: '/' }],
  restartPolicy: 'Always', terminationGracePeriodMs: 1_000, namedPorts: [], owner: { kind: 'Deployment', name: 'web' }, source,
});
const second = (pod: PodRow): PodRow => otherReplica(pod);
const [a0, b0, a1, b1, c0] = [replica(0, 'a'), replica(0, 'b'), replica(1, 'a'), replica(1, 'b'), replica(0, 'c')] as const;

/** `name=command`; a star: it answers. */
function world(pods: readonly (readonly [PodRow, boolean])[]) {
  const rows = new Map(pods.map(([pod]) => [pod.key, pod]));
  const ready = new Set(pods.filter(([, answers]) => answers).map(([pod]) => pod.key));
  return { pod: (key: string) => rows.get(key), there: (key: string) => rows.get(key), isReady: (key: string) => ready.has(key), subscribe: () => () => {} };
}
const text = (pods: readonly PodRow[]): string[] => pods.map(({ name, containers }) => `${name}=${containers[0]!.command[0]}`);

describe('what is asked for next', () => {
  test.each<[string, PodRow[], (readonly [PodRow, boolean])[], PodRow[]]>([
    ['nothing is there', [a0, a1], [], [a0, a1]],
    ['all as it should be', [a0, a1], [[a0, true], [a1, true]], [a0, a1]],
    ['a change: one beside the first, the others wait', [b0, b1], [[a0, true], [a1, true]], [a0, second(b0), a1]],
    ['its replacement is not ready yet', [b0, b1], [[a0, true], [second(b0), false], [a1, true]], [a0, second(b0), a1]],
    ['its replacement is ready: the old one goes', [b0, b1], [[a0, true], [second(b0), true], [a1, true]], [second(b0), a1]],
    ['the next one', [b0, b1], [[second(b0), true], [a1, true]], [second(b0), a1, second(b1)]],
    ['done, under other names', [b0, b1], [[second(b0), true], [second(b1), true]], [second(b0), second(b1)]],
    ['back to the first names', [a0, a1], [[second(b0), true], [second(b1), true]], [second(b0), a0, second(b1)]],
    ['one that nobody reaches is replaced where it is', [b0], [[a0, false]], [b0]],
    ['the wish changes while its replacement starts', [c0], [[a0, true], [second(b0), false]], [a0, second(c0)]],
    ['the wish goes back while its replacement starts', [a0], [[a0, true], [second(b0), false]], [a0]],
    ['both stopped answering', [b0], [[a0, false], [second(b0), false]], [second(b0)]],
    ['fewer replicas', [a0], [[a0, true], [a1, true]], [a0]],
  ])('%s', (_, wanted, there, expected) => {
    expect(text(rollOut(wanted, () => undefined, world(there)))).toEqual(text(expected));
  });

  const recreate = (pod: PodRow): PodRow => ({ ...pod, recreate: true });
  test.each<[string, PodRow[], (readonly [PodRow, boolean])[], PodRow[]]>([
    ['nothing is there', [a0, a1], [], [a0, a1]],
    ['all as it should be', [a0, a1], [[a0, true], [a1, false]], [a0, a1]],
    ['a change: all go', [b0, b1], [[a0, true], [a1, true]], []],
    ['one is there still', [b0, b1], [[a1, false]], []],
    ['one has the new version already, the other old one is there still', [b0, b1], [[b0, true], [a1, true]], [b0]],
    ['none is there any more', [b0, b1], [[b0, false]], [b0, b1]],
    ['they had been replaced one by one before', [b0, b1], [[second(b0), true], [a1, true]], [second(b0)]],
    ['that, and it is as it should be', [b0], [[second(b0), true]], [second(b0)]],
  ])('with strategy Recreate: %s', (_, wanted, there, expected) => {
    expect(text(rollOut(wanted.map(recreate), () => undefined, world(there)))).toEqual(text(expected));
  });

  test('what was asked for counts before it runs', () => {
    expect(text(rollOut([b0], (key) => (key === second(b0).key ? second(b0) : undefined), world([[a0, true]])))).toEqual(text([a0, second(b0)]));
  });
  test('a Pod of its own, and one that is called like a replacement, are left alone', () => {
    const { owner: _, ...plain } = replica(7, 'x');
    const named = { ...plain, key: second(a0).key, name: second(a0).name };
    expect(text(rollOut([plain, b0, named], () => undefined, world([[a0, true]])))).toEqual(text([plain, b0, named]));
  });
});

test('the other name of the other name is the first', () => {
  expect(second(a0).name).toMatch(/^web-[a-z0-9]{5}-0$/);
  expect(second(a0).name).not.toBe(a0.name);
  expect(second(second(a0))).toEqual(a0);
});
