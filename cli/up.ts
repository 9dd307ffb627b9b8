// up and down: a directory becomes a cluster on this machine, and goes again without a trace. `up` is the agent itself.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import type { AgentOptions } from '../agent/agent.ts';
import { ConfigError } from '../agent/errors.ts';
import type { Instance } from '../agent/instance.ts';
import type { AttachMode } from '../agent/kernel/attach.ts';
import type { Ranges } from '../agent/node/addresses.ts';
import { runningAgent } from '../agent/node/lock.ts';
import { chosenInstance, instanceOption } from './options.ts';
import { Screen } from './screen.ts';

/** The agent with all its libraries: loaded by the verbs that need it, so that the others start fast. */
const loadAgent = async () => import('../agent/agent.ts');

interface UpOptions { readonly instance: string; readonly detach?: boolean; readonly allowRoot?: boolean; readonly ipv4Range?: string; readonly ipv6Range?: string; readonly attach?: AttachMode }

const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;
const pollMs = 50;

export function register(program: Command): void {
  program.command('up').description('runs the workloads of a directory under its policies, until Ctrl-C').argument('<dir>', 'a directory of Kubernetes YAML')
    .option('-d, --detach', 'in the background; ./weir down ends it').option('--allow-root', 'workloads may run as uid 0 (still without any capability)')
    .option('--ipv4-range <prefix>', 'addresses of the workloads').option('--ipv6-range <prefix>', 'addresses of the workloads')
    .addOption(new Option('--attach <mode>', 'how programs are attached (as the kernel can)').choices(['tcx', 'clsact'])).addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  sudo ./weir up examples/shop')
    .action(async (dir: string, options: UpOptions) => { await (options.detach === true ? upDetached(options) : up(dir, options)); });

  program.command('down').description('ends an agent and removes everything it made, also after a kill -9').addOption(instanceOption())
    .option('--ipv4-range <prefix>', 'when it was started with one').option('--ipv6-range <prefix>', 'when it was started with one')
    .addHelpText('after', '\nExample:\n  sudo ./weir down')
    .action(async (options: UpOptions) => { await down(options); });
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new ConfigError('weir loads programs into the kernel and needs root', 'run the same command with sudo');
}

async function rangesOf(options: UpOptions): Promise<Ranges> {
  const { checkRange, defaultRanges } = await import('../agent/node/addresses.ts');
  const preset = defaultRanges(options.instance);
  return {
    ipv4: options.ipv4Range === undefined ? preset.ipv4 : checkRange(options.ipv4Range, '--ipv4-range'),
    ipv6: options.ipv6Range === undefined ? preset.ipv6 : checkRange(options.ipv6Range, '--ipv6-range'),
  };
}

async function up(dir: string, options: UpOptions): Promise<void> {
  requireRoot();
  const [{ startAgent }, { checkTrusted }] = await Promise.all([loadAgent(), import('../agent/directory/trust.ts')]);
  checkTrusted(resolve(dir));
  const screen = new Screen(process.stdout, dir);
  const agentOptions: AgentOptions = {
    instance: chosenInstance(options), ranges: await rangesOf(options), dir, allowRoot: options.allowRoot === true,
    ...(options.attach === undefined ? {} : { attachMode: options.attach }), log: (line) => { screen.log(line); },
  };
  const agent = await startAgent(agentOptions);
  screen.follow(agent);
  const signal = await new Promise<string>((resolveSignal) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => { resolveSignal(name); });
  });
  screen.close(`${signal}: stopping the workloads and removing everything`);
  await agent.stop();
  process.stdout.write('all gone\n');
  process.exit(0);
}

const logPath = (instance: Instance): string => `${instance.stateDir}.log`;

async function upDetached(options: UpOptions): Promise<void> {
  requireRoot();
  const instance = chosenInstance(options);
  mkdirSync(dirname(logPath(instance)), { recursive: true, mode: 0o755 });
  const log = openSync(logPath(instance), 'w', 0o600);
  const words = process.argv.slice(2).filter((word) => word !== '-d' && word !== '--detach');
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...words], { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  let exit: number | null | undefined;
  child.once('exit', (code) => { exit = code; });
  const end = Date.now() + startTimeoutMs;
  while (!existsSync(instance.apiSocket) && exit === undefined && Date.now() < end) await sleep(pollMs);
  if (!existsSync(instance.apiSocket)) throw new ConfigError(readFileSync(logPath(instance), 'utf8').trim().replace(/^weir: /, ''), `the whole log: ${logPath(instance)}`);
  child.unref();
  process.stdout.write(`weir runs in the background (process ${child.pid}): ./weir status, ./weir observe, ./weir down\n`);
  process.exit(0);
}

async function down(options: UpOptions): Promise<void> {
  requireRoot();
  const instance = chosenInstance(options);
  const pid = runningAgent(instance);
  if (pid !== undefined) {
    process.kill(pid, 'SIGTERM');
    const end = Date.now() + stopTimeoutMs;
    while (runningAgent(instance) !== undefined && Date.now() < end) await sleep(pollMs);
    if (runningAgent(instance) !== undefined) throw new ConfigError(`process ${pid} does not end`, `kill -9 ${pid}, then ./weir down again`);
  }
  const [{ removeFolders, removeLeftovers }, { Netlink }] = await Promise.all([loadAgent(), import('../agent/kernel/netlink.ts')]);
  const ended = await removeLeftovers(instance, await rangesOf(options), new Netlink());
  removeFolders(instance);
  process.stdout.write(pid !== undefined ? 'the agent has ended and everything is gone\n' : ended > 0 ? `${ended} workloads of an agent that had died are gone\n` : 'nothing was running\n');
}
