// L7 rules across nodes: judged by the Envoy of the client's node, of the server's node, of both; by plain routes and in VXLAN, both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pod, policy } from './cluster.ts';
import { asking, httpServer, type Answered } from './http.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, slowness } from './programs.ts';

const port = 8080;
const modes = [
  { mode: 'plain routes', name: 'l7-plain', args: ['--tunnel', 'disabled'] },
  { mode: 'VXLAN', name: 'l7-vxlan', args: ['--tunnel', 'vxlan'] },
] as const;

const at: Readonly<Record<string, Node>> = { 'default/free': 'node1', 'default/bound': 'node1', 'default/open': 'node2', 'default/judging': 'node2' };
const pods = Object.entries(at).map(([key, nodeName]) => {
  const name = key.split('/')[1]!;
  return pod(name, nodeName === 'node2' ? httpServer(port) : idle, { app: name }, 'default', { nodeName });
});
const http = (...rules: object[]): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }], rules: { http: rules } }] });
const policies = [
  policy('judging', { endpointSelector: { matchLabels: { app: 'judging' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'free' } }, { matchLabels: { app: 'bound' } }], ...http({ path: '/(both|in)' }) }] }),
  policy('bound', { endpointSelector: { matchLabels: { app: 'bound' } }, egress: [{ toEndpoints: [{ matchLabels: { app: 'open' } }, { matchLabels: { app: 'judging' } }], ...http({ path: '/(both|out)' }) }] }),
];

const rows: readonly (readonly [name: string, from: string, to: string, codes: readonly (readonly [path: string, code: number])[]])[] = [
  ['no rules', 'free', 'open', [['/any', 200]]],
  ['at the server', 'free', 'judging', [['/in', 200], ['/out', 403]]],
  ['at the client', 'bound', 'open', [['/out', 200], ['/in', 403]]],
  ['at both', 'bound', 'judging', [['/both', 200], ['/in', 403], ['/out', 403]]],
];

describe.each(modes)('$mode', ({ name, args }) => {
  let cluster: NodesCluster;
  beforeAll(async () => {
    cluster = await NodesCluster.startNodes(name, { 'pods.yaml': pods, 'policies.yaml': policies }, at, args);
    await cluster.until('servers answer', () => [['free', 'open', '/'], ['free', 'judging', '/in'], ['bound', 'judging', '/both']].every(([from, to, path]) => ask(from!, cluster.end(`default/${to}`).ipv4, [path!])[0]!.code === 200));
  }, 180_000 * slowness);
  afterAll(async () => {
    await cluster.close();
    expect(cluster.left()).toEqual([]);
  }, 60_000 * slowness);

  function ask(from: string, address: string, paths: readonly string[]): Answered[] {
    const { out, error } = cluster.exec(`default/${from}`, ...asking(address, port, paths.map((path) => ({ path }))));
    if (out === '') throw new Error(error);
    return JSON.parse(out) as Answered[];
  }

  test.each(rows)('%s', (_name, from, to, codes) => {
    for (const family of ['ipv4', 'ipv6'] as const) {
      const answers = ask(from, cluster.end(`default/${to}`)[family], codes.map(([path]) => path));
      expect(answers.map(({ code }) => code)).toEqual(codes.map(([, code]) => code));
      for (const { code, body } of answers) if (code === 200) expect(JSON.parse(body)).toMatchObject({ client: cluster.end(`default/${from}`)[family] });
    }
  });
});
