// agent: one node's agent of a cluster, as `up --nodes` starts it in that node's network namespace. It says what happens in plain lines.
import { Option, type Command } from 'commander';
import type { SockmapMode } from '../agent/datapath/sockmap.ts';
import type { AttachMode } from '../agent/kernel/attach.ts';
import { clusterFolder, nodeInstance, nodeNames, tunnelPort } from '../agent/node/cluster.ts';
import type { Tunnel } from '../agent/node/tables.ts';
import { rangesOfNode } from '../agent/node/underlay.ts';
import { serviceRangesOf, type RangeWords } from '../agent/service/ranges.ts';
import { hubbleArguments, hubbleFlags, hubbleOf, type HubbleWords } from './hubble-flags.ts';
import { chosenInstance, instanceOption, rangeFlags, serviceDefaultsOf, serviceFlags, shareFlags, shareOf, sockmapOption, wholeNumber, xdpModes, xdpOption, type ServiceWords, type ShareWords, type XdpWord } from './options.ts';
import { printError, printable } from './print.ts';

export interface AgentWords extends RangeWords, ServiceWords, ShareWords {
  readonly instance: string; readonly dir: string; readonly member: string; readonly nodes: number; readonly tunnel: Tunnel; readonly underlay: 'ipv4' | 'ipv6';
  readonly ipv4Range: string; readonly ipv6Range: string; readonly allowRoot?: boolean; readonly attach?: AttachMode; readonly names: boolean; readonly envoy?: string; readonly xdp: XdpWord; readonly sockmap: SockmapMode;
  readonly hubble: HubbleWords;
}

/** The command line of one node's agent. */
export const wordsOf = ({ instance, dir, member, nodes, tunnel, underlay, ipv4Range, ipv6Range, allowRoot, attach, serviceIpv4Range, serviceIpv6Range, poolIpv4Range, poolIpv6Range, names, envoy, xdp, sockmap, maglevSize, serviceDrain, serviceAlgorithm, serviceMode, l7Share, l7Connections, hubble }: AgentWords): string[] => [
  'agent', dir, '--member', member, ...hubbleArguments(hubble, member), '--instance', instance, '--nodes', String(nodes), '--tunnel', tunnel, '--underlay', underlay, '--xdp', xdp, '--sockmap', sockmap,
  '--ipv4-range', ipv4Range, '--ipv6-range', ipv6Range, ...(allowRoot === true ? ['--allow-root'] : []), ...(attach === undefined ? [] : ['--attach', attach]), ...(names ? [] : ['--no-names']), ...(envoy === undefined ? [] : ['--envoy', envoy]),
  ...(maglevSize === undefined ? [] : ['--maglev-size', String(maglevSize)]), ...(serviceDrain === undefined ? [] : ['--service-drain', String(serviceDrain)]), '--service-algorithm', serviceAlgorithm, '--service-mode', serviceMode,
  ...[['--service-ipv4-range', serviceIpv4Range], ['--service-ipv6-range', serviceIpv6Range], ['--pool-ipv4-range', poolIpv4Range], ['--pool-ipv6-range', poolIpv6Range], ['--l7-share', l7Share], ['--l7-connections', l7Connections]].flatMap(([flag, word]) => (word === undefined ? [] : [String(flag), String(word)])),
];

export function register(program: Command): void {
  shareFlags(serviceFlags(rangeFlags(hubbleFlags(program.command('agent', { hidden: true }))))).argument('<dir>').requiredOption('--member <node>').requiredOption('--nodes <count>', '', wholeNumber)
    .requiredOption('--ipv4-range <prefix>').requiredOption('--ipv6-range <prefix>').option('--allow-root').option('--no-names').option('--envoy <path>')
    .addOption(new Option('--tunnel <mode>').choices(['vxlan', 'disabled']).makeOptionMandatory()).addOption(new Option('--underlay <family>').choices(['ipv4', 'ipv6']).makeOptionMandatory())
    .addOption(new Option('--attach <mode>').choices(['tcx', 'clsact'])).addOption(xdpOption()).addOption(sockmapOption()).addOption(instanceOption())
    .action(async (dir: string, words: Omit<AgentWords, 'dir' | 'hubble'> & HubbleWords) => { await runAgent({ ...words, dir, hubble: words }); });
}

async function runAgent({ instance, dir, member, nodes, tunnel, underlay, ipv4Range, ipv6Range, allowRoot, attach, names: named, envoy, xdp, sockmap, hubble, ...words }: AgentWords): Promise<void> {
  const { startAgent } = await import('../agent/agent.ts');
  const cluster = chosenInstance({ instance });
  const names = nodeNames(nodes);
  const ended = new Promise<void>((resolve) => { for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => { resolve(); }); });
  const agent = await startAgent({
    instance: nodeInstance(cluster.name, member), dir, ranges: rangesOfNode({ ipv4: ipv4Range, ipv6: ipv6Range }, names.indexOf(member)),
    serviceRanges: serviceRangesOf(cluster.name, words, { ipv4: ipv4Range, ipv6: ipv6Range }), allowRoot: allowRoot === true, hubble: hubbleOf(hubble), names: named, ...(envoy === undefined ? {} : { envoy }), ...(attach === undefined ? {} : { attachMode: attach }), xdp: xdpModes[xdp], sockmap, serviceDefaults: serviceDefaultsOf(words), l7Share: shareOf(words),
    cluster: { folder: clusterFolder(cluster), node: member, nodes: names, tunnel, underlay, port: tunnelPort(cluster.name) },
    log: (line) => { process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${printable(line)}\n`); },
  }).catch((error: unknown) => {
    printError(error);
    process.exit(1);
  });
  await ended;
  await agent.stop();
  process.exit(0);
}
