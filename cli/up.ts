// up and down: a directory becomes a cluster on this machine, and goes again without a trace. `up` is the agent itself.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { AgentOptions } from '../agent/agent.ts';
import { ConfigError } from '../agent/errors.ts';
import type { Instance } from '../agent/instance.ts';
import type { SockmapMode } from '../agent/datapath/sockmap.ts';
import type { AttachMode } from '../agent/kernel/attach.ts';
import type { Ranges } from '../agent/node/addresses.ts';
import { maxNodes, readCluster } from '../agent/node/cluster.ts';
import { runningAgent } from '../agent/node/lock.ts';
import type { Tunnel } from '../agent/node/tables.ts';
import { processOf } from '../agent/workload/process.ts';
import type { RangeWords } from '../agent/service/ranges.ts';
import { hubbleFlags, hubbleOf, sharedWords, type HubbleWords } from './hubble-flags.ts';
import { chosenInstance, instanceFlag, instanceOption, rangeFlags, serviceDefaultsOf, serviceFlags, shareFlags, shareOf, sockmapOption, wholeNumber, xdpModes, xdpOption, type ServiceWords, type ShareWords, type XdpWord } from './options.ts';
import { printError } from './print.ts';
import { Screen } from './screen.ts';

/** The agent with all its libraries: loaded by the verbs that need it, so that the others start fast. */
const loadAgent = async () => import('../agent/agent.ts');

interface UpOptions extends HubbleWords, RangeWords, ServiceWords, ShareWords { readonly instance: string; readonly detach?: boolean; readonly allowRoot?: boolean; readonly names: boolean; readonly envoy?: string; readonly ipv4Range?: string; readonly ipv6Range?: string; readonly attach?: AttachMode; readonly xdp: XdpWord; readonly sockmap: SockmapMode; readonly conntrackEntries?: number;
  readonly nodes?: number; readonly tunnel: Tunnel; readonly underlay: 'ipv4' | 'ipv6' }

const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;
const pollMs = 50;

export function register(program: Command): void {
  shareFlags(serviceFlags(rangeFlags(hubbleFlags(program.command('up'))))).description('runs the workloads of a directory under its policies, until Ctrl-C').argument('<dir>', 'a directory of Kubernetes YAML')
    .option('-d, --detach', 'in the background; ./weir down ends it').option('--allow-root', 'workloads may run as uid 0 (still without any capability)')
    .option('--no-names', 'no name server: workloads see the resolv.conf of this machine')
    .option('--envoy <path>', 'an Envoy binary for L7 rules, instead of the one that the set-up fetched')
    .option('--ipv4-range <prefix>', 'addresses of the workloads').option('--ipv6-range <prefix>', 'addresses of the workloads')
    .option('--conntrack-entries <n>', 'connections that are tracked at the same time (262144)', entriesOf)
    .addOption(new Option('--attach <mode>', 'how programs are attached (as the kernel can)').choices(['tcx', 'clsact'])).addOption(xdpOption()).addOption(sockmapOption()).addOption(instanceOption())
    .option('--nodes <count>', 'so many nodes on this machine, node1 and on: a network namespace and an agent each', wholeNumber)
    .addOption(new Option('--tunnel <mode>', 'between the nodes: VXLAN, or plain routes').choices(['vxlan', 'disabled']).default('disabled'))
    .addOption(new Option('--underlay <family>', 'by which of their addresses nodes reach each other').choices(['ipv4', 'ipv6']).default('ipv4'))
    .addHelpText('after', '\nExample:\n  sudo ./weir up examples/shop\n  sudo ./weir up examples/two-nodes --nodes 2')
    .action(async (dir: string, options: UpOptions) => {
      if (options.nodes !== undefined && (options.nodes < 1 || options.nodes > maxNodes)) throw new ConfigError(`--nodes ${options.nodes}: from 1 to ${maxNodes}`, 'for example --nodes 2');
      await (options.detach === true ? upDetached(options) : options.nodes !== undefined ? upNodes(dir, options, options.nodes) : up(dir, options));
    });

  program.command('down').description('ends an agent and removes everything it made, also after a kill -9').addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  sudo ./weir down')
    .action(async (options: Pick<UpOptions, 'instance'>) => { await down(options); });
}

const leastEntries = 1_024;
const mostEntries = 1 << 24;

