// Which file registers which words of the command line. Only those of the word that was typed are loaded: a start costs half as much.
import type { Command } from 'commander';

/** `whole`: it is about all verbs, and needs them. */
interface Verbs { readonly words: readonly string[]; readonly whole?: boolean; readonly load: () => Promise<{ readonly register: (program: Command) => void }> }

/** In the order in which they register: `explain` adds to `policy`. */
export const verbs: readonly Verbs[] = [
  { words: ['up', 'down'], load: async () => import('./up.ts') },
  { words: ['agent'], load: async () => import('./agent.ts') },
  { words: ['policy'], load: async () => import('./policy.ts') },
  { words: ['explain', 'policy'], load: async () => import('./explain.ts') },
  { words: ['status', 'check'], load: async () => import('./status.ts') },
  { words: ['endpoint', 'identity', 'ipcache', 'node', 'db', 'bpf'], load: async () => import('./list.ts') },
  { words: ['observe'], load: async () => import('./observe.ts') },
  { words: ['list', 'watch'], load: async () => import('./hubble-list.ts') },
  { words: ['hubble'], load: async () => import('./hubble.ts') },
  { words: ['edges'], load: async () => import('./edges.ts') },
  { words: ['stat'], load: async () => import('./stat.ts') },
  { words: ['record'], load: async () => import('./record.ts') },
  { words: ['relay'], load: async () => import('./relay.ts') },
  { words: ['dns'], load: async () => import('./dns.ts') },
  { words: ['service'], load: async () => import('./service.ts') },
  { words: ['workload'], load: async () => import('./workload.ts') },
  { words: ['completion'], whole: true, load: async () => import('./completion.ts') },
];

/** Those of the verb that is typed; help and what is no verb need all. */
export function verbsOf(line: readonly string[]): readonly Verbs[] {
  const word = line[0] === '--node' ? line[2] : line[0]?.startsWith('--node=') === true ? line[1] : line[0];
  const meant = verbs.filter(({ words }) => word !== undefined && words.includes(word));
  return meant.length > 0 && !meant.some(({ whole }) => whole) ? meant : verbs;
}
