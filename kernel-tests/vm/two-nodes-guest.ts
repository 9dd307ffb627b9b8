// One of two machines that are nodes of one cluster, in its VM: `two-nodes-guest.ts node1|node2`. Runs examples/two-nodes by plain routes and in
// VXLAN, and looks at policy from its own side; a line for each check, as vm/reporter.ts writes them.
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { clusterFolder, nodeInstance } from '../../agent/node/cluster.ts';
import { instanceOf } from '../../agent/instance.ts';
import { traces } from '../cluster.ts';
import { slowness } from '../programs.ts';
import { Courier } from './courier.ts';

const launcher = fileURLToPath(new URL('../../weir', import.meta.url));
const example = fileURLToPath(new URL('../../examples/two-nodes', import.meta.url));
const name = process.argv[2]! as 'node1' | 'node2';
const other = name === 'node1' ? 'node2' : 'node1';
const address = { node1: { ipv4: '192.0.2.1', ipv6: '2001:db8:2::1' }, node2: { ipv4: '192.0.2.2', ipv6: '2001:db8:2::2' } };
const ranges = ['--ipv4-range', '10.217.0.0/16', '--ipv6-range', 'fd77:e1:d9::/64'];
const timeoutMs = 60_000 * slowness;
const instance = nodeInstance('default', name);

/** Never waited for in place: the courier goes on meanwhile. */
async function weir(...words: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(launcher, [...words, '--instance', instance.name], (error, out, told) => { if (error === null) resolve(out); else reject(new Error(`weir ${words.join(' ')}: ${told}${out}`)); });
  });
}
const json = async <Result>(...words: string[]): Promise<Result> => JSON.parse(await weir(...words, '-o', 'json')) as Result;

function tell(check: string, status: 'passed' | 'failed', ms: number, why?: string): void {
  process.stdout.write(`TEST ${JSON.stringify({ file: `two-nodes ${name}`, name: check, status, ms, ...(why === undefined ? {} : { why }) })}\n`);
}

async function until(what: string, found: () => Promise<unknown>): Promise<void> {
  let last: unknown;
  for (const end = Date.now() + timeoutMs; Date.now() < end; await sleep(200)) {
    last = await found();
    if (last === true) return;
  }
  throw new Error(`not in time: ${what}; last: ${JSON.stringify(last)}`);
}

let checks = 0;
async function check(what: string, work: () => Promise<void>): Promise<void> {
  const started = Date.now();
  checks += 1;
  try {
    await work();
    tell(what, 'passed', Date.now() - started);
  } catch (error) {
    tell(what, 'failed', Date.now() - started, error instanceof Error ? error.message : String(error));
  }
}

interface Flow { readonly flow: { readonly verdict: string; readonly traffic_direction: string; readonly source: { readonly identity: number; readonly pod_name?: string }; readonly destination: { readonly pod_name?: string }; readonly ingress_denied_by?: readonly { readonly name: string }[] } }
/** Kinds of flows from here to the ledger: who, judged how, where, by which policy. */
async function kinds(verdict: string): Promise<string[]> {
  const lines = (await weir('observe', '--to-pod', 'bank/ledger', '--verdict', verdict, '--last', '40', '-o', 'json')).split('\n').filter((line) => line.startsWith('{"flow"'));
  const flows = lines.map((line) => (JSON.parse(line) as Flow).flow);
  return [...new Set(flows.map(({ traffic_direction: direction, source, destination, ingress_denied_by: by }) =>
    `${(source.pod_name ?? '?').replace(/-.*/, '')} -> ${destination.pod_name} ${direction}${by === undefined ? '' : ` denied by ${by.map((one) => one.name).join()}`}`))].sort();
}

async function clerk(): Promise<string> { return (await json<{ key: string }[]>('workload', 'list')).find(({ key }) => key.startsWith('bank/clerk'))!.key; }

