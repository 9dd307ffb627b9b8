// status and check: how it goes, and what this machine can do.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { chosenInstance, listing, outputOption, type Common } from './options.ts';
import { printObject, printRows, type Row } from './print.ts';

export interface Status {
  readonly instance: string; readonly pid: number; readonly startedAt: string; readonly directory: string | null; readonly attach: string; readonly xdp: Readonly<Record<string, string>>; readonly generation: number;
  readonly sockmap: { readonly mode: string; readonly messages: number; readonly bytes: number; readonly packets: number; readonly full: number };
  readonly ranges: Readonly<Record<'ipv4' | 'ipv6', string>>; readonly workloads: Readonly<Record<string, number>>; readonly ready: number;
  readonly endpoints: Readonly<Record<'ready' | 'all', number>>; readonly policies: Readonly<Record<'enforced' | 'audited' | 'off' | 'refused', number>>; readonly identities: number;
  readonly services: { readonly all: number; readonly frontends: number; readonly backends: number; readonly refused: number; readonly reset: Readonly<Record<'TCP' | 'UDP', number>>; readonly resetByPacket: number };
  /** null: no policy has needed it. */
  readonly envoy: { readonly running: boolean; readonly connected: boolean; readonly pid: number; readonly version: string; readonly listeners: number; readonly restarts: number; readonly refused: Readonly<Record<string, string>>; readonly limited: readonly { readonly endpoint: string; readonly dropped: number; readonly refused: number }[]; readonly problem?: string } | null;
  readonly nodes: readonly { readonly name: string; readonly health: string; readonly local: boolean; readonly tunnel: string }[];
  readonly problems: readonly { readonly at: string; readonly field: string; readonly message: string; readonly mend?: string }[];
  readonly packets: Readonly<Record<'forwarded' | 'dropped', number>>;
  readonly drops: readonly { readonly reason: string; readonly direction: string; readonly packets: number }[];
  readonly connections: { readonly held: number; readonly most: number; readonly refused: number; readonly endpoints: readonly { readonly endpoint: string; readonly held: number; readonly quota: number; readonly refused: number }[] };
  readonly flows: { readonly capacity: number; readonly kept: number; readonly seen: number; readonly perSecond: number; readonly lost: Readonly<Record<string, number>> };
  readonly memoryBytes: number;
}

/** From this part of its quota on an endpoint is named. */
const pressure = 0.8;

const pressing = ({ endpoints }: Status['connections']): string =>
  endpoints.filter(({ held, quota }) => held >= pressure * quota).map(({ endpoint, held, quota }) => `, ${endpoint} has ${held} of its ${quota}`).join('');

/** Reasons that are named; ./weir bpf drops has all. */
const topReasons = 3;

const topDrops = (drops: Status['drops']): string => (drops.length === 0 ? ''
  : `: ${drops.slice(0, topReasons).map(({ reason, direction, packets }) => `${packets} ${reason}${direction === 'unknown' ? '' : ` (${direction})`}`).join(', ')}${drops.length > topReasons ? ', ...' : ''}`);

const envoyText = ({ running, connected, pid, version, listeners, restarts, refused, limited, problem }: NonNullable<Status['envoy']>): string =>
  `${running ? `${version}, process ${pid}${connected ? '' : ', not connected'}, ${listeners} listeners` : problem ?? 'does not run'}${restarts === 0 ? '' : `, started again ${restarts} times`}`
  + (Object.keys(refused).length === 0 ? '' : `, ${Object.keys(refused).length} rule sets not served: ${Object.values(refused)[0]!}`)
  + limited.slice(0, 1).map((most) => `, ${limited.length} held to their share (${most.endpoint}: ${most.dropped} packets, ${most.refused} connections)`).join('');

