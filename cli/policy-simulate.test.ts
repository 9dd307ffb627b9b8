// Recorded flows under other policies: what would be opened and closed, by the real command; what a flow says of policies.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { Recording } from './recording.ts';
import { recordedOf } from './policy-simulate.ts';
import { podIdentityLabels } from '../agent/identity/labels.ts';
import type { Flow } from '../hubble/types.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const labelsOf = (app: string): string[] => [...podIdentityLabels({ labels: { app }, namespace: 'shop', namespaceLabels: {}, serviceAccount: 'default' })];
const end = (app: string, identity: number) => ({ identity, namespace: 'shop', pod_name: `${app}-1`, labels: labelsOf(app), workloads: [{ name: app, kind: 'Deployment' }] });
const [web, db, thief] = [end('web', 300), end('db', 301), end('thief', 302)];
const world = { identity: 2, labels: ['reserved:world'] };
const ips = new Map<object, string>([[web, '10.0.0.1'], [db, '10.0.0.2'], [thief, '10.0.0.3'], [world, '192.0.2.7']]);

const flow = (source: object, destination: object, port: number, changes: Partial<Flow> = {}): Flow => ({
  verdict: 1, trace_reason: 1, is_reply: { value: false }, IP: { source: ips.get(source)!, destination: ips.get(destination)! }, l4: { TCP: { source_port: 40_000, destination_port: port } }, source, destination, ...changes,
});
const denied: Partial<Flow> = { verdict: 2, drop_reason_desc: 133, trace_reason: 0 };
const request = (method: string, path: string, changes: Partial<Flow> = {}): Flow => flow(web, db, 80, { l7: { type: 1, http: { method, url: `http://db${path}` } }, ...changes });
const reply = (one: Flow): Flow => ({ ...one, is_reply: { value: true }, source: one.destination!, destination: one.source!, IP: { source: one.IP!.destination!, destination: one.IP!.source! }, l4: { TCP: { source_port: one.l4!.TCP!.destination_port!, destination_port: one.l4!.TCP!.source_port! } } });

const allow = (name: string, app: string, spec: object): object => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'shop' }, spec: { endpointSelector: { matchLabels: { app } }, ...spec } });
const from = (app: string, port?: number | string): object => ({ fromEndpoints: [{ matchLabels: { app } }], ...(port !== undefined && { toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }] }) });

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'simulate-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

function simulate(policies: readonly object[], flows: readonly Flow[]): { code: number | null; out: string; error: string } {
  writeFileSync(join(folder, 'policies.yaml'), policies.map((one) => stringify(one)).join('---\n'));
  const recording = new Recording(join(folder, 'flows.jsonl'), { form: 'json', force: true });
  for (const one of flows) recording.add({ flow: one });
  recording.finish();
  const { status, stdout, stderr } = spawnSync(process.execPath, ['cli/main.ts', 'policy', 'simulate', '-f', join(folder, 'policies.yaml'), '--flows', join(folder, 'flows.jsonl'), '-o', 'json'], { cwd: root, encoding: 'utf8' });
  return { code: status, out: stdout, error: stderr };
}

const changesOf = (out: string): string[] => (JSON.parse(out) as { changes: { change: string; from: string; to: string; port: string; flows: number; by: string }[] }).changes
  .map((row) => `${row.change} ${row.from} -> ${row.to} ${row.port} x${row.flows} by ${row.by}`);

const sees = [flow(web, db, 5432), flow(web, db, 5432), reply(flow(web, db, 5432)), flow(thief, db, 5432, denied), flow(world, web, 443), flow(web, db, 9, { verdict: 2, drop_reason_desc: 132 })];
const dbFromWeb = allow('db', 'db', { ingress: [from('web')] });