function entriesOf(text: string): number {
  const entries = Number(text);
  if (!/^\d+$/.test(text) || entries < leastEntries || entries > mostEntries) throw new InvalidArgumentError(`It is a number from ${leastEntries} to ${mostEntries}.`);
  return entries;
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

async function allRangesOf(options: UpOptions): Promise<Pick<AgentOptions, 'ranges' | 'serviceRanges'>> {
  const { serviceRangesOf } = await import('../agent/service/ranges.ts');
  const ranges = await rangesOf(options);
  return { ranges, serviceRanges: serviceRangesOf(options.instance, options, ranges) };
}

function refuseCluster(instance: Instance): void {
  if (readCluster(instance) !== undefined) throw new ConfigError(`${instance.name} is a cluster of several nodes`, `take it over with --nodes, or end it with ./weir down${instanceFlag(instance.name)}`);
}

async function up(dir: string, options: UpOptions): Promise<void> {
  requireRoot();
  const [{ startAgent }, { checkTrusted }] = await Promise.all([loadAgent(), import('../agent/directory/trust.ts')]);
  checkTrusted(resolve(dir));
  refuseCluster(chosenInstance(options));
  const ended = endAsked();
  const explain = `./weir explain --last-drop${instanceFlag(options.instance)}`;
  const screen = new Screen(process.stdout, dir, () => explain);
  const agentOptions: AgentOptions = {
    instance: chosenInstance(options), ...await allRangesOf(options), dir, allowRoot: options.allowRoot === true, names: options.names, ...(options.envoy === undefined ? {} : { envoy: resolve(options.envoy) }), hubble: hubbleOf(options),
    ...(options.attach === undefined ? {} : { attachMode: options.attach }), xdp: xdpModes[options.xdp], sockmap: options.sockmap, serviceDefaults: serviceDefaultsOf(options), l7Share: shareOf(options), ...(options.conntrackEntries === undefined ? {} : { connections: options.conntrackEntries }),
    log: (line) => { screen.log(line); },
  };
  const agent = await startAgent(agentOptions).catch((error: unknown) => {
    printError(error);
    process.exit(1);
  });
  screen.follow(agent);
  screen.close(`${await ended}: stopping the workloads and removing everything`);
  await agent.stop();
  process.stdout.write('all gone\n');
  process.exit(0);
}

async function upNodes(dir: string, options: UpOptions, count: number): Promise<void> {
  requireRoot();
  const hubble = sharedWords(options);
  const [{ Nodes }, { NodesView }, { nodeInstance }, { checkTrusted }] = await Promise.all(
    [import('./nodes.ts'), import('./nodes-view.ts'), import('../agent/node/cluster.ts'), import('../agent/directory/trust.ts')]);
  checkTrusted(resolve(dir));
  const ended = endAsked();
  const screen = new Screen(process.stdout, dir, (node) => `./weir --node ${node} explain --last-drop${instanceFlag(options.instance)}`);
  const { instance, tunnel, underlay, allowRoot, attach, names, envoy, xdp, sockmap, maglevSize, serviceAlgorithm, serviceMode } = options;
  const { ranges } = await allRangesOf(options);
  const { serviceIpv4Range, serviceIpv6Range, poolIpv4Range, poolIpv6Range, l7Share, l7Connections } = options;
  const nodes = new Nodes(chosenInstance(options), {
    instance, dir: resolve(dir), nodes: count, tunnel, underlay, xdp, sockmap, ipv4Range: ranges.ipv4, ipv6Range: ranges.ipv6, hubble, names, serviceAlgorithm, serviceMode, ...(maglevSize === undefined ? {} : { maglevSize }), ...(allowRoot === true ? { allowRoot } : {}), ...(attach === undefined ? {} : { attach }), ...(envoy === undefined ? {} : { envoy: resolve(envoy) }),
    ...Object.fromEntries(Object.entries({ serviceIpv4Range, serviceIpv6Range, poolIpv4Range, poolIpv6Range, l7Share, l7Connections }).filter(([, word]) => word !== undefined)),
  }, (line) => { screen.log(line); });
  const view = new NodesView(nodes.names.map((node) => nodeInstance(instance, node)));
  await nodes.start().then(async () => view.start()).catch(async (error: unknown) => {
    printError(error);
    await nodes.stop();
    process.exit(1);
  });
  screen.follow(view);
  screen.close(`${await ended}: stopping the workloads and removing everything`);
  view.stop();
  await nodes.stop();
  process.stdout.write('all gone\n');
  process.exit(0);
}

/** Whatever ends weir, also while it starts: a signal, or a terminal or pipe that has gone. What comes after that is ignored: the end is under way. */
function endAsked(): Promise<string> {
  return new Promise((ask) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => { ask(name); });
    for (const stream of [process.stdout, process.stderr]) {
      stream.removeAllListeners('error').on('error', ({ code }: NodeJS.ErrnoException) => { if (code === 'EPIPE' || code === 'EIO') ask('nobody reads the output'); });
    }
  });
}

