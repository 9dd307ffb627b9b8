// npm run bench [-- NAME ... --json]: measures, never judges: a figure that is behind its target is said to be, and that is all.
import { parseArgs } from 'node:util';
import { buildAll } from './build.ts';
import { dns } from './dns.ts';
import { dnsLoad } from './dns-load.ts';
import { hubble } from './hubble.ts';
import { change } from './change.ts';
import { l7 } from './l7.ts';
import { l7Rules } from './l7-rules.ts';
import { l7Isolation } from './l7-isolation.ts';
import { local, rules } from './local.ts';
import { memory } from './memory.ts';
import { nodes } from './nodes.ts';
import { policy } from './policy.ts';
import { records } from './records.ts';
import { services } from './services.ts';
import { servicesControl } from './services-control.ts';
import { print, type Figure } from './table.ts';
import { sockmap } from './sockmap.ts';
import { verdict } from './verdict.ts';
import { xdp } from './xdp.ts';

const benches: Readonly<Record<string, readonly [title: string, run: () => Promise<Figure[]>]>> = {
  local: ['two local workloads under policy, against plain veth and host routing', local],
  rules: ['the same policy in nftables, at growing sizes', rules],
  nodes: ['two workloads on two nodes under policy, against the same ways without weir', nodes],
  records: ['what reading the flow records costs', records],
  hubble: ['flows to clients, readers and a relay', hubble],
  verdict: ['the programs alone, by bpf_prog_test_run', verdict],
  dns: ['DNS rules: a query, an answer, 500 patterns; 20,000 lookups a second', async () => [...await dns(), ...await dnsLoad()]],
  l7: ['HTTP through an L7 rule, against no rule, a bare hop through Envoy, and HAProxy', l7],
  l7rules: ['L7 rules that change under open connections, 1,000 rule sets; 5,000 rules in one', l7Rules],
  'l7-isolation': ['requests through Envoy beside a workload that floods it, against alone and beside the same past Envoy', l7Isolation],
  sockmap: ['two local workloads from socket to socket, against packets', sockmap],
  xdp: ['a NodePort whose backend is on another node: XDP against tc, live frames', xdp],
  policy: ['the policy compiler, on one core', policy],
  change: ['a policy file changes among 1,000, for 5,000 endpoints', change],
  services: ['Services on their way into the kernel; a ClusterIP against its backend, and against other ways there', async () => [...await servicesControl(), ...await services()]],
  memory: ['what the agent takes', memory],
};

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
const unknown = positionals.find((name) => !(name in benches));
if (unknown !== undefined) {
  process.stderr.write(`no bench ${unknown}; there are: ${Object.keys(benches).join(', ')}\n`);
  process.exit(2);
}
buildAll();
const found: Record<string, Figure[]> = {};
for (const name of positionals.length > 0 ? positionals : Object.keys(benches)) {
  const [title, run] = benches[name]!;
  try {
    found[name] = await run();
    if (values.json !== true) print(`${name}: ${title}`, found[name]);
  } catch (error) {
    process.exitCode = 1;
    process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}
if (values.json === true) process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
