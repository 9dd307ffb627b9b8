// L7 rules that change under an open connection: from the rule sets to another answer of the real Envoy, with 1,000 sets in force; what many rules
// in one set cost a request. On loopback, without steering.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RuleSet } from '../agent/policy/image.ts';
import { http1, setOf } from '../agent/envoy/testing-sets.ts';
import { listening, startBench, type Bench } from '../agent/envoy/testing.ts';
import { numberOf } from './proc.ts';
import { median, quantile } from './statistics.ts';
import { atMost, type Figure } from './table.ts';

const sets = 1_000;
const rounds = 200;
const restMs = 10;
const rulesOfOne = 5_000;
const asked = 200;

/** A connection that stays. */
class Client {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  readonly #port: number;

  constructor(port: number) { this.#port = port; }

  async status(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      http.get({ host: '127.0.0.1', port: this.#port, path, agent: this.#agent }, (response) => {
        response.resume().on('end', () => { resolve(response.statusCode!); });
      }).on('error', reject);
    });
  }

  close(): void { this.#agent.destroy(); }
}

/** From `serve` until the connection's answer is another; all sets are given each time, as the agent does it. */
async function change(bench: Bench, all: Map<string, RuleSet>, round: number): Promise<{ effectMs: number; servedMs: number }> {
  const key = `set ${(round * 17) % sets}`;
  const client = new Client(bench.proxy.portOf(key));
  const path = `/of/${round}`;
  try {
    if (await client.status(path) !== 403) throw new Error(`${key} allows ${path} before it is told to`);
    const before = performance.now();
    all.set(key, setOf(key, http1({ method: 'GET', path: '/old.*' }), http1({ method: 'GET', path: `${path}.*` })));
    const served = bench.proxy.serve(all).then((refused) => {
      if (refused.size > 0) throw new Error(`${key}: ${[...refused.values()][0]}`);
      return performance.now() - before;
    });
    while (await client.status(path) !== 200) if (performance.now() - before > 10_000) throw new Error(`${key}: still refused`);
    const effectMs = performance.now() - before;
    return { effectMs, servedMs: await served };
  } finally {
    client.close();
  }
}

/** What the machine's other work does to it: as many requests as an edit takes at least, and none edited. */
async function unchanged(bench: Bench, round: number): Promise<number> {
  const client = new Client(bench.proxy.portOf(`set ${(round * 17) % sets}`));
  await client.status('/old');
  const before = performance.now();
  for (let count = 0; count < 2; count += 1) await client.status('/old');
  const ms = performance.now() - before;
  client.close();
  return ms;
}

async function changes(bench: Bench): Promise<Figure[]> {
  const all = new Map(Array.from({ length: sets }, (_, index) => `set ${index}`).map((key) => [key, setOf(key, http1({ method: 'GET', path: '/old.*' }))]));
  const begun = performance.now();
  const refused = await bench.proxy.serve(all);
  if (refused.size > 0) throw new Error(`${refused.size} sets are not served: ${[...refused.values()][0]}`);
  const firstMs = performance.now() - begun;
  const rssMiB = (): number => numberOf(`/proc/${bench.proxy.status().pid}/status`, 'VmRSS') / 1024;
  const found = [];
  for (let round = 0; round < rounds; round += 1) {
    await sleep(restMs);
    found.push({ ...await change(bench, all, round), idleMs: await unchanged(bench, round) });
  }
  const effects = found.map(({ effectMs }) => effectMs);
  const idle = found.map(({ idleMs }) => idleMs);
  return [
    { name: `${sets} rule sets: all served, from nothing`, value: firstMs, unit: 'ms' },
    { name: 'one rule edited, to its effect on an open connection, P50; against two requests, nothing edited', value: median(effects), base: median(idle), unit: 'ms' },
    { name: 'the same, P99', value: quantile(effects, 0.99), base: quantile(idle, 0.99), unit: 'ms', ...atMost(20, quantile(effects, 0.99), ' ms') },
    { name: 'the same, until it is known to be served, P99', value: quantile(found.map(({ servedMs }) => servedMs), 0.99), unit: 'ms' },
    { name: `Envoy, RSS with ${sets} rule sets`, value: rssMiB(), unit: 'MiB', ...atMost(160, rssMiB(), ' MiB') },
  ];
}

const kinds = { 'one path each': (index: number) => `/one/${index}`, 'a beginning each': (index: number) => `/one/${index}/.*`, 'a regular expression each': (index: number) => `/one/${index}/[a-z]+` } as const;

/** In turn, so that all meet the same of the machine's other work. */
async function many(bench: Bench): Promise<Figure[]> {
  const rules = Array.from({ length: rulesOfOne }, (_, index) => index);
  const given = new Map(Object.entries(kinds).map(([name, pathOf]) => [name, setOf(name, ...rules.map((index) => http1({ method: 'GET', path: pathOf(index) })))]));
  const refused = await bench.proxy.serve(given);
  if (refused.size > 0) throw new Error(`${[...refused][0]!.join(': ')}`);
  const subjects = [...given.keys()].map((name) => ({ name, client: new Client(bench.proxy.portOf(name)), times: [] as number[] }));
  for (let index = 0; index < asked; index += 1) {
    for (const { name, client, times } of subjects) {
      const before = performance.now();
      if (await client.status('/secret') !== 403) throw new Error(`${name}: /secret is allowed`);
      times.push(performance.now() - before);
    }
  }
  for (const { client } of subjects) client.close();
  return subjects.map(({ name, times }) => ({ name: `a request that none of ${rulesOfOne} rules allows: ${name}, P50`, value: median(times), unit: 'ms' }));
}

/** Looked at once: reading /proc for each of 1,000 ports is no part of what an agent does. */
function seenPorts(): typeof listening {
  const seen = new Set<number>();
  return (port) => {
    if (!seen.has(port) && listening(port).ipv4 && listening(port).ipv6) seen.add(port);
    return { ipv4: seen.has(port), ipv6: seen.has(port) };
  };
}

export async function l7Rules(): Promise<Figure[]> {
  const bench = await startBench('bench-l7-rules', { timeoutMs: 60_000, steering: { listening: seenPorts(), sockets: () => '', attachListenHook: () => undefined } });
  try {
    return [...await changes(bench), ...await many(bench)];
  } finally {
    await bench.stop();
  }
}
