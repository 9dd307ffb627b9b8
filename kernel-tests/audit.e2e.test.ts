// End to end: from an intruder's drop to an enforced policy by way of an audit, and what planting an audit does to others: nothing.
// IPv4 and IPv6.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import type { AuditReport } from '../agent/api/policy-audit.ts';
import type { ListedPolicy, PolicyDetails } from '../agent/api/policy-rules.ts';
import { Cluster, pod, policy, withMode } from './cluster.ts';
import { idle, server, type Answer, type Probe } from './programs.ts';

const tcp = (port: number): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }] });
const subject = (app: string): object => ({ endpointSelector: { matchLabels: { app } } });
const from = (app: string): object => ({ fromEndpoints: [{ matchLabels: { app } }] });

const standing = {
  'pods.yaml': [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } },
    pod('db', server(5432, 5433)), pod('open', server(8080)), pod('shop', idle), pod('intruder', idle),
  ],
  'db.yaml': policy('db', { ...subject('db'), ingress: [{ ...from('shop'), ...tcp(5432) }, { ...from('nobody'), ...tcp(5433) }] }),
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('audit', standing);
  const probe: Probe[] = [['db', 5432], ['open', 8080]].map(([name, port]) => ({ kind: 'tcp', to: cluster.end(`default/${name}`).ipv4, port: Number(port) }));
  await cluster.until('workloads listen', () => cluster.probe('node', probe).every((answer) => answer === 'open'));
}, 120_000);
afterAll(async () => { await cluster.close(); });

const families = ['ipv4', 'ipv6'] as const;
interface PolicyState { readonly name: string; readonly state: string; readonly message?: string }
const states = (): Record<string, string> => Object.fromEntries(cluster.json<PolicyState[]>('policy', 'list').map(({ name, state }) => [name, state]));
const becomes = (name: string, state: string | undefined): Promise<void> => cluster.until(`${name} is ${state ?? 'gone'}`, () => states()[name] === state);

/** Who reaches whom, in both families: `who port of whom`. */
const pairs = [['shop', 'db', 5432], ['shop', 'db', 5433], ['intruder', 'db', 5432], ['shop', 'open', 8080], ['intruder', 'open', 8080]] as const;
function reach(): Record<string, Answer[]> {
  const answers: Record<string, Answer[]> = {};
  for (const who of ['shop', 'intruder']) {
    const mine = pairs.filter(([name]) => name === who);
    const probes = families.flatMap((family) => mine.map(([, to, port]): Probe => ({ kind: 'tcp', to: cluster.end(`default/${to}`)[family], port })));
    const found = cluster.probe(`default/${who}`, probes);
    mine.forEach(([, to, port], index) => { answers[`${who} -> ${to}:${port}`] = [found[index]!, found[mine.length + index]!]; });
  }
  return answers;
}
const both = (answer: Answer): Answer[] => [answer, answer];
const before = { 'shop -> db:5432': both('open'), 'shop -> db:5433': both('silent'), 'intruder -> db:5432': both('silent'), 'shop -> open:8080': both('open'), 'intruder -> open:8080': both('open') };

const report = (name: string): AuditReport['policies'][number] => cluster.json<AuditReport>('policy', 'audit-report', name).policies[0]!;
/** Without counts of packets that were sent again, and times. */
const rows = (name: string): string[] => report(name).rows.map((row) => `${row.endpoint} ${row.direction} ${row.peer} ${row.port} ${row.is} -> ${row.wouldBe}`).sort();

test('before anything is audited', () => {
  expect(reach()).toEqual(before);
  expect(cluster.weir('policy', 'audit-report').out).toBe('no policy is audited\n');
});

describe('one audited policy', () => {
  test.each<{ name: string; object: object; found: string[] }>([
    { name: 'would deny by default what passes', object: policy('planted', { ...subject('open'), ingress: [{ ...from('shop'), ...tcp(8080) }] }), found: ['default/open ingress default/intruder 8080/TCP allowed -> denied'] },
    { name: 'would deny by a rule what passes', object: policy('planted', { ...subject('db'), ingressDeny: [from('shop')], enableDefaultDeny: { ingress: false } }), found: ['default/db ingress default/shop 5432/TCP allowed -> denied'] },
    { name: 'would allow what is dropped', object: policy('planted', { ...subject('db'), ingress: [{ ...from('shop'), ...tcp(5433) }] }), found: ['default/db ingress default/shop 5433/TCP denied -> allowed'] },
    { name: 'would deny at the source', object: policy('planted', { ...subject('intruder'), egressDeny: [{ toEntities: ['all'] }], enableDefaultDeny: { egress: false } }), found: ['default/intruder egress default/open 8080/TCP allowed -> denied'] },
    { name: 'would change nothing', object: policy('planted', { ...subject('open'), ingress: [{ fromEntities: ['all'] }] }), found: [] },
  ])('$name: told, and nobody notices', async ({ object, found }) => {
    cluster.write('planted.yaml', withMode('audit', object));
    await becomes('planted', 'audited');
    expect(reach()).toEqual(before);
    await cluster.until(`the report says ${found.join()}`, () => rows('planted').join() === found.join(), 10_000);
    expect(rows('planted')).toEqual(found);
    for (const { count } of report('planted').rows) expect(count).toBeGreaterThanOrEqual(2);
    expect(states()['db']).toBe('enforced');
    cluster.remove('planted.yaml');
    await becomes('planted', undefined);
  });

  test('off is as if it were not there, and is listed', async () => {
    cluster.write('planted.yaml', withMode('off', policy('planted', { ...subject('open'), ingressDeny: [{ fromEntities: ['all'] }] })));
    await becomes('planted', 'off');
    expect(reach()).toEqual(before);
    cluster.remove('planted.yaml');
    await becomes('planted', undefined);
  });

  test('a namespace that audits: what was dropped passes, and is told; a wrong mode is refused by name', async () => {
    const [, ...pods] = standing['pods.yaml'];
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } };
    cluster.write('pods.yaml', [withMode('audit', namespace), ...pods]);
    await becomes('db', 'audited');
    expect(reach()['intruder -> db:5432']).toEqual(both('open'));
    expect(rows('db')).toEqual(['default/db ingress default/intruder 5432/TCP allowed -> denied', 'default/db ingress default/shop 5433/TCP allowed -> denied']);
    cluster.write('pods.yaml', [withMode('adit', namespace), ...pods]);
    await cluster.until('the problem', () => cluster.weir('status').out.includes('did you mean `audit`?'));
    expect(states()['db']).toBe('audited');
    cluster.write('pods.yaml', standing['pods.yaml']);
    await becomes('db', 'enforced');
    expect(reach()).toEqual(before);
  });
});

