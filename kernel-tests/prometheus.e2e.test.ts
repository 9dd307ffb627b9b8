// End to end: a real Prometheus scrapes a running agent, and every query of every panel of the dashboards is
// understood; those that need no HTTP and no names find something.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, pod, policy } from './cluster.ts';
import { idle, server } from './programs.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const dashboards = join(root, 'manifests/dashboards');
/** `./setup --tests` unpacks Debian's package there. */
const unpacked = join(root, 'build/prometheus/usr/bin');
const found = existsSync(join(unpacked, 'prometheus')) ? unpacked : spawnSync('prometheus', ['--version']).error === undefined ? '' : undefined;
const program = (name: string): string => (found === '' ? name : join(found ?? '', name));

interface Panel { readonly title: string; readonly targets: readonly { readonly expr: string }[] }
const panels = readdirSync(dashboards).flatMap((file) => (JSON.parse(readFileSync(join(dashboards, file), 'utf8')) as { panels: Panel[] }).panels.map((panel) => ({ ...panel, file })));
const queries = panels.flatMap(({ file, title, targets }) => targets.map(({ expr }) => ({ file, title, expr })));

const [metricsPort, webPort] = [9965, 9090];
let cluster: Cluster;
let folder: string;

interface Answer { readonly status: string; readonly error?: string; readonly data?: { readonly result: readonly { readonly metric: Record<string, string>; readonly value: readonly [number, string] }[] } }
function query(expr: string): Answer {
  const { out } = cluster.on('node', 'curl', '-s', '--data-urlencode', `query=${expr}`, `http://127.0.0.1:${webPort}/api/v1/query`);
  // Until it serves it says so in plain words.
  return out.startsWith('{') ? JSON.parse(out) as Answer : { status: 'no answer' };
}

const ran = found === undefined ? describe.skip : describe;

ran('with prometheus (Debian\'s package)', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'weir-prometheus-'));
    mkdirSync(join(folder, 'data'));
    writeFileSync(join(folder, 'export.yaml'), `flowLogs:\n  - name: flows\n    filePath: ${join(folder, 'flows.jsonl')}\n`);
    writeFileSync(join(folder, 'prometheus.yaml'), `global: {scrape_interval: 500ms, scrape_timeout: 400ms}\nscrape_configs:\n  - job_name: weir\n    static_configs: [{targets: ["127.0.0.1:${metricsPort}"]}]\n`);
    cluster = await Cluster.start('prometheus', {
      'pods.yaml': [pod('web', server(8080)), pod('client', idle), pod('intruder', idle)],
      'policies.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }] }] }),
    }, ['--metrics-listen', `127.0.0.1:${metricsPort}`, '--hubble-export', join(folder, 'export.yaml')]);
    cluster.background('node', program('prometheus'), `--config.file=${join(folder, 'prometheus.yaml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${webPort}`, '--log.level=error');
    await cluster.until('prometheus has scraped it', () => query('up{job="weir"} == 1').data?.result.length === 1);
    const { ipv4, ipv6 } = cluster.address('default/web');
    // A counter that appears has no rate before its second scrape: the same again and again.
    await cluster.until('flows of all kinds have a rate', () => {
      cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: 8080 }, { kind: 'tcp', to: ipv6, port: 8080 }, { kind: 'ping', to: ipv4 }, { kind: 'tcp', to: '198.51.100.1', port: 9 }]);
      cluster.probe('default/intruder', [{ kind: 'tcp', to: ipv4, port: 8080 }]);
      return queries.filter(({ file }) => file === 'flows.json').every(({ expr }) => query(expr).data?.result.some(({ value: [, value] }) => Number(value) > 0));
    });
  }, 180_000);

  afterAll(async () => {
    await cluster.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(queries)('$file: $title: $expr', ({ file, expr }) => {
    const { status, error, data } = query(expr);
    expect({ status, error }).toEqual({ status: 'success', error: undefined });
    // Nothing here speaks HTTP through Envoy, or asks for names by rule.
    if (file !== 'l7.json') expect(data!.result.length).toBeGreaterThan(0);
    for (const { value: [, value] } of data!.result) expect(Number(value)).not.toBeNaN();
  });

  test('what the agent serves is well formed', () => {
    const { out } = cluster.on('node', 'curl', '-s', `http://127.0.0.1:${metricsPort}/metrics`);
    // Its third exit code is about names it would choose otherwise.
    const { status, stderr } = spawnSync(program('promtool'), ['check', 'metrics'], { input: out, encoding: 'utf8' });
    expect([0, 3]).toContain(status);
    expect(stderr).not.toMatch(/error while linting|parsing/);
  });

  test('maps, reconcilers and queues are among it', () => {
    const labels = (expr: string, label: string): string[] => query(expr).data!.result.map(({ metric }) => metric[label]!).sort();
    expect(labels('weir_map_pressure_ratio', 'map')).toEqual(expect.arrayContaining(['conntrack', 'endpoints', 'fragments', 'ipcache', 'nat']));
    expect(labels('weir_reconcile_errors_total', 'reconciler')).toEqual(['conntrack', 'devices', 'dns', 'endpoints', 'envoy', 'policy', 'routes', 'rules', 'workloads']);
    expect(labels('weir_queue_length', 'queue')).toEqual(['export flows', 'policy', 'workloads']);
    // The client's connection to the outside is translated: two rows each.
    expect(Number(query('weir_map_entries{map="nat"}').data!.result[0]!.value[1])).toBeGreaterThanOrEqual(2);
  });
});

test('every panel asks something', () => { expect(panels.filter(({ targets }) => targets.length === 0)).toEqual([]); });
