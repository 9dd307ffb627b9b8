// Large sets of policies, identities and endpoints, in the kernel: written by the agent's own code, judged by real frames in both
// families, each flow as it must be and as the offline engine says. What is beyond a limit: agent/policy/reconciler.test.ts.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { makeWorld, type CaseFlow, type CaseParty, type CasePod, type PolicyCase } from '../agent/policy/offline.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench } from './testing/bench.ts';
import { differs, familiesOf, rowsOf } from './testing/cases.ts';

type Labels = Readonly<Record<string, string>>;
type Spec = Readonly<Record<string, unknown>>;
interface Sizes { readonly policies?: number; readonly classes?: number; readonly identities?: number; readonly endpoints?: number; readonly peerSets?: number; readonly intervals?: number; readonly prefixes?: number }
interface Row { readonly name: string; readonly input: Omit<PolicyCase, 'id'>; readonly local?: number; readonly atLeast: Sizes }

const namespace = 'default';
const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const pods = (count: number, labels: (index: number) => Labels): CasePod[] => range(count).map((index) => ({ name: `p${index}`, namespace, labels: labels(index) }));
const pod = (index: number): string => `${namespace}/p${index}`;
const policy = (name: string, subject: Labels, spec: Spec): Spec =>
  ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace }, spec: { endpointSelector: { matchLabels: subject }, ...spec } });
const from = (labels: Labels, ...ports: number[]): Spec =>
  ({ fromEndpoints: [{ matchLabels: labels }], toPorts: [{ ports: ports.map((port) => ({ port: String(port), protocol: 'TCP' })) }] });
const tcp = (source: CaseParty, to: CaseParty, port: number, verdict: 'allowed' | 'denied'): CaseFlow => ({ direction: 'both', from: source, to, protocol: 'TCP', port, verdict });
const input = (endpoints: CasePod[], policies: Spec[], flows: CaseFlow[]): Omit<PolicyCase, 'id'> => ({ ipv6: true, namespaces: {}, endpoints, policies, flows });

/** Pod i is named by label a = i % 100 and b = i / 100: 200 rules tell 10,000 classes apart. Pod 0 judges. */
const grid = (index: number): Labels => ({ a: `a${index % 100}`, b: `b${Math.floor(index / 100)}`, name: `n${index}` });
const gridPolicy = policy('grid', { name: 'n0' }, { ingress: range(100).flatMap((index) => [from({ a: `a${index}` }, 1000 + index), from({ b: `b${index}` }, 2000 + index)]) });
const gridFlows = [1, 99, 100, 4321, 9_999].flatMap((index) => [
  tcp(pod(index), pod(0), 1000 + (index % 100), 'allowed'), tcp(pod(index), pod(0), 1000 + ((index + 1) % 100), 'denied'),
  tcp(pod(index), pod(0), 2000 + Math.floor(index / 100), 'allowed'), tcp(pod(index), pod(0), 2000 + ((Math.floor(index / 100) + 1) % 100), 'denied'),
]);

/** Every pod lets in the one before it, on a port of its own, and talks to nobody else. */
const chain = (count: number): Spec[] => range(count).map((index) => policy(`p${index}`, { name: `n${index}` }, {
  ingress: [from({ name: `n${(index + count - 1) % count}` }, 1000 + (index % 1000), 8080), from({ name: `n${(index + 7) % count}` }, 9090)],
  egress: [{ toEndpoints: [{ matchLabels: { name: `n${(index + 1) % count}` } }] }],
}));
const chainFlows = (count: number, picked: readonly number[]): CaseFlow[] => picked.flatMap((index) => [
  tcp(pod(index), pod(index + 1), 1000 + ((index + 1) % 1000), 'allowed'), tcp(pod(index), pod(index + 1), 1001 + ((index + 1) % 1000), 'denied'),
  tcp(pod(index), pod((index + 2) % count), 8080, 'denied'), tcp(pod(index), pod(index + 1), 9090, 'denied'),
]);

const cidrs = (count: number): string[] => range(count).flatMap((index) => [`172.${16 + (index >> 8)}.${index & 255}.0/24`, `2001:db8:${index.toString(16)}::/48`]);
const outside = (index: number, verdict: 'allowed' | 'denied'): CaseFlow[] =>
  [`172.${16 + (index >> 8)}.${index & 255}.9`, `2001:db8:${index.toString(16)}::9`].map((ip) => tcp(pod(0), { ip }, 443, verdict));

interface Scale { readonly namespaces: PolicyCase['namespaces']; readonly endpoints: CasePod[]; readonly policies: Spec[]; readonly subjects: string[]; readonly flows: [0 | 1, number, number, number, string, 0 | 1][] }
function scale(): Omit<PolicyCase, 'id'> {
  const { namespaces, endpoints, policies, subjects, flows } = JSON.parse(gunzipSync(readFileSync(new URL('../agent/policy/testdata/scale.json.gz', import.meta.url))).toString()) as Scale;
  return { ipv6: true, namespaces, endpoints, policies, flows: flows.map(([egress, subject, peer, port, protocol, allowed]): CaseFlow => {
    const [one, other] = [subjects[subject]!, `${endpoints[peer]!.namespace}/${endpoints[peer]!.name}`];
    return { direction: egress ? 'egress' : 'ingress', from: egress ? one : other, to: egress ? other : one, protocol, port, verdict: allowed ? 'allowed' : 'denied' };
  }) };
}

