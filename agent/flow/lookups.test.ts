// Names change, and flows from before keep the ones they had: pods that are renamed, relabelled, replaced, deleted; identities and
// policy numbers that are used again.
import { describe, expect, test } from '@jest/globals';
import { Entries } from '../../hubble/entries.ts';
import { compileEntryFilters } from '../../hubble/filters/raw.ts';
import { frameHeaderBytes } from '../../hubble/grpc/frame.ts';
import { getFlowsResponseMessage } from '../../hubble/proto.ts';
import { Ring } from '../../hubble/ring.ts';
import { ip4, recordOf, slotsOf } from '../../hubble/testing.ts';
import type { Flow, FlowFilter, GetFlowsResponse } from '../../hubble/types.ts';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { remoteEndpointTable } from '../node/tables.ts';
import { identityTable } from '../identity/tables.ts';
import type { MergedPolicy } from '../policy/image.ts';
import type { KernelNumbers } from '../policy/kernel-numbers.ts';
import { action } from '../../bpf/types.gen.ts';
import { History } from './history.ts';
import { Names } from './lookups.ts';

const web: EndpointRow = {
  id: 5, key: 'shop/web', namespace: 'shop', name: 'web', uid: 'u', labels: ['k8s:app=web'], identity: 300, ipv4: '10.0.0.2', ipv6: 'fd00::2', interfaceName: 'w', ifindex: 7,
  mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts: [], state: 'ready',
};
const policy = (name: string): MergedPolicy => ({
  key: name, direction: 'ingress', words: 1, defaultAction: 'default-deny', intervals: [{ lower: 0, steps: [] }], peerSets: ['any'],
  rules: [{ policy: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name }, path: 'spec.ingress[0]', action: 'allow' }], names: [], l7: new Map(), enforcedBy: [],
});

/** A ring of records of the connection to 10.0.0.2, one for each call of `record`, and the names that change between them. */
class Node {
  readonly endpoints = endpointTable();
  readonly identities = identityTable();
  readonly names: Names;
  readonly entries: Entries;
  readonly policies = new Map<number, MergedPolicy>();
  revision = 0;
  nowNs = 1_000;

  constructor(capacity = 100) {
    const self = this;
    const numbers: Pick<KernelNumbers, 'revision' | 'policyOf'> = { get revision() { return self.revision; }, policyOf: (id) => self.policies.get(id) };
    this.names = new Names(this.endpoints, remoteEndpointTable(), this.identities, numbers, 'node1', undefined, () => this.nowNs);
    this.entries = new Entries(new Ring(capacity), this.names.lookups);
    this.endpoints.write([web]);
    this.identities.write([{ id: 300, labels: ['k8s:app=web'], kind: 'workload' }]);
    this.settle();
  }

  settle(): void {
    this.nowNs += 10;
    this.names.look();
    this.nowNs += 10;
  }

  change(what: (node: Node) => void): void {
    this.settle();
    what(this);
    this.settle();
  }

  record(identity = 300, did: number = action.ACTION_ALLOW): void {
    this.nowNs += 10;
    const ingress = { bits: 1n, policy: 3, interval: 0, word: 0, action: did };
    this.entries.ring.addRecords(slotsOf(recordOf({ time_ns: BigInt(this.nowNs), daddr: { word: ip4(10, 0, 0, 2) }, destination_identity: identity, ingress })));
  }

  /** Of every flow that is kept: the pod, its labels, the policy. */
  told(): string[] {
    const { ring } = this.entries;
    return Array.from({ length: ring.next - ring.oldest }, (_, index) => textOf(this.entries.flow(ring.oldest + index)!));
  }

  /** The last one, as a client that follows gets it. */
  sent(): string {
    const { encoded, ring } = this.entries;
    const place = encoded.place(ring.next - 1);
    return textOf((getFlowsResponseMessage.decode(encoded.chunk(place).subarray(encoded.start(place) + frameHeaderBytes, encoded.end(place))) as unknown as GetFlowsResponse).flow!);
  }
}

