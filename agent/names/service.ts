// The Service kube-system/kube-dns, as if a file had it: at the 10th address of the range of ClusterIPs, where people expect it.
import type { ManifestRow, Source } from '../directory/tables.ts';
import { addressAt } from '../node/addresses.ts';
import { dnsLabels, dnsName, dnsNamespace } from './pod.ts';

const offset = 10;
const source: Source = { file: 'weir', line: 1, column: 1 };

/** `local`: of a cluster with a name server on each node. */
export function dnsService(range: string, local: boolean): ManifestRow {
  const ports = [{ name: 'dns', port: 53, protocol: 'UDP' }, { name: 'dns-tcp', port: 53, protocol: 'TCP' }];
  return {
    key: `Service/${dnsNamespace}/${dnsName}`, apiVersion: 'v1', kind: 'Service', namespace: dnsNamespace, name: dnsName, source, locate: () => source,
    object: {
      apiVersion: 'v1', kind: 'Service', metadata: { name: dnsName, namespace: dnsNamespace, labels: dnsLabels },
      spec: { selector: dnsLabels, clusterIP: addressAt(range, offset), ports, ...(local ? { internalTrafficPolicy: 'Local' } : {}) },
    },
  };
}