/** From the node where clerk and intruder sit, and from the one with the ledger. */
const sides: Readonly<Record<typeof name, (mode: string) => Promise<void>>> = {
  node1: async (mode) => {
    await check(`${mode}: the ledger on the other machine books for a clerk of this one`, () => until('booked', async () => (await weir('workload', 'logs', await clerk())).includes('booked 10 gold')));
    await check(`${mode}: nothing holds the intruder here, and it reaches nothing`, async () => {
      await until('its packets leave', async () => (await kinds('FORWARDED')).includes('intruder -> ledger EGRESS'));
      if ((await weir('workload', 'logs', 'bank/intruder')).includes('OPEN')) throw new Error('the ledger answered it');
      const dropped = await kinds('DROPPED');
      if (dropped.length > 0) throw new Error(`dropped here: ${dropped.join(', ')}`);
    });
  },
  node2: async (mode) => {
    await check(`${mode}: the intruder of the other machine is stopped here, by the ledger's policy`, () => until('drops', async () => {
      const found = await kinds('DROPPED');
      return found.join() === 'intruder -> ledger INGRESS denied by ledger' || found;
    }));
    await check(`${mode}: clerks of both machines are let in`, () => until('clerks', async () => {
      const found = await kinds('FORWARDED');
      return found.includes('clerk -> ledger INGRESS') || found;
    }));
    await check(`${mode}: nothing but the policy drops, once each knows what the other has`, async () => {
      const others = async (): Promise<string> => JSON.stringify((await json<{ reason: string }[]>('bpf', 'drops')).filter(({ reason }) => !reason.startsWith('Policy denied')));
      const before = await others();
      await sleep(3_000);
      const now = await others();
      if (now !== before) throw new Error(`before ${before}, now ${now}`);
    });
  },
};

async function run(mode: string, tunnel: string, courier: Courier): Promise<void> {
  const agent = spawn(launcher, ['agent', example, '--member', name, '--nodes', '2', '--tunnel', tunnel, '--underlay', 'ipv4', ...ranges], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => { agent.once('close', resolve); });
  await check(`${mode}: the agent answers, and both nodes are well`, () => until('nodes', async () => {
    if (agent.exitCode !== null) throw new Error(`the agent ended with ${agent.exitCode}`);
    if (!existsSync(instance.apiSocket)) return 'no socket';
    const rows = (await json<{ name: string; health: string; endpoints: number }[]>('node', 'list')).map(({ name: which, health, endpoints }) => `${which} ${health} ${endpoints}`).sort();
    return rows.join() === 'node1 ok 2,node2 ok 2' || rows;
  }));
  await sides[name](mode);
  await tellIdentities(mode);
  await both(courier);
  await stop(mode, agent, ended);
  await both(courier);
}

/** The host compares what both say. */
async function tellIdentities(mode: string): Promise<void> {
  const rows = (await json<{ kind: string; id: number; labels: string[] }[]>('identity', 'list')).filter(({ kind }) => kind === 'workload').map(({ id, labels }) => `${id} ${labels.join()}`).sort();
  process.stdout.write(`IDENTITIES ${JSON.stringify({ mode, rows })}\n`);
}

async function stop(mode: string, agent: ChildProcess, ended: Promise<number | null>): Promise<void> {
  await check(`${mode}: nothing is left of it`, async () => {
    agent.kill('SIGTERM');
    const code = await ended;
    const left = [...traces(instance), ...execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes(instance.interfacePrefix))];
    if (code !== 0 || left.length > 0) throw new Error(`exit code ${code}, left: ${left.join(', ')}`);
  });
}

/** Waits for the other machine. */
async function both(courier: Courier): Promise<void> {
  courier.step += 1;
  await until(`${other} comes to step ${courier.step}`, async () => Promise.resolve(courier.otherStep >= courier.step || courier.otherStep));
}

execFileSync('modprobe', ['virtio_net']);
const device = readdirSync('/sys/class/net').find((one) => existsSync(`/sys/class/net/${one}/device`))!;
for (const words of [`link set ${device} up`, `address add ${address[name].ipv4}/24 dev ${device}`, `address add ${address[name].ipv6}/64 dev ${device} nodad`]) execFileSync('ip', words.split(' '));
const courier = new Courier(clusterFolder(instanceOf('default')), name, other, name === 'node1' ? undefined : address.node1.ipv4);
await check('the other machine is there', () => until('a parcel', async () => Promise.resolve(courier.otherStep >= 0)));
for (const [mode, tunnel] of [['plain routes', 'disabled'], ['VXLAN', 'vxlan']] as const) await run(mode, tunnel, courier);
await sleep(2_000); // the other one waits for the last parcel
courier.stop();
process.stdout.write(`TESTS ${checks}\n`);
process.exit(0);