const logPath = (instance: Instance): string => `${instance.stateDir}.log`;

async function upDetached(options: UpOptions): Promise<void> {
  requireRoot();
  const instance = chosenInstance(options);
  const running = runningAgent(instance);
  if (running !== undefined) throw new ConfigError(`an agent with the instance name ${instance.name} runs already (process ${running})`, `stop it with ./weir down${instanceFlag(instance.name)}`);
  mkdirSync(dirname(logPath(instance)), { recursive: true, mode: 0o755 });
  // Of an agent that had died: the new one's tells that it runs.
  rmSync(instance.apiSocket, { force: true });
  const { forgetReady, isReady } = await import('./nodes.ts');
  forgetReady(instance);
  const log = openSync(logPath(instance), 'w', 0o600);
  const words = process.argv.slice(2).filter((word) => word !== '-d' && word !== '--detach');
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...words], { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  let ended = false;
  child.once('exit', () => { ended = true; });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => { child.kill('SIGTERM'); });
  const end = Date.now() + startTimeoutMs;
  const ready = (): boolean => (options.nodes === undefined ? existsSync(instance.apiSocket) : isReady(instance));
  while (runningAgent(instance) !== child.pid || !ready()) {
    if (!ended && Date.now() < end) await sleep(pollMs);
    else {
      child.kill('SIGTERM');
      throw failure(instance);
    }
  }
  child.unref();
  const name = instanceFlag(instance.name);
  process.stdout.write(`weir runs in the background (process ${child.pid}), its log is ${logPath(instance)}\n  look with ${options.nodes === undefined ? `./weir status${name} and ./weir observe${name}` : `./weir node list${name}`}, end it with ./weir down${name}\n`);
  process.exit(0);
}

/** What the agent in the background said last; its log goes with it. */
function failure(instance: Instance): ConfigError {
  const [message = '', ...mend] = readFileSync(logPath(instance), 'utf8').trim().replace(/^weir: /, '').split('\n');
  removeLog(instance);
  return new ConfigError(message === '' ? 'the agent ended while it started' : message, mend.length > 0 ? mend.join('\n').trim() : undefined);
}

function removeLog(instance: Instance): void {
  rmSync(logPath(instance), { force: true });
  if (existsSync(dirname(instance.stateDir)) && readdirSync(dirname(instance.stateDir)).length === 0) rmdirSync(dirname(instance.stateDir));
}

async function down(options: Pick<UpOptions, 'instance'>): Promise<void> {
  requireRoot();
  const instance = chosenInstance(options);
  const pid = runningAgent(instance);
  if (pid !== undefined) {
    process.kill(pid, 'SIGTERM');
    const end = Date.now() + stopTimeoutMs;
    // Its lock goes before its folders do.
    while ((runningAgent(instance) !== undefined || processOf(pid) !== undefined) && Date.now() < end) await sleep(pollMs);
    if (runningAgent(instance) !== undefined) throw new ConfigError(`process ${pid} does not end`, `kill -9 ${pid}, then ./weir down again`);
  }
  const [{ removeFolders, removeLeftovers }, { Netlink }, { removeNodes }] = await Promise.all([import('../agent/adoption.ts'), import('../agent/kernel/netlink.ts'), import('./nodes.ts')]);
  const ended = await removeNodes(instance) + await removeLeftovers(instance, new Netlink());
  removeLog(instance);
  removeFolders(instance);
  process.stdout.write(pid !== undefined ? 'the agent has ended and everything is gone\n' : ended > 0 ? `${ended} workloads of an agent that had died are gone\n` : 'nothing was running\n');
}
