// Options that several verbs share.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { defaultShare, type Share } from '../agent/datapath/proxy-share.ts';
import type { XdpMode } from '../agent/kernel/attach.ts';
import { defaultInstance, instanceOf, type Instance } from '../agent/instance.ts';
import { isPrime, maxMaglevSize } from '../agent/service/maglev.ts';
import type { ServiceDefaults } from '../agent/service/tables.ts';
import { outputs, type Output } from './print.ts';

export const instanceOption = (): Option => new Option('--instance <name>', 'the agent that is meant, when several run on this machine').default(defaultInstance).env('WEIR_INSTANCE');
export const outputOption = (): Option => new Option('-o, --output <form>', 'how to print').choices([...outputs]).default('table');

/** For commands that are told to the user. */
export const instanceFlag = (name: string): string => (name === defaultInstance ? '' : ` --instance ${name}`);

export interface Common { readonly instance: string; readonly output: Output }

export const chosenInstance = (options: { readonly instance: string }): Instance => instanceOf(options.instance);

/** Where the addresses of Services come from. */
export const rangeFlags = (command: Command): Command => command
  .option('--service-ipv4-range <prefix>', 'ClusterIPs of Services').option('--service-ipv6-range <prefix>', 'ClusterIPs of Services')
  .option('--pool-ipv4-range <prefix>', 'addresses of Services of type LoadBalancer').option('--pool-ipv6-range <prefix>', 'addresses of Services of type LoadBalancer');

/** Ten minutes; of a pod whose grace is shorter, that. */
const mostDrainMs = 600_000;

/** What Services are that do not say it themselves; all nodes of a cluster alike. */
export interface ServiceWords { readonly maglevSize?: number; readonly serviceDrain?: number; readonly serviceAlgorithm: 'random' | 'maglev'; readonly serviceMode: 'snat' | 'dsr' }
export const serviceFlags = (command: Command): Command => command
  .option('--maglev-size <prime>', 'slots of each Maglev table (16381)', sizeOf)
  .option('--service-drain <ms>', 'how long a pod that is to end, and gets no new connections any more, may answer before it is told (500)', drainOf)
  .addOption(new Option('--service-algorithm <name>', 'which backend a client outside gets').choices(['random', 'maglev']).default('random'))
  .addOption(new Option('--service-mode <mode>', 'who answers a client outside, where the backend is on another node: the one that it asked (snat), or the backend\'s own (dsr)').choices(['snat', 'dsr']).default('snat'));

export const serviceDefaultsOf = ({ maglevSize, serviceDrain, serviceAlgorithm, serviceMode }: ServiceWords): ServiceDefaults =>
  ({ ...(maglevSize === undefined ? {} : { maglevSize }), ...(serviceDrain === undefined ? {} : { drainMs: serviceDrain }), maglev: serviceAlgorithm === 'maglev', dsr: serviceMode === 'dsr' });

function sizeOf(text: string): number {
  const size = Number(text);
  if (!/^\d{1,9}$/.test(text) || !isPrime(size) || size > maxMaglevSize) throw new InvalidArgumentError(`It is a prime up to ${maxMaglevSize}, such as 251, 1021 or 16381.`);
  return size;
}

function drainOf(text: string): number {
  const drainMs = Number(text);
  if (!/^\d{1,6}$/.test(text) || drainMs > mostDrainMs) throw new InvalidArgumentError(`It is a whole number of milliseconds up to ${mostDrainMs}.`);
  return drainMs;
}
/** Of Envoy, for each workload; all nodes of a cluster alike. */
export interface ShareWords { readonly l7Share?: number; readonly l7Connections?: number }
export const shareFlags = (command: Command): Command => command
  .option('--l7-share <percent>', `of a core's worth of Envoy, for each workload while others use it too; packets beyond are dropped; 100: no limit (${defaultShare.percent})`, between(1, 100))
  .option('--l7-connections <n>', `that each workload may have open through Envoy (${defaultShare.connections})`, between(1, 50_000));

export const shareOf = ({ l7Share, l7Connections }: ShareWords): Share => ({ percent: l7Share ?? defaultShare.percent, connections: l7Connections ?? defaultShare.connections });

const between = (least: number, most: number) => (text: string): number => {
  const value = wholeNumber(text);
  if (value < least || value > most) throw new InvalidArgumentError(`It is a number from ${least} to ${most}.`);
  return value;
};

/** How the node's devices run XDP. Not unless it is asked for: a driver that runs programs may lose offloads by it, and generic XDP costs every packet. */
export type XdpWord = 'off' | 'auto' | 'generic';
export const xdpOption = (): Option => new Option('--xdp <mode>', 'on the node\'s devices, for clients of services: auto is native on hardware whose driver can, else generic').choices(['off', 'auto', 'generic']).default('off');
export const sockmapOption = (): Option => new Option('--sockmap <mode>', 'TCP between workloads of this node from socket to socket, between those with the label sockmap.weir.io/join=true or all: not every program bears it (bpf/README.md)').choices(['off', 'marked', 'all']).default('off');
export const xdpModes = { off: [], auto: ['native', 'generic'], generic: ['generic'] } as const satisfies Record<XdpWord, readonly XdpMode[]>;

/** A verb that lists or shows something of a running agent. */
export const listing = (command: Command): Command => command.addOption(instanceOption()).addOption(outputOption());

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

/** As Go's flags: `--follow=true`, and `--follow=false` as if it were not there. */
export function booleanValues(command: Command): Command {
  const parse = command.parseOptions.bind(command);
  command.parseOptions = (args) => parse(args.flatMap((arg) => {
    const [, flag, value] = /^(--[a-z0-9-]+)=(1|t|true|0|f|false)$/i.exec(arg) ?? [];
    const option = command.options.find(({ long }) => long === flag);
    return option === undefined || !option.isBoolean() ? [arg] : /^[1t]/i.test(value!) ? [flag!] : [];
  }));
  return command;
}
