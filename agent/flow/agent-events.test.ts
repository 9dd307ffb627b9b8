// Changes of the tables as the agent events that users of Hubble know.
import { describe, expect, test } from '@jest/globals';
import { AgentEvents } from '../../hubble/agent-events.ts';
import type { AgentEvent } from '../../hubble/types.ts';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { ipcacheTable, type IpcacheRow } from '../ipcache/tables.ts';
import { policyTable, type PolicyRow } from '../policy/tables.ts';
import { reportChanges } from './agent-events.ts';

const endpoint = (changes: Partial<EndpointRow> = {}): EndpointRow => ({
  id: 3, key: 'shop/web', namespace: 'shop', name: 'web', uid: 'u', labels: ['k8s:app=web'], identity: 300, ipv4: '10.0.0.2', ipv6: 'fd00::2',
  interfaceName: 'weir_3', ifindex: 7, mac: '', hostMac: '', namedPorts: [], state: 'waiting', ...changes,
});
const policy = (changes: Partial<PolicyRow> = {}): PolicyRow => ({
  key: 'CiliumNetworkPolicy/shop/web', kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'web', state: 'enforced', endpoints: 1, rules: 2, since: 't1',
  source: { file: 'a.yaml', line: 1, column: 1 }, ...changes,
});
const prefix = (changes: Partial<IpcacheRow> = {}): IpcacheRow => ({ prefix: '10.0.0.2/32', identity: 300, ifindex: 7, host: false, origin: 'endpoint', ...changes });

type Watched = { endpoints: ReturnType<typeof endpointTable>; policies: ReturnType<typeof policyTable>; ipcache: ReturnType<typeof ipcacheTable> };
const policyLabels = ['k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy', 'k8s:io.cilium.k8s.policy.name=web', 'k8s:io.cilium.k8s.policy.namespace=shop'];
const update = { id: 3, labels: ['k8s:app=web'], pod_name: 'web', namespace: 'shop' };

const rows: { name: string; before?: (tables: Watched) => void; change: (tables: Watched) => void; events: AgentEvent[] }[] = [
  { name: 'an endpoint comes', change: ({ endpoints }) => { endpoints.write([endpoint()]); }, events: [{ type: 7, endpoint_update: update }] },
  { name: 'its policy is in the kernel', before: ({ endpoints }) => { endpoints.write([endpoint()]); }, change: ({ endpoints }) => { endpoints.write([endpoint({ state: 'ready' })]); },
    events: [{ type: 5, endpoint_regenerate: { id: 3, labels: ['k8s:app=web'] } }] },
  { name: 'an endpoint goes', before: ({ endpoints }) => { endpoints.write([endpoint()]); }, change: ({ endpoints }) => { endpoints.write([], ['shop/web']); }, events: [{ type: 8, endpoint_update: update }] },
  { name: 'a policy comes', change: ({ policies }) => { policies.write([policy()]); }, events: [{ type: 3, policy_update: { labels: policyLabels, revision: 1, rule_count: 2 } }] },
  { name: 'a policy selects more', before: ({ policies }) => { policies.write([policy()]); }, change: ({ policies }) => { policies.write([policy({ endpoints: 9 })]); }, events: [] },
  { name: 'a policy changes', before: ({ policies }) => { policies.write([policy()]); }, change: ({ policies }) => { policies.write([policy({ since: 't2' })]); },
    events: [{ type: 3, policy_update: { labels: policyLabels, revision: 2, rule_count: 2 } }] },
  { name: 'a policy goes', before: ({ policies }) => { policies.write([policy()]); }, change: ({ policies }) => { policies.write([], [policy().key]); },
    events: [{ type: 4, policy_update: { labels: policyLabels, revision: 2, rule_count: 2 } }] },
  { name: 'a refused policy was none', change: ({ policies }) => { policies.write([policy({ state: 'refused' })]); }, events: [] },
  { name: 'a prefix of an endpoint', before: ({ endpoints }) => { endpoints.write([endpoint()]); }, change: ({ ipcache }) => { ipcache.write([prefix()]); },
    events: [{ type: 9, ipcache_update: { cidr: '10.0.0.2/32', identity: 300, namespace: 'shop', pod_name: 'web' } }] },
  { name: 'another identity behind a prefix', before: ({ ipcache }) => { ipcache.write([prefix()]); }, change: ({ ipcache }) => { ipcache.write([prefix({ identity: 301 })]); },
    events: [{ type: 9, ipcache_update: { cidr: '10.0.0.2/32', identity: 301, old_identity: { value: 300 } } }] },
  { name: 'a prefix goes', before: ({ ipcache }) => { ipcache.write([prefix()]); }, change: ({ ipcache }) => { ipcache.write([], ['10.0.0.2/32']); },
    events: [{ type: 10, ipcache_update: { cidr: '10.0.0.2/32', identity: 300 } }] },
];

describe('agent events', () => {
  test.each(rows)('$name', ({ before, change, events }) => {
    const tables = { endpoints: endpointTable(), policies: policyTable(), ipcache: ipcacheTable() };
    const log = new AgentEvents('node1');
    const stop = reportChanges(tables, log);
    expect(log.at(0).agent_event).toMatchObject({ type: 2 });
    before?.(tables);
    const from = log.next;
    change(tables);
    stop();
    tables.endpoints.write([endpoint({ key: 'shop/late' })]);
    expect(Array.from({ length: log.next - from }, (_, index) => log.at(from + index).agent_event)).toEqual(events);
  });
});
