// Changes of the tables -> agent events of the Hubble API: start, policies, endpoints, ipcache.
import type { AgentEvents } from '../../hubble/agent-events.ts';
import { timestampOfMs } from '../../hubble/time.ts';
import { agentEventType, type AgentEvent } from '../../hubble/types.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { IpcacheRow } from '../ipcache/tables.ts';
import type { PolicyRow } from '../policy/tables.ts';
import type { Change, Table } from '../store/table.ts';

export interface Watched { readonly endpoints: Table<EndpointRow>; readonly policies: Table<PolicyRow>; readonly ipcache: Table<IpcacheRow> }

/** The result ends it. */
export function reportChanges({ endpoints, policies, ipcache }: Watched, events: AgentEvents): () => void {
  events.add({ type: agentEventType.agentStarted, agent_start: { time: timestampOfMs(Date.now()) } });
  const stops = [
    endpoints.subscribe((changes) => { for (const change of changes) for (const event of endpointEvents(change)) events.add(event); }),
    policies.subscribe((changes) => { for (const change of changes) for (const event of policyEvents(change, policies.revision)) events.add(event); }),
    ipcache.subscribe((changes) => { for (const change of changes) events.add(ipcacheEvent(change, endpoints)); }),
  ];
  return () => { for (const stop of stops) stop(); };
}

export function endpointEvents({ old, row }: Change<EndpointRow>): AgentEvent[] {
  const events: AgentEvent[] = [];
  const some = (row ?? old)!;
  const update = { id: some.id, labels: [...some.labels], pod_name: some.name, namespace: some.namespace };
  if (row === undefined) return [{ type: agentEventType.endpointDeleted, endpoint_update: update }];
  if (old === undefined) events.push({ type: agentEventType.endpointCreated, endpoint_update: update });
  const judged = row.state === 'ready' && (old?.state !== 'ready' || old.identity !== row.identity);
  if (judged) events.push({ type: agentEventType.endpointRegenerated, endpoint_regenerate: { id: row.id, labels: [...row.labels] } });
  return events;
}

/** What a refused version leaves in force has not changed; how many endpoints a policy selects is no change of it. */
export function policyEvents({ old, row }: Change<PolicyRow>, revision: number): AgentEvent[] {
  const some = (row ?? old)!;
  const enforced = row?.state === 'enforced';
  if (!enforced && (old?.state !== 'enforced' || row !== undefined)) return [];
  if (enforced && old?.state === 'enforced' && old.since === row.since && old.rules === row.rules) return [];
  return [{
    type: enforced ? agentEventType.policyUpdated : agentEventType.policyDeleted,
    policy_update: {
      labels: [`k8s:io.cilium.k8s.policy.derived-from=${some.kind}`, `k8s:io.cilium.k8s.policy.name=${some.name}`,
        ...(some.namespace === '' ? [] : [`k8s:io.cilium.k8s.policy.namespace=${some.namespace}`])],
      revision, rule_count: some.rules,
    },
  }];
}

function ipcacheEvent({ old, row }: Change<IpcacheRow>, endpoints: Table<EndpointRow>): AgentEvent {
  const { prefix, identity } = (row ?? old)!;
  const endpoint = endpoints.by('address', prefix.split('/')[0]!)[0];
  return {
    type: row === undefined ? agentEventType.ipcacheDeleted : agentEventType.ipcacheUpserted,
    ipcache_update: {
      cidr: prefix, identity, ...(row !== undefined && old !== undefined && { old_identity: { value: old.identity } }),
      ...(endpoint && { namespace: endpoint.namespace, pod_name: endpoint.name }),
    },
  };
}
