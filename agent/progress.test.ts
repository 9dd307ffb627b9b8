// What reconcilers tell is counted by who tells it, and goes on to the log; queues are read when somebody asks.
import { expect, test } from '@jest/globals';
import { Progress } from './progress.ts';

test('errors by reconciler, all of them from the start; queues as they are now', () => {
  const told: string[] = [];
  const progress = new Progress((line) => { told.push(line); });
  expect(progress.errors).toEqual({ conntrack: 0, devices: 0, dns: 0, endpoints: 0, envoy: 0, policy: 0, routes: 0, rules: 0, workloads: 0 });
  const log = progress.log('routes');
  log('routes: EPERM');
  log('routes: EPERM');
  progress.failed('endpoints');
  expect(told).toEqual(['routes: EPERM', 'routes: EPERM']);
  expect(progress.errors).toMatchObject({ routes: 2, endpoints: 1, envoy: 0, policy: 0 });
  let waiting = 3;
  progress.waits('policy', () => waiting);
  expect(progress.queues).toEqual({ policy: 3 });
  waiting = 0;
  expect(progress.queues).toEqual({ policy: 0 });
});
