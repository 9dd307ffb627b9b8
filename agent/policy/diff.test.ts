import { describe, expect, test } from '@jest/globals';
import { diffWorlds, type Change } from './diff.ts';
import { diffRows, markdown, portsText } from './diff-text.ts';
import { protocolNumber } from './icmp.ts';
import { keyOf } from './intervals.ts';
import { judgeFlow, makeWorld, type CaseFlow, type CaseParty, type CasePod, type PolicyCase } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';

type World = Omit<PolicyCase, 'id' | 'flows'>;
const pod = (name: string, labels: Record<string, string>): CasePod => ({ name, namespace: 'shop', labels });
const world = (...specs: object[]): World => ({
  ipv6: true, namespaces: { shop: {} }, endpoints: [pod('web-1', { app: 'web' }), pod('web-2', { app: 'web' }), pod('db', { app: 'db' })],
  policies: specs.map((spec, index) => ({ kind: 'CiliumNetworkPolicy', metadata: { name: `p${index}`, namespace: 'shop' }, spec: { endpointSelector: { matchLabels: { app: 'db' } }, ...spec } })),
});
const diff = (old: World, now: World): Change[] => diffWorlds({ old: makeWorld(old), new: makeWorld(now) });
const web = (port: string, endPort?: number) => ({ fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port, protocol: 'TCP', ...(endPort === undefined ? {} : { endPort }) }] }] });
const http = (path: string) => ({ ...web('80'), toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ path }] } }] });
const lines = (old: World, now: World): string[] => diffRows(diff(old, now)).map(({ change, from, to, ports, by }) => `${change} ${from.join(' & ')} -> ${to.join(' & ')} ${ports} by ${by.join(' & ')}`);

describe('rows', () => {
  const p = (index: number): string => `CiliumNetworkPolicy shop/p${index}`;
  test.each<[string, World, World, string[]]>([
    ['nothing', world({ ingress: [web('80')] }), world({ ingress: [web('80')] }), []],
    ['the same in other words', world({ ingress: [web('80'), web('81')] }), world({ ingress: [web('80', 81)] }), []],
    ['a port more, for both replicas in one row', world({ ingress: [web('80')] }), world({ ingress: [web('80', 82)] }), [`opened shop app=web (2 workloads) -> shop/db 81-82/TCP by ${p(0)} spec.ingress[0]`]],
    ['a port less', world({ ingress: [web('80', 90)] }), world({ ingress: [web('80', 89)] }), [`closed shop app=web (2 workloads) -> shop/db 90/TCP by ${p(0)}`]],
    ['a deny', world({ ingress: [web('80')] }), world({ ingress: [web('80')] }, { ingressDeny: [web('80')] }), [`closed shop app=web (2 workloads) -> shop/db 80/TCP by ${p(1)} spec.ingressDeny[0]`]],
    ['a prefix, without its exception', world({ egress: [{}] }), world({ egress: [{ toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] }] }), [`opened shop/db -> 10.0.0.0/8 everything by ${p(0)} spec.egress[0]`]],
    ['one type of ICMP', world({ egress: [{}] }), world({ egress: [{ toEntities: ['host'], icmps: [{ fields: [{ type: 8 }] }] }] }), [`opened shop/db -> host Echo/ICMP by ${p(0)} spec.egress[0]`]],
    ['L7 rules where there were none', world({ ingress: [web('80')] }), world({ ingress: [http('/a')] }), [`closed shop app=web (2 workloads) -> shop/db 80/TCP by ${p(0)} spec.ingress[0].toPorts[0]`]],
    ['L7 rules that go', world({ ingress: [http('/a')] }), world({ ingress: [web('80')] }), [`opened shop app=web (2 workloads) -> shop/db 80/TCP by ${p(0)} spec.ingress[0]`]],
    ['another path', world({ ingress: [http('/a')] }), world({ ingress: [http('/b')] }), [`requests shop app=web (2 workloads) -> shop/db 80/TCP by ${p(0)} spec.ingress[0].toPorts[0]`]],
    ['another path, where every request passes', world({ ingress: [http('/a'), web('80')] }), world({ ingress: [http('/b'), web('80')] }), []],
    ['rules that cannot be served together', world({ ingress: [http('/a')] }), world({ ingress: [http('/a'), { ...http('/a'), toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], serverNames: ['a.example'] }] }] }), [`closed shop app=web (2 workloads) -> shop/db 80/TCP by ${p(0)} spec.ingress[0].toPorts[0] & ${p(0)} spec.ingress[1].toPorts[0]`]],
    ['what the other end denies anyway', world({ ingress: [{}] }), world({ ingress: [{}] }, { endpointSelector: { matchLabels: { app: 'web' } }, egress: [{ toEndpoints: [{}] }, { toEntities: ['all'], toPorts: [{ ports: [{ port: '1', endPort: 65535 }] }] }], enableDefaultDeny: { egress: false } }), []],
  ])('%s', (_, old, now, rows) => expect(lines(old, now)).toEqual(rows));

  test('labels that change count as policies that change', () => {
    const old = world({ ingress: [web('80')] });
    const now = { ...old, endpoints: old.endpoints.map((one) => (one.name === 'web-1' ? pod('web-1', { app: 'wep' }) : one)) };
    expect(lines(old, now)).toEqual(['closed shop/web-1 -> shop/db 80/TCP by CiliumNetworkPolicy shop/p0']);
  });

  test('Markdown escapes what would be markup', () => {
    expect(markdown([{ change: 'closed', from: ['a|b'], to: ['c'], ports: '1/TCP', by: [] }])).toContain('| **closed** | a\\|b | c | 1/TCP |  |');
    expect(markdown([])).toBe('No flow changes.\n');
  });

  test.each([
    [[{ low: 0, high: 0xffffff }], 'everything'],
    [[{ low: keyOf(6, 0), high: keyOf(6, 65535) }, { low: keyOf(17, 53), high: keyOf(17, 53) }], 'every port of TCP, 53/UDP'],
    [[{ low: keyOf(58, 0), high: keyOf(58, 255) }], 'every type of ICMPv6'],
  ])('%j is %s', (ranges, text) => expect(portsText(ranges)).toBe(text));
});