describe('simulate', () => {
  test.each<{ name: string; policies: object[]; flows?: Flow[]; changes: string[]; code: number }>([
    { name: 'the policies that were in force', policies: [dbFromWeb], changes: [], code: 0 },
    { name: 'something is closed', policies: [allow('db', 'db', { ingress: [from('web', 1)] })], changes: ['closed shop/web -> shop/db 5432/TCP x2 by shop/db'], code: 1 },
    { name: 'something is opened', policies: [dbFromWeb, allow('more', 'db', { ingress: [from('thief', 5432)] })], changes: ['opened shop/thief -> shop/db 5432/TCP x1 by shop/more'], code: 0 },
    { name: 'requests: what L7 rules would refuse, and what they would let pass', policies: [allow('db', 'db', { ingress: [{ ...from('web'), toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ method: 'GET', path: '/a.*' }] } }] }] })],
      flows: [flow(web, db, 80, { verdict: 5 }), request('GET', '/a?b'), request('GET', '/c'), request('POST', '/a'), request('GET', '/ab', denied), request('GET', '/d', { ...denied, l7: { type: 2, http: { method: 'GET', url: 'http://db/d' } } })],
      changes: ['closed shop/web -> shop/db 80/TCP x2 by shop/db', 'opened shop/web -> shop/db 80/TCP x1 by shop/db'], code: 1 },
    { name: 'at the other end', policies: [dbFromWeb, allow('out', 'web', { egress: [{ toEndpoints: [{ matchLabels: { app: 'thief' } }] }] })], changes: ['closed shop/web -> shop/db 5432/TCP x2 by shop/out'], code: 1 },
    { name: 'prefixes that were not named when it was recorded', policies: [dbFromWeb, allow('web', 'web', { ingress: [{ fromCIDR: ['198.51.100.0/24'] }] })], changes: ['closed 192.0.2.7 -> shop/web 443/TCP x1 by shop/web'], code: 1 },
    { name: 'and those that let it in', policies: [dbFromWeb, allow('web', 'web', { ingress: [{ fromCIDR: ['192.0.2.0/24'] }] })], changes: [], code: 0 },
    { name: 'a deny is named', policies: [dbFromWeb, allow('no', 'db', { ingressDeny: [from('web')] })], changes: ['closed shop/web -> shop/db 5432/TCP x2 by shop/no'], code: 1 },
    { name: 'what left for another node is judged at its beginning only', policies: [dbFromWeb], flows: [flow(thief, db, 5432, { trace_observation_point: 11 })], changes: [], code: 0 },
    { name: 'named ports of the workloads in the files', policies: [allow('db', 'db', { ingress: [from('web', 'sql')] }), { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'db', namespace: 'shop' }, spec: { template: { metadata: { labels: { app: 'db' } }, spec: { containers: [{ name: 'db', ports: [{ name: 'sql', containerPort: 5432 }] }] } } } }],
      changes: [], code: 0 },
  ])('$name', ({ policies, flows = sees, changes, code }) => {
    const result = simulate(policies, flows);
    expect(result.error).toBe('');
    // The world has no name of its own in the table, only its address or its identity.
    expect(changesOf(result.out).map((line) => line.replace(' world ', ' 192.0.2.7 '))).toEqual(changes);
    expect(result.code).toBe(code);
  });

  test('a policy with an error', () => {
    expect(simulate([allow('x', 'db', { ingress: 3 })], sees)).toMatchObject({ code: 2, out: '', error: expect.stringMatching(/policies\.yaml:.*ingress/) });
  });

  test('a recording that is not there', () => {
    writeFileSync(join(folder, 'p.yaml'), stringify(dbFromWeb));
    expect(() => execFileSync(process.execPath, ['cli/main.ts', 'policy', 'simulate', '-f', join(folder, 'p.yaml'), '--flows', '/nope'], { cwd: root, stdio: 'pipe' })).toThrow(/read \/nope: ENOENT/);
  });
});

describe('a flow', () => {
  test.each<{ name: string; flow: Flow; allowed: boolean | undefined }>([
    { name: 'the beginning of a connection', flow: flow(web, db, 1), allowed: true }, { name: 'its middle', flow: flow(web, db, 1, { trace_reason: 2 }), allowed: undefined },
    { name: 'a drop by policy', flow: flow(web, db, 1, denied), allowed: false }, { name: 'another drop', flow: flow(web, db, 1, { verdict: 2, drop_reason_desc: 157 }), allowed: undefined },
    { name: 'a reply', flow: reply(flow(web, db, 1)), allowed: undefined }, { name: 'no protocol', flow: flow(web, db, 1, { l4: {} }), allowed: undefined },
  ])('$name', ({ flow: one, allowed }) => { expect(recordedOf(one)?.allowed).toBe(allowed); });
});
