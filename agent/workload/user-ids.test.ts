// Each run its own uid.
import { expect, test } from '@jest/globals';
import { UserIds } from './user-ids.ts';

test('distinct, not given out again at once, adopted ones kept, bounded', () => {
  const users = new UserIds('lab');
  const first = users.take();
  expect(first).toBeGreaterThanOrEqual(200_000);
  users.keep(first + 1);
  expect(users.take()).toBe(first + 2);
  users.free(first);
  expect(users.take()).toBe(first + 3);
  for (let left = 8_192 - 3; left > 0; left -= 1) users.take();
  expect(() => users.take()).toThrow('all 8192 user ids of this instance are in use');
});

test('another instance has others', () => { expect(new UserIds('lab').take()).not.toBe(new UserIds('default').take()); });