const textOf = ({ destination, ingress_allowed_by: by }: Flow): string =>
  [`${destination?.namespace ?? ''}/${destination?.pod_name ?? ''}`, ...destination?.labels ?? [], ...(by ?? []).map(({ name }) => name ?? '')].join(' ');

const setPolicy = (name: string) => (node: Node): void => {
  node.policies.set(3, policy(name));
  node.revision += 1;
};

const cases: { name: string; change: (node: Node) => void; before: string; after: string }[] = [
  { name: 'a pod is renamed', change: ({ endpoints }) => { endpoints.write([{ ...web, name: 'shop', key: 'shop/shop' }], ['shop/web']); }, before: 'shop/web k8s:app=web', after: 'shop/shop k8s:app=web' },
  { name: 'a pod is relabelled', change: ({ endpoints }) => { endpoints.write([{ ...web, labels: ['k8s:app=new'] }]); }, before: 'shop/web k8s:app=web', after: 'shop/web k8s:app=new' },
  { name: 'a pod is deleted, its identity lives on', change: ({ endpoints }) => { endpoints.write([], ['shop/web']); }, before: 'shop/web k8s:app=web', after: '/ k8s:app=web' },
  { name: 'pod and identity are deleted', change: ({ endpoints, identities }) => { endpoints.write([], ['shop/web']); identities.write([], ['300']); }, before: 'shop/web k8s:app=web', after: '/' },
  { name: 'another pod gets the address', change: ({ endpoints }) => { endpoints.write([], ['shop/web']); endpoints.write([{ ...web, key: 'a/b', namespace: 'a', name: 'b' }]); }, before: 'shop/web k8s:app=web', after: 'a/b k8s:app=web' },
  { name: 'a pod moves to another address', change: ({ endpoints }) => { endpoints.write([{ ...web, ipv4: '10.0.0.3' }]); }, before: 'shop/web k8s:app=web', after: '/ k8s:app=web' },
  { name: 'the number of an identity is used again', change: ({ endpoints, identities }) => { endpoints.write([{ ...web, identity: 301 }]); identities.write([{ id: 300, labels: ['k8s:app=other'], kind: 'workload' }]); }, before: 'shop/web k8s:app=web', after: 'shop/web k8s:app=other' },
  { name: 'a policy gets its number', change: setPolicy('one'), before: 'shop/web k8s:app=web one', after: 'shop/web k8s:app=web one' },
  { name: 'what has no name in it: nothing changes', change: ({ endpoints }) => { endpoints.write([{ ...web, state: 'waiting' }]); }, before: 'shop/web k8s:app=web', after: 'shop/web k8s:app=web' },
];

