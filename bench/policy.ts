// The policy compiler on one core, over the recorded set of 1,000 policies and 5,000 endpoints: from text to verdicts, and what
// one change costs. Long times are of the thread's own CPU, so that other work on this machine is not in them, save for the
// caches that it takes; the kernel counts that in ticks, so short ones are by the clock.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Compiler } from '../agent/policy/compile.ts';
import { protocolNumber } from '../agent/policy/icmp.ts';
import type { PolicyImage } from '../agent/policy/image.ts';
import { Verdicts } from '../agent/policy/verdicts.ts';
import { inputOf, read, readScale, type Input, type Scale } from './policy-input.ts';
import { median } from './statistics.ts';
import { atMost, type Figure } from './table.ts';

const rounds = 15;
const changes = 60;
const flowCount = 100_000;
/** As the launcher starts the agent. */
export const launched = { arguments: ['--max-semi-space-size=1', '--expose-gc', '--disable-warning=ExperimentalWarning'], env: { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072', MALLOC_MMAP_THRESHOLD_: '131072' } };
const memoryProgram = fileURLToPath(new URL('policy-memory.ts', import.meta.url));

function cpuMs(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

function clockMs(work: () => void): number {
  const before = performance.now();
  work();
  return performance.now() - before;
}

const times = (count: number, work: (round: number) => void): number => median(Array.from({ length: count }, (_, round) => cpuMs(() => { work(round); })));

/** A label set that no identity has, in one of the namespaces, with an endpoint. */
function withNew({ identities, endpoints, ...input }: Input, round: number): Input {
  const like = identities[20 + round * 10]!;
  const id = 60_000 + round;
  return { ...input, identities: [...identities, { id, labels: [...like.labels, `k8s:bench=${round}`].sort() }], endpoints: [...endpoints, { id, identity: id, namespace: 'ns-00', namedPorts: [] }] };
}

function changed(policy: Readonly<Record<string, unknown>>, round: number): Readonly<Record<string, unknown>> {
  const { ingress = [], ...spec } = policy['spec'] as { ingress?: readonly object[] };
  const entry = { fromEndpoints: [{ matchLabels: { app: `app-${round}` } }], toPorts: [{ ports: [{ port: String(7000 + round), protocol: 'TCP' }] }] };
  return { ...policy, spec: { ...spec, ingress: [...ingress, entry] } };
}

export async function policy(): Promise<Figure[]> {
  const scale = readScale();
  const texts = scale.policies.map((object) => JSON.stringify(object));
  const parse = times(rounds, () => { read(texts.map((text) => JSON.parse(text) as unknown)); });
  const groups = read(scale.policies);
  const input = inputOf(scale, groups.flat());
  const compile = times(rounds, () => { new Compiler(true).compile(input); });

  const compiler = new Compiler(true);
  compiler.compile(input);
  const [identities, policies]: [number[], number[]] = [[], []];
  for (let round = 0; round < changes; round += 1) {
    const more = withNew(input, round);
    identities.push(clockMs(() => { compiler.compile(more); }));
    compiler.compile(input);
    const at = (round * 17) % groups.length;
    const rules = groups.with(at, read([changed(scale.policies[at]!, round)])[0]!).flat();
    policies.push(clockMs(() => { compiler.compile({ ...input, rules }); }));
    compiler.compile(input);
  }
  const image = compiler.compile(input);
  const verdicts = verdictTimes(scale, input, image);
  const rss = Number(execFileSync(process.execPath, [...launched.arguments, memoryProgram], { encoding: 'utf8', env: { ...process.env, ...launched.env } })) / 1e6;
  const ms = (name: string, value: number, limit: number, against: number): Figure => ({ name, value, unit: 'ms', base: against, ratio: value / against, ...atMost(limit, value, ' ms') });
  return [
    ms('parse and check 1,000 policies', parse, 240, 240), ms(`compile ${image.policies.size} merged policies for 5,000 endpoints, from nothing`, compile, 110, 113),
    ms('one new identity and endpoint', median(identities), 0.5, 0.95), { name: '  the slowest', value: Math.max(...identities), unit: 'ms' },
    { name: 'one changed policy', value: median(policies), unit: 'ms', ...atMost(5, median(policies), ' ms') }, { name: '  the slowest', value: Math.max(...policies), unit: 'ms' },
    ms('100,000 verdicts, first time', verdicts.first, 12, 12), ms('100,000 verdicts', verdicts.warm, 12, 12),
    { name: 'RSS of a process that holds the set and its image, started as the agent is', value: rss, unit: 'MB', ...atMost(160, rss, ' MB') },
  ];
}

/** The recorded flows over and over, each with another endpoint, so that classes and policies meet at random. */
function verdictTimes({ subjects, endpoints, flows }: Scale, input: Input, image: PolicyImage): { first: number; warm: number } {
  const index = new Map(endpoints.map(({ namespace, name }, at) => [`${namespace}/${name}`, at]));
  const policies = subjects.map((name) => image.ofEndpoint.get(input.endpoints[index.get(name)!]!.id)!);
  const peers = Int32Array.from({ length: flowCount }, (_, at) => input.endpoints[(flows[at % flows.length]![2] + at * 7) % endpoints.length]!.identity);
  const asked = Array.from({ length: flowCount }, (_, at) => flows[at % flows.length]!);
  const keys = asked.map(([egress, subject]) => (egress === 1 ? policies[subject]!.egress : policies[subject]!.ingress));
  const ports = Int32Array.from(asked, ([, , , port]) => port);
  const protocols = Int32Array.from(asked, ([, , , , protocol]) => protocolNumber(protocol)!);
  const ask = (verdicts: Verdicts): void => {
    let allowed = 0;
    for (let at = 0; at < flowCount; at += 1) {
      const action = verdicts.action(keys[at], image.classOfIdentity.get(peers[at]!)!, protocols[at]!, ports[at]!);
      if (action === 'allow' || action === 'none') allowed += 1;
    }
    if (allowed === 0 || allowed === flowCount) throw new Error(`${allowed} of ${flowCount} verdicts allow`);
  };
  const verdicts = new Verdicts(image);
  return { first: cpuMs(() => { ask(verdicts); }), warm: times(rounds, () => { ask(verdicts); }) };
}
