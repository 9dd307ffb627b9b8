// Counts that are kept up with changes are those of counting anew.
import { expect, test } from '@jest/globals';
import type { EndpointRow } from '../endpoint/tables.ts';
import { makeRandom } from './random-cases.ts';
import type { RuleGroup } from './rule.ts';
import { readRules } from './rules.ts';
import { SelectedCounts } from './selected-counts.ts';

const row = (id: number, app: string): EndpointRow => ({
  id, key: `default/${id}`, namespace: 'default', name: String(id), uid: String(id), labels: [`k8s:app=${app}`, 'k8s:io.kubernetes.pod.namespace=default'], identity: 256 + id,
  ipv4: `10.0.0.${id}`, ipv6: `fd00::${id}`, interfaceName: `e${id}`, ifindex: id, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts: [], state: 'ready',
});
const groupsOf = (app: string): RuleGroup[] => readRules({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'p', namespace: 'default' }, spec: { endpointSelector: { matchLabels: { app } }, ingress: [{}] },
}, []);

test.each(Array.from({ length: 50 }, (_, index) => index + 1))('seed %d: endpoints come, go and change their labels, policies their rules', (seed) => {
  const random = makeRandom(seed);
  const apps = ['a', 'b', 'c'];
  const kept = new SelectedCounts();
  const policies = new Map<string, RuleGroup[]>();
  const endpoints = new Map<number, EndpointRow>();
  for (let step = 0; step < 40; step += 1) {
    const [name, id] = [`p${random.below(5)}`, 1 + random.below(8)];
    if (random.chance(0.3)) policies.delete(name);
    else if (random.chance(0.5)) policies.set(name, groupsOf(random.pick(apps)));
    if (random.chance(0.3)) endpoints.delete(id);
    else endpoints.set(id, row(id, random.pick(apps)));
    expect(kept.update(policies, [...endpoints.values()])).toEqual(new SelectedCounts().update(policies, [...endpoints.values()]));
  }
});

test('what is counted', () => {
  expect(new SelectedCounts().update([['p', groupsOf('a')], ['q', []]], [row(1, 'a'), row(2, 'b'), row(3, 'a')])).toEqual(new Map([['p', 2], ['q', 0]]));
});