describe('a flow shows the names it had when it happened', () => {
  test.each(cases)('$name', ({ change, before, after }) => {
    const node = new Node();
    node.record();
    node.sent(); // what it is made of is remembered
    node.change(change);
    node.record();
    expect(node.sent()).toBe(after);
    expect(node.told()).toEqual([before, after]);
  });

  test('what was redirected names the policy of its L7 rules, as what was allowed does', () => {
    const node = new Node();
    node.change(setPolicy('one'));
    node.record(300, action.ACTION_PROXY);
    expect(node.told()).toEqual(['shop/web k8s:app=web one']);
  });

  test('the number of a policy is used again', () => {
    const node = new Node();
    node.change(setPolicy('one'));
    node.record();
    node.change(setPolicy('two'));
    node.record();
    expect(node.told()).toEqual(['shop/web k8s:app=web one', 'shop/web k8s:app=web two']);
  });

  test('DNS names of what an endpoint reaches: on its flows, on the replies, in filters', () => {
    const node = new Node();
    let names: string[] = [];
    node.names.follow({ get revision() { return names.length; }, namesOf: (endpoint, address) => (endpoint === 5 && Buffer.from(ip4(203, 0, 113, 9)).equals(Buffer.from(address, 'latin1')) ? names : []) }, { revision: 0, of: () => 2 });
    const record = (reply: boolean): void => {
      const [web4, world] = [{ word: ip4(10, 0, 0, 2) }, { word: ip4(203, 0, 113, 9) }];
      node.entries.ring.addRecords(slotsOf(recordOf({ time_ns: BigInt(node.nowNs + 1_000), ...(reply ? { saddr: world, daddr: web4, is_reply: 1 } : { saddr: web4, daddr: world }) })));
    };
    const sent = (number: number): Flow => {
      const place = node.entries.encoded.place(number);
      const bytes = node.entries.encoded.chunk(place).subarray(node.entries.encoded.start(place) + frameHeaderBytes, node.entries.encoded.end(place));
      return (getFlowsResponseMessage.decode(bytes) as unknown as GetFlowsResponse).flow!;
    };
    record(false);
    expect(sent(0).destination_names).toEqual([]);
    names = ['www.example.com.'];
    record(false);
    record(true);
    expect([sent(1).destination_names, sent(1).source_names, sent(2).destination_names, sent(2).source_names]).toEqual([['www.example.com'], [], [], ['www.example.com']]);
    expect(node.entries.flow(2)).toMatchObject({ source_names: ['www.example.com'] });
    names = ['www.example.com.', 'other.example.com.'];
    record(false);
    expect(sent(3).destination_names).toEqual(['www.example.com', 'other.example.com']);
    const passed = (filter: FlowFilter): number[] => [0, 1, 2, 3].filter(compileEntryFilters(node.entries, [filter]));
    expect([passed({ destination_fqdn: ['*.example.com'] }), passed({ source_fqdn: ['www.example.com'] }), passed({ destination_fqdn: ['nothing.example.com'] })]).toEqual([[0, 1, 3], [2], []]);
  });

  test('filters ask for the name of that time too', () => {
    const node = new Node();
    for (const name of ['web', 'v2', 'v3', 'web']) {
      node.change(({ endpoints }) => { endpoints.write([{ ...web, name }]); });
      node.record();
      node.record();
    }
    const numbers = (pod: string): number[] => {
      const matches = compileEntryFilters(node.entries, [{ destination_pod: [pod] }]);
      return Array.from({ length: 8 }, (_, number) => number).filter(matches);
    };
    expect([numbers('shop/web'), numbers('shop/v2'), numbers('shop/v3')]).toEqual([[0, 1, 6, 7], [2, 3], [4, 5]]);
  });

  test('a filter that is in use follows a change', () => {
    const node = new Node();
    const matches = compileEntryFilters(node.entries, [{ destination_label: ['app=web'] }]);
    node.record();
    expect(matches(0)).toBe(true);
    node.change(({ endpoints }) => { endpoints.write([{ ...web, labels: ['k8s:app=new'] }]); });
    node.record();
    expect([matches(0), matches(1)]).toEqual([true, false]);
  });

  test('what no record asks for any more is forgotten, what one may ask for is kept', () => {
    const node = new Node(4);
    const oldestNs = (): number => Number(node.entries.ring.view.getBigUint64(node.entries.ring.recordAt(node.entries.ring.oldest), true));
    for (let turn = 0; turn < 50; turn += 1) {
      node.change(({ endpoints }) => { endpoints.write([{ ...web, name: `web-${turn}` }]); });
      node.record();
      node.names.upkeep(oldestNs);
    }
    expect(node.told()).toEqual([46, 47, 48, 49].map((turn) => `shop/web-${turn} k8s:app=web`));
    expect(node.names.kept).toBeLessThanOrEqual(2 * 4);
    expect(node.names.dropped).toBe(0);
  });
});

test('a history has a bound, and counts what it dropped', () => {
  const history = new History<number>();
  for (let turn = 0; turn < 50_000; turn += 1) history.supersede(String(turn % 3_000), turn, turn);
  expect(history.size).toBeLessThanOrEqual(8_192);
  expect(history.size + history.dropped).toBe(50_000);
  expect(history.at('5', 48_000, () => undefined)).toBe(48_005);
  expect(history.at('5', 60_000, () => -1)).toBe(-1);
});
