// The offline policy verbs as typed: output, errors that say what to do, exit codes for pipelines. No agent, no root.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';

const weir = fileURLToPath(new URL('../weir', import.meta.url));
const shop = fileURLToPath(new URL('../examples/shop', import.meta.url));
let folder: string;
const edit = (name: string, from: string, to: string): void => {
  const path = join(folder, name);
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${name} has no ${from}`);
  writeFileSync(path, text.replace(from, to));
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'weir-verbs-'));
  for (const name of ['closed', 'opened', 'broken', 'late', 'l4']) cpSync(shop, join(folder, name), { recursive: true });
  edit('closed/policies/web.yaml', 'app: payments', 'app: nobody');
  edit('opened/policies/data.yaml', '[{matchLabels: {app: catalog}}]', '[{matchLabels: {app: catalog}}, {matchLabels: {app: intruder}}]');
  edit('broken/policies/web.yaml', 'egress:', 'egres:');
  edit('l4/policies/data.yaml', '\n          rules: {http: [{method: POST, path: /charge, headers: ["X-Shop: web"]}]}', '');
  edit('late/policies/web.yaml', '- toEndpoints: [{matchLabels: {app: payments}}]\n      toPorts', '- toGroups: [{aws: {region: eu}}]\n      toPorts');
});
afterAll(() => { rmSync(folder, { recursive: true }); });

function typed(line: string): { code: number | null; out: string; error: string } {
  const words = line.split(' ').map((word) => word.replace(/^SHOP/, shop));
  const { status, stdout, stderr } = spawnSync(weir, words, { cwd: folder, encoding: 'utf8' });
  return { code: status, out: stdout.replaceAll(shop, 'SHOP'), error: stderr.replaceAll(shop, 'SHOP') };
}

interface Typed { readonly name: string; readonly line: string; readonly code: number; readonly out?: RegExp; readonly error?: RegExp }
const toPayments = '--from shop/web --to shop/payments --port 9090';
const intruder = '--from shop/intruder --to shop/db --port 5432';

const verbs: readonly Typed[] = [
  { name: 'validate: clean', line: 'policy validate SHOP --strict', code: 0, out: /^$/, error: /^5 policies checked, 0 errors\n$/ },
  { name: 'validate: a warning passes', line: 'policy validate closed', code: 0, out: /^closed\/policies\/web\.yaml:15:21: warning selects-nothing: spec\.egress\[1\]\.toEndpoints\[0\]: no workload .*app=nobody/, error: /0 errors, 1 warning\n/ },
  { name: 'validate: unless it shall not', line: 'policy validate --fail-on warning closed', code: 1, out: /selects-nothing/ },
  { name: 'validate: the same in short, as JSON', line: 'policy validate --strict -o json closed', code: 1, out: /"warnings": 1,[^]*"line": 15,[^]*"name": "selects-nothing"/ },
  { name: 'validate: an error', line: 'policy validate broken', code: 1, out: /web\.yaml:12:3: spec\.egres: unknown field `egres`.*did you mean `egress`/, error: /, 1 error\n/ },
  { name: 'verdict: denied', line: `policy verdict ${intruder} SHOP`, code: 1, out: /^shop\/intruder -> shop\/db 5432\/TCP: denied\n {2}egress of shop\/intruder: allowed, no policy covers it\n {2}ingress of shop\/db: denied by default.*\n {4}CiliumNetworkPolicy shop\/db spec, which selects it \(SHOP\/policies\/data\.yaml:5\)\n/ },
  { name: 'verdict: allowed', line: 'policy verdict --from web --to shop/catalog --port http SHOP', code: 0, out: /: redirected\n[^]*egress of shop\/web: allowed\n {4}CiliumNetworkPolicy shop\/web spec\.egress\[0\] \(SHOP\/policies\/web\.yaml:13\)\n[^]*ingress of shop\/catalog: redirected: Envoy judges each request/ },
  { name: 'verdict: a replica by its own name', line: 'policy verdict --from shop/web-vchvt-1 --to shop/catalog-5d6g4-0 --port 8080 SHOP', code: 0, out: /^shop\/web -> shop\/catalog/ },
  { name: 'verdict: an address', line: 'policy verdict --from 192.0.2.1 --to shop/web --port 8080 SHOP', code: 1, out: /^192\.0\.2\.1 -> shop\/web/ },
  { name: 'verdict: the node', line: 'policy verdict --from host --to shop/db --protocol icmp SHOP', code: 0, out: /built in: the node reaches its own workloads/ },
  { name: 'verdict: JSON', line: `policy verdict ${intruder} -o json SHOP`, code: 1, out: /"verdict": "denied",[^]*"direction": "ingress",[^]*"verdict": "default-deny",[^]*"file": "SHOP\/policies\/data\.yaml",\n *"line": 5/ },
  { name: 'verdict: files with errors', line: `policy verdict ${intruder} broken`, code: 2, error: /^weir: broken\/policies\/web\.yaml:12:3: .*\n {2}see \.\/weir policy validate/ },
  { name: 'verdict: a policy that weir would refuse is left out and named', line: 'policy verdict --from shop/web --to shop/payments --port 9090 late', code: 0, error: /web\.yaml:15:\d+: warning not-enforced: spec\.egress\[1\]\.toGroups/, out: /egress of shop\/web: allowed, no policy covers it\n {2}ingress of shop\/payments: redirected/ },
  { name: 'verdict: nobody of that name', line: 'policy verdict --from shop/webb --to shop/db --port 1 SHOP', code: 2, error: /no workload shop\/webb in these manifests\n {2}did you mean shop\/web\?/ },
  { name: 'verdict: half a question', line: 'policy verdict --from shop/web SHOP', code: 2, error: /--to is missing\n {2}a flow has two ends/ },
  { name: 'verdict: no question', line: 'policy verdict SHOP', code: 2, error: /which flow\?\n {2}name it with --from/ },
  { name: 'verdict: no port', line: 'policy verdict --from shop/web --to shop/db SHOP', code: 2, error: /TCP has ports\n {2}add --port NUMBER/ },
  { name: 'verdict: an unknown protocol', line: `policy verdict ${intruder} --protocol xmpp SHOP`, code: 2, error: /unknown protocol xmpp\n {2}one of: TCP/ },
  { name: 'verdict: many at once', line: 'policy verdict --from cluster --to shop/db --port 1 SHOP', code: 2, error: /the entity cluster is many\n {2}ask for one/ },
  { name: 'verdict: two strangers', line: 'policy verdict --from host --to 192.0.2.1 --port 1 SHOP', code: 2, error: /neither end is a workload/ },
  { name: 'verdict: L7 rules without a request', line: `policy verdict ${toPayments} SHOP`, code: 0, out: /9090\/TCP: redirected\n[^]*ingress of shop\/payments: redirected: Envoy judges each request\n {4}CiliumNetworkPolicy shop\/payments spec\.ingress\[0\]\.toPorts\[0\] \(SHOP\/policies\/data\.yaml:20\)/ },
  { name: 'verdict: a request that passes', line: `policy verdict ${toPayments} --http-path /charge --http-method POST --http-header X-Shop:web --http-header X-B:2 SHOP`, code: 0, out: /9090\/TCP: allowed\n[^]*redirected: POST \/charge passes/ },
  { name: 'verdict: one that does not', line: `policy verdict ${toPayments} --http-path /charge -o json SHOP`, code: 1, out: /"verdict": "denied"[^]*"words": "redirected: GET \/charge is refused, no L7 rule allows it"/ },
  { name: 'verdict: no header', line: `policy verdict ${toPayments} --http-header X SHOP`, code: 2, error: /"X" is no header\n {2}write --http-header "Name: value"/ },
  { name: 'explain: L7 rules', line: `policy explain ${toPayments} SHOP`, code: 0, out: /asks HTTP POST \/charge header x-shop: web[^]*Envoy lets a request pass that one of these allows/ },
  { name: 'explain', line: `policy explain ${intruder} SHOP`, code: 0, out: /Nearest rule: CiliumNetworkPolicy shop\/db spec\.ingress\[0\] \(SHOP\/policies\/data\.yaml:8\): the peer is none of[^]*This policy would allow it, and nothing else:/ },
  { name: 'explain: an allow', line: 'explain --from shop/catalog --to shop/db --port 5432 SHOP', code: 0, out: /Allowed by CiliumNetworkPolicy shop\/db spec\.ingress\[0\] \(SHOP\/policies\/data\.yaml:8\); to close this flow each of them has to go/ },
  { name: 'explain: JSON', line: `explain ${intruder} -o json SHOP`, code: 0, out: /"verdict": "denied"/ },
  { name: 'explain: files alone', line: 'policy explain SHOP', code: 1, error: /files tell of no flow\n {2}add --from/ },
  { name: 'diff: nothing', line: 'policy diff SHOP SHOP', code: 0, out: /^no flow changes\n$/ },
  { name: 'diff: opened', line: 'policy diff SHOP opened', code: 0, out: /^CHANGE +FROM[^]*opened +shop\/intruder +shop\/db +5432\/TCP +CiliumNetworkPolicy shop\/db spec\.ingress\[0\]/ },
  { name: 'diff: closed', line: 'policy diff SHOP closed', code: 1, out: /closed +shop\/web +shop\/payments +9090\/TCP +CiliumNetworkPolicy shop\/payments spec\.ingress\[0\]\.toPorts\[0\], CiliumNetworkPolicy shop\/web/ },
  { name: 'diff: Markdown', line: 'policy diff SHOP closed -o markdown', code: 1, out: /\| \*\*closed\*\* \| shop\/web \| shop\/payments \| 9090\/TCP \|/ },
  { name: 'diff: L7 rules where there were none', line: 'policy diff l4 SHOP', code: 1, out: /closed +shop\/web +shop\/payments +9090\/TCP +CiliumNetworkPolicy shop\/payments spec\.ingress\[0\]\.toPorts\[0\]/ },
  { name: 'diff: JSON', line: 'policy diff SHOP closed -o json', code: 1, out: /"closed": 1,\n {2}"opened": 0,[^]*"protocol": "TCP",\n *"first": 9090,\n *"last": 9090/ },
  { name: 'diff: policies alone, the workloads beside them', line: 'policy diff SHOP/policies closed/policies --with SHOP/web.yaml SHOP/payments.yaml', code: 1, out: /closed +shop\/web +shop\/payments/ },
  { name: 'diff: no workloads', line: 'policy diff SHOP/policies closed/policies', code: 2, error: /no workloads.*\n {2}give those of the workloads too: --with DIR/ },
  { name: 'diff: no such folder', line: 'policy diff SHOP nowhere', code: 2, error: /nowhere:1:1: ENOENT/ },
];

test.each(verbs)('$name', ({ line, code, out = /(?:)/, error = /^[^]*$/ }) => {
  const run = typed(line);
  expect([run.code, run.out, run.error]).toEqual([code, expect.stringMatching(out), expect.stringMatching(error)]);
  expect(run.error).not.toMatch(/\n {4}at /);
});

describe('explain --yaml', () => {
  test('is a policy that opens the flow when it is added', () => {
    const { out } = typed(`policy explain ${intruder} --yaml SHOP`);
    expect(parse(out)).toMatchObject({ kind: 'CiliumNetworkPolicy', metadata: { namespace: 'shop' } });
    writeFileSync(join(folder, 'allow.yaml'), out);
    expect(typed(`policy verdict ${intruder} SHOP allow.yaml`).code).toBe(0);
    expect(typed('policy diff SHOP SHOP --with allow.yaml').code).toBe(0);
  });
  test('of an allowed flow is none', () => expect(typed('explain --from shop/web --to shop/catalog --port 8080 --yaml SHOP')).toMatchObject({ code: 1, out: '', error: expect.stringContaining('no policy would allow this flow') }));
});