test('500 random pairs of policy sets: every flow that changes is in the comparison, and no other', () => {
  let changed = 0;
  for (let seed = 0; seed < 500; seed += 1) {
    const one = randomCase(makeRandom(seed), 'old');
    const old = { ...one, ipv6: true };
    const now = { ...old, policies: [...one.policies.slice(1), ...randomCase(makeRandom(seed + 10_000), 'new').policies.slice(0, 1)] };
    const [before, after] = [makeWorld(old), makeWorld(now)];
    const changes = diffWorlds({ old: before, new: after });
    for (const flow of flowsOf(old, seed)) {
      const [was, is] = [judgeFlow(before, flow), judgeFlow(after, flow)];
      const key = keyOf(protocolNumber(flow.protocol)!, flow.port ?? flow.icmpType!);
      const found = changes.filter((change) => isIn(change.from.members, flow.from) && isIn(change.to.members, flow.to) && change.ranges.some(({ low, high }) => low <= key && key <= high));
      const wanted = was === is ? [] : [is === 'allowed' ? 'opened' : 'closed'];
      if (found.map(({ change }) => change).join() !== wanted.join()) expect({ seed, flow, was, is, found }).toEqual('the comparison');
      if (was !== is) changed += 1;
    }
  }
  expect(changed).toBeGreaterThan(500);

  function flowsOf(cluster: World, seed: number): CaseFlow[] {
    const random = makeRandom(seed + 1);
    const pods = cluster.endpoints.map(({ namespace, name }): CaseParty => `${namespace}/${name}`);
    const peers: CaseParty[] = [...pods, ...['host', 'remote-node', 'kube-apiserver', 'health', 'world-ipv4', 'world-ipv6'].map((entity) => ({ entity }))];
    return random.some(40, 40, () => {
      const ends = random.chance(0.5) ? { from: random.pick(pods), to: random.pick(peers) } : { from: random.pick(peers), to: random.pick(pods) };
      const protocol = random.pick(['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6']);
      return { direction: 'both', ...ends, protocol, ...(protocol.startsWith('ICMP') ? { icmpType: random.pick([3, 8, 128]) } : { port: random.pick([0, 1, 53, 80, 443, 8080, 9000]) }) };
    });
  }
  function isIn(members: readonly string[], party: CaseParty): boolean {
    return members.includes(typeof party === 'string' ? party : (party as { entity: string }).entity);
  }
});
