// What must pass on which kernel. A test that is missing, skipped or failed where this table wants it is a failure; what a kernel
// cannot do stands here by name, with the reason.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from './machine.ts';

/** `status`: what excuses. A test that is skipped by itself where something is missing has no right to fail. */
export interface Without { readonly test: RegExp; readonly status: 'failed' | 'skipped'; readonly why: string }

export interface Floor {
  readonly kernel: string;
  readonly without: readonly Without[];
}

export interface Group {
  readonly name: string;
  /** Test files, as jest knows them. */
  readonly files: RegExp;
  /** Kernels in a VM where it must pass; absent: all. */
  readonly on?: readonly string[];
}

const e2e = (...names: string[]): RegExp => new RegExp(`^kernel-tests/(${names.join('|')})\\.e2e\\.test\\.ts$`);

/** The tables run everywhere; the rest is spread over the kernels, as an emulated machine takes minutes for each, so that clsact and TCX both get
 * some of it. `--whole` runs all of them on any kernel. */
export const groups: readonly Group[] = [
  { name: 'programs load', files: /^bpf\/verify\.test\.ts$/ },
  { name: 'packet tables', files: /^bpf\/(?!conformance|verdict|generate|verify|sizes|service-table).*\.test\.ts$/ },
  { name: 'verdict tables', files: /^bpf\/(conformance|verdict)\.test\.ts$/ },
  { name: 'large sets', files: /^bpf\/sizes\.test\.ts$/, on: ['5.10'] },
  { name: 'policy end to end', files: e2e('policy'), on: ['5.10', '6.18'] },
  { name: 'fragments end to end', files: e2e('fragments'), on: ['6.1'] },
  { name: 'frames end to end', files: e2e('frames'), on: ['6.12'] },
  { name: 'SCTP sockets', files: e2e('sctp'), on: ['6.1', '6.18'] },
  { name: 'loss and reordering', files: e2e('loss'), on: ['6.12'] },
  { name: 'revocation, audit, CIDR groups', files: e2e('revocation', 'audit', 'cidr-group'), on: ['6.1'] },
  { name: 'through a proxy', files: e2e('proxy'), on: ['6.1'] },
  { name: 'changes under load', files: e2e('hammer'), on: ['6.18'] },
  { name: 'neighbour', files: e2e('neighbour'), on: ['6.12'] },
  { name: 'lifecycle', files: e2e('lifecycle'), on: ['6.18'] },
  { name: 'restarts', files: e2e('restart'), on: [] },
  { name: 'sockets to sockets', files: e2e('sockmap'), on: [] },
  { name: 'several nodes', files: e2e('nodes', 'forged', 'nodes-life', 'relay'), on: [] },
  { name: 'verbs, Hubble, faults', files: e2e('verbs', 'hubble', 'faults'), on: [] },
];

/** What `npm test` runs of it (`--quick`): a few minutes of an emulated machine, and that the oldest kernel takes the programs. */
export const quick: Readonly<Record<string, RegExp>> = {
  '6.1': /^(bpf\/(verify|connection|from_workload|from_netdev|dns_names|verdict)|kernel-tests\/sctp\.e2e)\.test\.ts$/,
  '5.10': /^bpf\/verify\.test\.ts$/,
};

const all = (): string[] => ['bpf', 'kernel-tests'].flatMap((folder) => readdirSync(join(checkout, folder)).map((name) => `${folder}/${name}`));

export const isOn = (group: Group, kernel: string): boolean => kernel === 'host' || group.on === undefined || group.on.includes(kernel);

/** All that belong to a group; `kernel`: and must pass there. */
export function testFiles(kernel?: string): string[] {
  return all().filter((file) => groups.some((group) => group.files.test(file) && (kernel === undefined || isOn(group, kernel))));
}

/** Where there is no KVM. */
const emulated: readonly Without[] = [
  { test: /a million connections/, status: 'skipped', why: 'takes longer to open than a connection lasts' },
  { test: /65,535 identities/, status: 'skipped', why: 'takes minutes to compile' },
];

const compiled: Without = { test: /^bpf\/verify.*a refusal names/, status: 'skipped', why: 'no compiler in the VM' };
const joined: Without = { test: /^bpf\/sockmap/, status: 'skipped', why: 'sockets are joined from 6.13 on' };

const byTcp: Without = { test: /^bpf\/dns_tcp\.test\.ts/, status: 'skipped', why: 'test runs that packets do not interrupt, as the proxy of DNS by TCP needs them, are of 6.0' };

export const floors: readonly Floor[] = [
  { kernel: '5.10', without: [...emulated, compiled, joined, byTcp] },
  { kernel: '6.1', without: [...emulated, compiled, joined] },
  { kernel: '6.12', without: [...emulated, compiled, joined] },
  { kernel: '6.18', without: [...emulated, compiled] },
  { kernel: 'host', without: [
    { test: /^kernel-tests\/sctp/, status: 'skipped', why: 'this machine may have no SCTP sockets' }, { test: /^kernel-tests\/loss/, status: 'skipped', why: 'this machine may have no netem' },
    { test: /^kernel-tests\/frames.*a VLAN of the machine itself/, status: 'skipped', why: 'this machine may have no VLAN devices' },
  ] },
];
