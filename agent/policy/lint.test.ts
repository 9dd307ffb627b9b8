import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { formatFinding } from './manifests.ts';
import { lintPolicies } from './files.ts';

const pods = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  template: {metadata: {labels: {app: db, tier: data}}, spec: {containers: [{name: c, image: x, ports: [{name: sql, containerPort: 5432}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: batch, labels: {app: job}}}
`;
const policy = (spec: string, name = 'p', kind = 'CiliumNetworkPolicy', metadata = ', namespace: shop'): string =>
  `apiVersion: cilium.io/v2\nkind: ${kind}\nmetadata: {name: ${name}${metadata}}\nspec:\n${spec.trim().replace(/^/gm, '  ')}\n`;
const db = (entries: string): string => policy(`endpointSelector: {matchLabels: {app: db}}\n${entries}`);
const fromWeb = 'fromEndpoints: [{matchLabels: {app: web}}]';
const http = (l7: string): string => `{${fromWeb}, toPorts: [{ports: [{port: "80", protocol: TCP}], ${l7}}]}`;
const clusterwide = (spec: string): string => policy(spec, 'c', 'CiliumClusterwideNetworkPolicy', '');
const knp = (spec: string): string => `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: k, namespace: shop}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;

function lint(...texts: string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'weir-lint-'));
  try {
    texts.forEach((text, index) => { writeFileSync(join(folder, `${'abc'[index]}.yaml`), text); });
    return lintPolicies([folder]).findings.map((one) => formatFinding(one).replaceAll(`${folder}/`, ''));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('one warning, at its place', () => {
  test.each([
    ['a subject that nobody is', policy('endpointSelector: {matchLabels: {app: dp}}\ningress: [{}]'), 'selects-nothing: spec.endpointSelector: no workload in these manifests matches app=dp', '5:3'],
    ['a peer that nobody is', db('ingress:\n  - fromEndpoints:\n      - matchLabels: {app: web}\n      - matchLabels: {app: wep}'), 'selects-nothing: spec.ingress[0].fromEndpoints[1]: no workload', '9:11'],
    ['a peer in a namespace that is known', db('ingress: [{fromEndpoints: [{matchLabels: {app: web, "k8s:io.kubernetes.pod.namespace": batch}}]}]'), 'selects-nothing: spec.ingress[0].fromEndpoints[0]', '6:30'],
    ['a peer of a NetworkPolicy', knp('podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: wep}}}]}]'), 'selects-nothing: spec.ingress[0].from[0]: no workload', '6:21'],
    ['a named port that nobody has', db(`ingress: [{${fromWeb}, toPorts: [{ports: [{port: sqll, protocol: TCP}]}]}]`), 'selects-nothing: spec.ingress[0]: no workload in these manifests has a port named sqll', '6:13'],
    ['an exception that leaves nothing', db('ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}]}]'), 'selects-nothing: spec.ingress[0].fromCIDRSet[0]: except leaves nothing of 10.0.0.0/8', '6:28'],
    ['a group that is not there', db('ingress: [{fromCIDRSet: [{cidrGroupRef: g}]}]'), 'selects-nothing: spec.ingress[0].fromCIDRSet[0].cidrGroupRef: there is no CiliumCIDRGroup g', '6:29'],
    ['an allow under a deny of the same', db(`ingress: [{${fromWeb}, toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]\ningressDeny: [{${fromWeb}}]`), 'shadowed: spec.ingress[0]: nothing that this allows gets through: CiliumNetworkPolicy shop/p spec.ingressDeny[0] (a.yaml:7) denies it', '6:13'],
    ['an allow under two denies, part each', db(`ingress: [{${fromWeb}, toPorts: [{ports: [{port: "80", endPort: 90, protocol: TCP}]}]}]\ningressDeny: [{fromEntities: [all], toPorts: [{ports: [{port: "70", endPort: 85}]}]}, {fromEndpoints: [{}], toPorts: [{ports: [{port: "86", endPort: 99}]}]}]`), 'shadowed: spec.ingress[0]: nothing that this allows gets through: CiliumNetworkPolicy shop/p spec.ingressDeny[0] (a.yaml:7), CiliumNetworkPolicy shop/p spec.ingressDeny[1] (a.yaml:7) deny it', '6:13'],
    ['an allow under a deny of another policy, by other labels', `${db(`ingress: [{${fromWeb}}]`)}---\n${clusterwide('endpointSelector: {matchLabels: {tier: data}}\ningressDeny: [{fromEndpoints: [{}]}]')}`, 'shadowed: spec.ingress[0]', '6:13'],
    ['the same entry twice', db(`ingress:\n  - ${fromWeb}\n  - ${fromWeb}`), 'duplicate: spec.ingress[1]: CiliumNetworkPolicy shop/p spec.ingress[0] (a.yaml:7) allows all of this already', '8:7'],
    ['an entry within a wider one', db(`ingress:\n  - ${fromWeb}\n    toPorts: [{ports: [{port: "80", protocol: TCP}]}]\n  - ${fromWeb}\n    toPorts: [{ports: [{port: "1", endPort: 99}]}]`), 'duplicate: spec.ingress[0]: CiliumNetworkPolicy shop/p spec.ingress[1] (a.yaml:9)', '7:7'],
    ['a prefix within a wider one', db('ingressDeny: [{fromCIDR: [10.0.0.0/8]}, {fromCIDR: [10.1.0.0/16]}]'), 'duplicate: spec.ingressDeny[1]: CiliumNetworkPolicy shop/p spec.ingressDeny[0] (a.yaml:6) denies', '6:43'],
    ['the world in', db('ingress: [{fromEntities: [world]}]'), 'allows-world: spec.ingress[0]: every address of the world may connect, on every port', '6:13'],
    ['the world by prefix', db('ingress: [{fromCIDR: [0.0.0.0/0], toPorts: [{ports: [{port: "80"}]}]}]'), 'allows-world: spec.ingress[0]: every address of the world may connect', '6:13'],
    ['the world by no peer at all', db('ingress: [{toPorts: [{ports: [{port: "80"}]}]}]'), 'allows-world: spec.ingress[0]', '6:13'],
    ['the world out', db('egress: [{toEntities: [all]}]'), 'allows-world: spec.egress[0]: every address of the world may be reached, on every port', '6:12'],
    ['everybody of the namespace in', db('ingress: [{fromEndpoints: [{}]}]'), 'unprotected: spec.ingress[0]: an empty selector lets every workload that it is scoped to in, on every port', '6:13'],
    ['everybody of the cluster in', clusterwide('endpointSelector: {matchLabels: {app: db}}\ningress: [{fromEndpoints: [{}]}]'), 'unprotected: spec.ingress[0]: an empty selector lets every workload of the cluster in', '6:13'],
    ['everybody in, as a NetworkPolicy', knp('podSelector: {}\ningress: [{from: [{namespaceSelector: {}}]}]'), 'unprotected: spec.ingress[0]', '6:13'],
    ['egress without name servers', db('egress:\n  - toEndpoints: [{matchLabels: {app: web}}]\n    toPorts: [{ports: [{port: "53", protocol: TCP}]}]'), 'no-dns: spec.egress: egress of shop/db is enforced and no rule leads to port 53/UDP', '6:3'],
    ['L7 rules beside a rule that asks nothing', db(`ingress: [${http('rules: {http: [{path: /a}]}')}, {${fromWeb}}]`), 'open-l7: spec.ingress[0].toPorts[0]: every request passes: CiliumNetworkPolicy shop/p spec.ingress[1] (a.yaml:6) allows the same peers', '6:68'],
    ['L7 rules without default deny', db(`ingress: [${http('rules: {http: [{path: /a}]}')}]\nenableDefaultDeny: {ingress: false}`), 'open-l7: spec.ingress[0].toPorts[0]: every request passes: no policy denies by default here', '6:68'],
    ['L7 rules of two kinds', db(`ingress: [${http('rules: {http: [{path: /a}]}')}, ${http('serverNames: [a.example]')}]`), 'mixed-l7: spec.ingress[1].toPorts[0]: connections are refused that both this and CiliumNetworkPolicy shop/p spec.ingress[0].toPorts[0] (a.yaml:6) are about', '6:194'],
    ['an HTTP rule under a wider one', db(`ingress: [${http('rules: {http: [{method: GET, path: /a}, {path: /a}]}')}]`), 'duplicate: spec.ingress[0].toPorts[0].rules.http[0]: http[1] beside it allows all of this already', '6:122'],
    ['the same L7 rules twice', db(`ingress: [${http('rules: {http: [{path: /a}]}')}, ${http('rules: {http: [{path: /a}]}')}]`), 'duplicate: spec.ingress[1].toPorts[0]: CiliumNetworkPolicy shop/p spec.ingress[0].toPorts[0] (a.yaml:6) allows all of this already', '6:194'],
    ['egress with L7 rules alone', db('egress:\n  - toEndpoints: [{matchLabels: {app: web}}]\n    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]'), 'no-dns: spec.egress: egress of shop/db', '6:3'],
    ['an L7 peer that nobody is', db('ingress: [{fromEndpoints: [{matchLabels: {app: wep}}], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]'), 'selects-nothing: spec.ingress[0].fromEndpoints[0]: no workload', '6:30'],
    ['what is not enforced yet', db('egress: [{toGroups: [{aws: {region: eu}}]}]'), 'not-enforced: spec.egress[0].toGroups: cloud provider groups as peers', '6:13'],
  ])('%s', (_, text, warning, place) => expect(lint(text, pods)).toEqual([expect.stringContaining(`a.yaml:${place}: warning ${warning}`)]));
});

describe('no warning', () => {
  test.each([
    ['a policy without fault', db(`ingress: [{${fromWeb}, toPorts: [{ports: [{port: sql, protocol: TCP}]}]}]`), pods],
    ['no workloads at hand: nothing is known of who is selected', db('ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]'), ''],
    ['a namespace that no manifest tells of', db('egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}], toPorts: [{ports: [{port: "53", protocol: UDP}]}]}]'), pods],
    ['HTTP rules that differ, and two kinds on ports of their own', db(`ingress: [${http('rules: {http: [{path: /a}, {path: /b}]}')}, ${http('rules: {http: [{path: /c}]}')}, ${http('serverNames: [a.example]').replace('80', '443')}]`), pods],
    ['a deny of a part', db(`ingress: [{${fromWeb}, toPorts: [{ports: [{port: "80", endPort: 90, protocol: TCP}]}]}]\ningressDeny: [{${fromWeb}, toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]`), pods],
    ['a deny of one of two', policy(`endpointSelector: {}\ningress: [{${fromWeb}}]\nenableDefaultDeny: {ingress: true}`) + `---\n${policy(`endpointSelector: {matchLabels: {app: db}}\ningressDeny: [{${fromWeb}}]`, 'q')}`, pods],
    ['the same of another direction, action or subject', db(`ingress: [{${fromWeb}}]\negressDeny: [{toEndpoints: [{matchLabels: {app: web}}]}]\nenableDefaultDeny: {egress: false}`), pods],
    ['a rule for an exception that another has', db('ingressDeny: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}, {fromCIDR: [10.1.2.0/24]}]'), pods],
    ['DNS by a range', db('egress: [{toEntities: [cluster], toPorts: [{ports: [{port: "1", endPort: 100}]}]}]'), pods],
    ['DNS by another policy', `${db('egress: [{toEndpoints: [{matchLabels: {app: web}}]}]')}---\n${policy('endpointSelector: {}\negress: [{toEntities: [cluster], toPorts: [{ports: [{port: "53", protocol: UDP}]}]}]', 'dns')}`, pods],
    ['egress that is not enforced', db('egress: [{toCIDR: [10.0.0.0/8], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]\nenableDefaultDeny: {egress: false}'), pods],
    ['what the policy says is meant', policy('endpointSelector: {matchLabels: {app: db}}\ningress: [{fromEntities: [world]}]\negress: [{}]', 'p', undefined, ', namespace: shop, annotations: {weir/lint-ignore: "no-dns, allows-world"}'), pods],
  ])('%s', (_, ...texts) => expect(lint(...texts)).toEqual([]));

  test('of the examples', () => expect(lintPolicies([fileURLToPath(new URL('../../examples/shop', import.meta.url))])).toEqual({ policies: 5, findings: [] }));
});

test('an object with an error takes no part, the others are judged', () => {
  const found = lint(`${db('ingres: []')}---\n${policy('endpointSelector: {}\ningress: [{fromEntities: [world]}]', 'q')}`, pods);
  expect(found).toEqual([
    expect.stringContaining('a.yaml:6:3: spec.ingres: unknown field'), expect.stringContaining('a.yaml:13:13: warning allows-world')]);
});
