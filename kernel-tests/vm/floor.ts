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
  /** Those of them that `npm test` runs on one kernel: what a few minutes of an emulated machine hold. */
  readonly quick?: RegExp;
}

export const groups: readonly Group[] = [
  { name: 'packet tables', files: /^bpf\/(?!conformance|verdict|generate|verify).*\.test\.ts$/, quick: /^bpf\/(connection|from_workload|from_netdev)\.test\.ts$/ },
  { name: 'verdict tables', files: /^bpf\/(conformance|verdict)\.test\.ts$/, quick: /^bpf\/verdict\.test\.ts$/ },
  { name: 'policy end to end', files: /^kernel-tests\/policy\.e2e\.test\.ts$/ },
  { name: 'fragments end to end', files: /^kernel-tests\/fragments\.e2e\.test\.ts$/ },
  { name: 'frames end to end', files: /^kernel-tests\/frames\.e2e\.test\.ts$/ },
  { name: 'SCTP sockets', files: /^kernel-tests\/sctp\.e2e\.test\.ts$/, quick: /^kernel-tests\/sctp\.e2e\.test\.ts$/ },
  { name: 'loss and reordering', files: /^kernel-tests\/loss\.e2e\.test\.ts$/ },
  { name: 'revocation', files: /^kernel-tests\/revocation\.e2e\.test\.ts$/ },
];

/** All that belong to a group. */
export function testFiles(): string[] {
  const all = ['bpf', 'kernel-tests'].flatMap((folder) => readdirSync(join(checkout, folder)).map((name) => `${folder}/${name}`));
  return all.filter((file) => groups.some((group) => group.files.test(file)));
}

/** Where there is no KVM. */
const emulated: Without = { test: /a million connections/, status: 'skipped', why: 'takes longer to open than a connection lasts' };

export const floors: readonly Floor[] = [
  { kernel: '5.10', without: [emulated] },
  { kernel: '6.1', without: [emulated] },
  { kernel: '6.12', without: [emulated] },
  { kernel: '6.18', without: [emulated] },
  { kernel: 'host', without: [
    { test: /^kernel-tests\/sctp/, status: 'skipped', why: 'this machine may have no SCTP sockets' }, { test: /^kernel-tests\/loss/, status: 'skipped', why: 'this machine may have no netem' },
  ] },
];
