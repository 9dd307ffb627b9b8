// Where sockets can be joined, and whose.
import { describe, expect, test } from '@jest/globals';
import { isMarked, whyNoSockmap } from './sockmap.ts';

describe('kernels', () => {
  test.each([
    { kernel: '5.10.0-34-amd64', found: 'Linux 6.13 or newer is needed, this is 5.10.0-34-amd64' },
    { kernel: '6.12.48-cloud', found: 'Linux 6.13 or newer is needed, this is 6.12.48-cloud' },
    { kernel: '6.13.0', found: undefined },
    { kernel: '7.0.1', found: undefined },
  ])('$kernel', ({ kernel, found }) => { expect(whyNoSockmap(kernel, true)).toBe(found); });
  test('without BTF', () => { expect(whyNoSockmap('6.18.0', false)).toBe('the kernel has no BTF'); });
});

test.each([
  { name: 'the label', labels: { app: 'a', 'sockmap.weir.io/join': 'true' }, found: true },
  { name: 'another value', labels: { 'sockmap.weir.io/join': 'yes' }, found: false },
  { name: 'no label', labels: {}, found: false },
])('marked: $name', ({ labels, found }) => { expect(isMarked(labels as Readonly<Record<string, string>>)).toBe(found); });
