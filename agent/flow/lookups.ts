// What hubble/flow.ts asks of the agent: names for the numbers and addresses of a record.
import type { Lookups } from '../../hubble/flow.ts';
import { DEFAULT_CLUSTER } from '../identity/labels.ts';
import type { IdentityRow } from '../identity/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { RemoteEndpointRow } from '../node/tables.ts';
import type { PolicyReconciler } from '../policy/reconciler.ts';
import type { Table } from '../store/table.ts';
import { wallClock } from './clock.ts';
import { controllerOf, identityLabels, logsOf, policiesOf } from './names.ts';

export function lookupsOf(
  endpoints: Table<EndpointRow>, remote: Table<RemoteEndpointRow>, identities: Table<IdentityRow>, policy: PolicyReconciler, nodeName: string,
): Lookups {
  return {
    endpoint: (address) => {
      const own = endpoints.by('address', address)[0];
      const row = own ?? remote.by('address', address)[0];
      return row && {
        id: own?.id ?? 0, identity: row.identity, namespace: row.namespace, podName: row.name, labels: row.labels,
        workloads: [controllerOf(row)], clusterName: DEFAULT_CLUSTER,
      };
    },
    identityLabels: (id) => identityLabels(identities, id),
    policies: (judgement) => policiesOf(policy, judgement),
    policyLog: (judgement) => logsOf(policy, judgement),
    toUnixNs: wallClock(),
    nodeName,
  };
}