/** For people: a line each, with words for the numbers. */
export function told({ instance, pid, startedAt, directory, attach, xdp, sockmap, generation, ranges, workloads, ready, endpoints, policies, identities, services, envoy, nodes, problems, packets, drops, connections, flows, memoryBytes }: Status): Row {
  return {
    agent: `${instance}, process ${pid}, since ${startedAt}`,
    directory: directory ?? 'none',
    ranges: `${ranges.ipv4}, ${ranges.ipv6}`,
    datapath: `attached by ${attach}${Object.entries(xdp).map(([device, mode]) => `, ${mode} XDP on ${device}`).join('')}, policy generation ${generation}`,
    workloads: Object.entries(workloads).map(([phase, count]) => `${count} ${phase}`).join(', ').concat(`; ${ready} ready`).replace(/^; .*/, 'none'),
    endpoints: `${endpoints.ready} of ${endpoints.all} ready, ${identities} identities`,
    ...(nodes.length === 0 ? {} : { node: nodes.filter(({ local }) => local).map(({ name, tunnel }) => `${name}, ${tunnel === 'vxlan' ? 'VXLAN' : 'plain routes'} to the others`).join(),
      peers: nodes.filter(({ local }) => !local).map(({ name, health }) => `${name} ${health}`).join(', ') || 'none yet' }),
    policies: `${policies.enforced} enforced, ${policies.refused} refused${policies.audited === 0 ? '' : `, ${policies.audited} audited`}${policies.off === 0 ? '' : `, ${policies.off} off`}`,
    services: services.all === 0 ? 'none' : `${services.all}, at ${services.frontends} addresses and ports, with ${services.backends} backends${services.refused === 0 ? '' : `, ${services.refused} not programmed`}; ${services.reset.TCP + services.reset.UDP + services.resetByPacket} connections reset as theirs went`,
    ...(envoy === null ? {} : { envoy: envoyText(envoy) }),
    packets: `${packets.forwarded} forwarded, ${packets.dropped} dropped${topDrops(drops)}`,
    ...(sockmap.mode !== 'off' ? { sockets: `${sockmap.mode}: ${sockmap.messages} messages from socket to socket, ${sockmap.packets} as packets${sockmap.full === 0 ? '' : `, ${sockmap.full} sockets found no place`}` } : {}),
    connections: `${connections.held} of at most ${connections.most}, ${connections.refused} refused${pressing(connections)}`,
    flows: `${flows.seen} seen, ${flows.perSecond.toFixed(1)} a second, the last ${flows.kept} of at most ${flows.capacity} kept, ${Object.values(flows.lost).reduce((sum, count) => sum + count, 0)} lost`,
    memory: `${Math.round(memoryBytes / 1e6)} MB`,
    problems: problems.length === 0 ? 'none' : problems.map(({ at, field, message, mend }) => `${at}: ${field === '' ? '' : `${field}: `}${message}${mend === undefined ? '' : ` (${mend})`}`),
  };
}

export function register(program: Command): void {
  listing(program.command('status').description('how the agent is doing')).addHelpText('after', '\nExample:\n  ./weir status').action(async (options: Common) => {
    const status = await callAgent<Status>(chosenInstance(options), 'status');
    printObject(options.output === 'table' ? told(status) : { ...status }, options.output);
  });

  program.command('check').description('what weir needs of this machine, and what mends it').addOption(outputOption()).addHelpText('after', '\nExample:\n  sudo ./weir check').action(async (options: Common) => {
    const [{ checkMachine, checkPrograms }, { objectPath }] = await Promise.all([import('../agent/node/check.ts'), import('../bpf/build.ts')]);
    const machine = checkMachine(objectPath);
    const rows = machine.every((row) => row.ok || !row.required) ? [...machine, ...checkPrograms(objectPath)] : machine;
    const shown = rows.map((row) => ({ ...row, state: row.ok ? 'ok' : row.required ? 'MISSING' : 'without', mend: row.ok ? '' : row.mend }));
    printRows(shown, ['name', 'state', 'found', 'mend'], options.output);
    if (rows.some((row) => row.required && !row.ok)) process.exitCode = 1;
  });
}
