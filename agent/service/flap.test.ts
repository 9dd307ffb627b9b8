// A backend that flaps 100 times a second for a second, on the way from its EndpointSlice to the kernel: none of its steps piles up, no other service is
// written, and the end is what the slice says last.
import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { endpointTable } from '../endpoint/tables.ts';
import { nodeAddressTable, remoteEndpointTable } from '../node/tables.ts';
import { workloadTable } from '../workload/tables.ts';
import { serviceWorld } from './fixture.ts';
import { ServiceFollower } from './follow.ts';
import { serviceTable, sliceTable, type ServiceRow, type SliceRow } from './tables.ts';

const { maps, agent, inKernel } = serviceWorld();
const serviceRow = (name: string, address: string): ServiceRow => ({
  key: `shop/${name}`, namespace: 'shop', name, type: 'ClusterIP', labels: {}, annotations: {}, headless: false, clusterIps: [address], externalIps: [], loadBalancerIps: [],
  ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 80 }], internalLocal: false, externalLocal: false, sourceRanges: [], publishNotReady: false, forwarding: {},
});
const slice = (name: string, first: number, second: boolean): SliceRow => ({
  key: `shop/${name}-1`, namespace: 'shop', service: name, family: 4, ports: [{ name: '', protocol: 'TCP', port: 80 }],
  endpoints: [first, first + 1].map((index) => ({ addresses: [`10.0.0.${index}`], ready: index === first || second, serving: index === first || second, terminating: false, node: 'n' })),
});

test('100 times a second', async () => {
  const one = agent();
  const [services, slices] = [serviceTable(), sliceTable()];
  let flushes = 0;
  const follower = new ServiceFollower({
    services, slices, frontends: one.frontends, backends: one.backends, endpoints: endpointTable(), workloads: workloadTable(), remoteEndpoints: remoteEndpointTable(), nodeAddresses: nodeAddressTable(),
  }, { node: 'n', maglev: false, dsr: false }, () => { flushes += 1; one.reconciler.apply(); });
  services.write([serviceRow('flap', '10.218.0.1'), serviceRow('calm', '10.218.0.2')]);
  slices.write([slice('flap', 1, true), slice('calm', 11, true)]);
  follower.flush();
  const calm = maps.frontends.entries().find(([, { first }]) => maps.slots.get(first) === one.reconciler.backendNumber('10.0.0.11:80/TCP'));
  const free = one.reconciler.usage.slotsFree;
  const from = performance.now();
  for (let flap = 0; flap < 100; flap += 1) {
    slices.write([slice('flap', 1, flap % 2 === 1)]);
    await sleep(10);
    if (flap % 10 === 9) await one.pass();
  }
  const took = performance.now() - from;
  await sleep(50);
  await one.pass();
  expect([one.log, inKernel()]).toEqual([[], { '10.218.0.1:80/TCP cluster': ['10.0.0.1:80/TCP', '10.0.0.2:80/TCP'], '10.218.0.2:80/TCP cluster': ['10.0.0.11:80/TCP', '10.0.0.12:80/TCP'] }]);
  // Every 10 ms at most, whatever comes.
  expect(flushes).toBeLessThanOrEqual(Math.ceil(took / 10) + 10);
  expect(maps.frontends.entries().find(([key]) => key.addr.word.join() === calm![0].addr.word.join())).toEqual(calm);
  expect([one.reconciler.usage.slotsFree, maps.backends.entries().length, one.reconciler.usage.refused]).toEqual([free, 4, 0]);
  follower.stop();
  await one.end();
});
