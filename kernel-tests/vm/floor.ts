// What must pass on which kernel. A test that is missing, skipped or failed where this table wants it is a failure; what a kernel
// cannot do stands here by name, with the reason.

export interface Without { readonly test: RegExp; readonly why: string }

export interface Floor {
  readonly kernel: string;
  /** In the words of the README's table. */
  readonly says: string;
  readonly without: readonly Without[];
}

/** Test files by what they prove, as jest knows them. */
export const groups = [
  { name: 'packet tables', files: /^bpf\/(?!conformance|verdict|generate).*\.test\.ts$/ },
  { name: 'verdict tables', files: /^bpf\/(conformance|verdict)\.test\.ts$/ },
  { name: 'policy end to end', files: /^kernel-tests\/policy\.e2e\.test\.ts$/ },
  { name: 'fragments end to end', files: /^kernel-tests\/fragments\.e2e\.test\.ts$/ },
  { name: 'frames end to end', files: /^kernel-tests\/frames\.e2e\.test\.ts$/ },
  { name: 'revocation', files: /^kernel-tests\/revocation\.e2e\.test\.ts$/ },
] as const;

export const floors: readonly Floor[] = [
  { kernel: '5.10', says: 'programs load, packet and verdict tables, L3/L4 end to end by clsact', without: [] },
  { kernel: '6.1', says: 'everything that needs no TCX', without: [] },
  { kernel: '6.12', says: 'everything', without: [] },
  { kernel: '6.18', says: 'everything', without: [] },
  { kernel: 'host', says: 'everything but what its modules lack', without: [] },
];