test("an intruder's drop, explained; the suggestion audited, then enforced", async () => {
  cluster.probe('default/intruder', families.map((family): Probe => ({ kind: 'tcp', to: cluster.end('default/db')[family], port: 5432 })));
  const suggestion = parse(cluster.weir('explain', '--last-drop', '--yaml').out) as { metadata: { name: string } };
  const { name } = suggestion.metadata;
  cluster.write('suggestion.yaml', withMode('audit', suggestion));
  await becomes(name, 'audited');
  expect(reach()).toEqual(before);
  expect(rows(name)).toEqual(['default/db ingress default/intruder 5432/TCP denied -> allowed']);
  const told = cluster.weir('observe', '--last', '20', '--verdict', 'AUDIT', '--print-policy-names').out;
  expect(told).toMatch(new RegExp(`intruder:\\d+ .* -> default/db:5432 .* policy-verdict:none INGRESS AUDITED INGRESS ALLOWED BY default/${name} \\(TCP Flags: SYN; dropped, would be allowed\\)`));
  cluster.write('suggestion.yaml', suggestion);
  await becomes(name, 'enforced');
  expect(reach()).toEqual({ ...before, 'intruder -> db:5432': both('open') });
  expect(cluster.weir('policy', 'audit-report', name)).toMatchObject({ code: 1, error: expect.stringMatching(/is enforced, not audited\n {2}audit it by the annotation policy\.weir\.io\/mode: audit/) });
});

test('each rule with what it decided; one that never did is seen', () => {
  reach();
  const { ruleCounts, ...row } = cluster.json<PolicyDetails>('policy', 'get', 'default/db');
  expect(row).toMatchObject({ state: 'enforced', endpoints: 1, rules: 2 });
  expect(ruleCounts.map(({ rule, action, packets, lastHit }) => [rule, action, packets > 0, lastHit !== undefined])).toEqual([
    ['spec.ingress[0]', 'allow', true, true], ['spec.ingress[1]', 'allow', false, false], ['default deny, ingress', 'deny', true, true],
  ]);
  expect(ruleCounts.map(({ at }) => at)).toEqual(ruleCounts.map(() => expect.stringMatching(/db\.yaml:\d+$/)));
  expect(new Set(ruleCounts.map(({ at }) => at)).size).toBe(3);
  // A connection that was opened, answered and closed is several packets, a SYN and more.
  expect(ruleCounts[0]!.packets).toBeGreaterThan(4);
  expect(cluster.weir('policy', 'get', 'default/db').out).toMatch(/spec\.ingress\[1\] +allow +0 +0 +never/);
  const [listed] = cluster.json<ListedPolicy[]>('policy', 'list').filter(({ name }) => name === 'db');
  expect(listed!.packets).toBe(ruleCounts.reduce((sum, { packets }) => sum + packets, 0));
});

test('drops by reason', () => {
  const drops = (): number => cluster.json<{ reason: string; direction: string; packets: number; bytes: number }[]>('bpf', 'drops')
    .find(({ reason, direction }) => reason === 'Policy denied' && direction === 'ingress')?.packets ?? 0;
  const counted = drops();
  cluster.probe('default/shop', families.map((family): Probe => ({ kind: 'tcp', to: cluster.end('default/db')[family], port: 5433 })));
  expect(drops()).toBeGreaterThanOrEqual(counted + 2);
  expect(cluster.weir('status').out).toMatch(/ dropped: \d+ Policy denied \(ingress\)/);
});

test('an agent that is killed and started again goes on auditing', async () => {
  cluster.write('planted.yaml', withMode('audit', policy('planted', { ...subject('open'), ingress: [{ ...from('shop'), ...tcp(8080) }] })));
  await becomes('planted', 'audited');
  await cluster.stop('SIGKILL');
  await cluster.up();
  await becomes('planted', 'audited');
  expect(reach()['intruder -> open:8080']).toEqual(both('open'));
  expect(rows('planted')).toEqual(['default/open ingress default/intruder 8080/TCP allowed -> denied']);
});