const rows: readonly Row[] = [
  { name: '300 peer sets in one merged policy', atLeast: { peerSets: 300 }, input: input(pods(302, (index) => ({ name: `n${index}` })),
    [policy('many', { name: 'n0' }, { ingress: range(300).map((index) => from({ name: `n${index + 1}` }, 80)), ingressDeny: [from({ name: 'n150' }, 80)] })],
    [...[1, 63, 64, 65, 128, 149, 151, 299, 300].map((index) => tcp(pod(index), pod(0), 80, 'allowed')), tcp(pod(150), pod(0), 80, 'denied'), tcp(pod(301), pod(0), 80, 'denied'), tcp(pod(1), pod(0), 81, 'denied')]) },
  { name: '1,000 prefixes of each family in one CIDRSet', atLeast: { prefixes: 2_000 }, input: input(pods(1, () => ({ name: 'n0' })),
    [policy('wide', { name: 'n0' }, { egress: [{ toCIDRSet: cidrs(1_000).map((cidr) => ({ cidr })) }] })],
    [...[0, 1, 255, 256, 500, 999].flatMap((index) => outside(index, 'allowed')), ...outside(1_000, 'denied'), ...outside(4_000, 'denied')]) },
  { name: '1,000 port intervals in one policy', atLeast: { intervals: 1_000 }, input: input(pods(2, (index) => ({ name: `n${index}` })),
    [policy('ports', { name: 'n0' }, { ingress: range(13).map((rule) => from({ name: 'n1' }, ...range(40).map((index) => 1001 + 2 * (rule * 40 + index)))) })],
    range(1_044).map((index) => tcp(pod(1), pod(0), 1000 + index, index % 2 === 1 && index < 1_040 ? 'allowed' : 'denied'))) },
  { name: '10,000 classes and endpoints', atLeast: { classes: 10_000, endpoints: 10_000 }, input: input(pods(10_000, grid), [gridPolicy], gridFlows) },
  { name: '65,535 identities', local: 100, atLeast: { identities: 65_535, classes: 10_000 },
    input: input(pods(65_280, (index) => ({ ...grid(index % 10_000), name: `n${index}` })), [gridPolicy, policy('wide', { name: 'n0' }, { egress: [{ toCIDRSet: cidrs(150).map((cidr) => ({ cidr })) }] })],
      [...gridFlows.map((flow) => ({ ...flow, direction: 'ingress' as const })), ...outside(149, 'allowed'), ...outside(150, 'denied')]) },
  { name: '5,000 merged policies with rules', atLeast: { policies: 5_000 }, input: input(pods(2_500, (index) => ({ name: `n${index}` })), chain(2_500), chainFlows(2_500, [0, 1, 63, 64, 999, 1_000, 2_000, 2_498])) },
  { name: '8,192 endpoints, and as many merged policies as there are numbers', local: 8_192, atLeast: { endpoints: 8_192, policies: 8_191 },
    input: input(pods(8_192, (index) => ({ name: `n${index}` })), chain(8_192).slice(0, 4_095).concat(policy('all', {}, { ingress: [{}] })), chainFlows(4_095, [0, 2_000, 4_000])) },
  { name: 'the recorded set: 1,000 policies, 5,000 endpoints', atLeast: { policies: 607, endpoints: 5_000 }, input: scale() },
];

let bench: Bench;
beforeEach(() => { bench = new Bench(); });
afterEach(() => { bench.close(); });

/** Compiling the largest takes an emulated machine minutes; its maps are those of the other rows. */
const isLong = ({ atLeast }: (typeof rows)[number]): boolean => (atLeast.identities ?? 0) > 10_000;
const inTime = process.env['WEIR_SLOWNESS'] === undefined ? test : test.skip;

describe.each([
  { tries: test, tried: rows.filter((row) => !isLong(row)) },
  { tries: inTime, tried: rows.filter(isLong) },
])('judged as it must be', ({ tries, tried }) => {
  tries.each(tried)('$name', async (row) => {
    const world = makeWorld(row.input);
    const { endpoints, prefixes } = rowsOf(world, 'u', row.local);
    const merged = [...world.image.policies.values()];
    const found: Required<Sizes> = {
      policies: merged.length, classes: world.image.classes.size, identities: world.image.classOfIdentity.size, endpoints: endpoints.length, prefixes: world.image.prefixes.size,
      peerSets: Math.max(...merged.map((one) => new Set(one.peerSets).size)), intervals: Math.max(...merged.map((one) => one.intervals.length)),
    };
    for (const [what, least] of Object.entries(row.atLeast)) expect([what, found[what as keyof Sizes] >= least]).toEqual([what, true]);
    await new PolicyReconciler(bench.datapath).apply(world.image, prefixes, endpoints);
    const wrong = row.input.flows.flatMap((flow, index) => familiesOf(flow).flatMap((family) => {
      const difference = differs(bench, world, flow, family);
      return difference === undefined ? [] : [`flow ${index} ${JSON.stringify(flow)} ${difference}`];
    }));
    expect(wrong).toEqual([]);
  }, 180_000);
});
