// The table of words against what the files register, and which of them a line loads.
import { describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { verbs, verbsOf } from './verbs.ts';

test.each(verbs.map((row) => [row.words.join(', '), row] as const))('%s', async (_, { words, load }) => {
  const program = new Command('weir');
  (await load()).register(program);
  expect(program.commands.map((command) => command.name()).sort()).toEqual([...words].sort());
});

describe('a line loads', () => {
  test.each<[line: string, words: string[] | 'all']>([
    ['status', ['status', 'check']], ['policy explain --from a', ['policy', 'explain', 'policy']], ['--node node1 db show pods', ['endpoint', 'identity', 'ipcache', 'node', 'db', 'bpf']],
    ['--node=node1 relay', ['relay']], ['', 'all'], ['--help', 'all'], ['help status', 'all'], ['endpont', 'all'], ['--version', 'all'],
  ])('%s', (line, words) => {
    const found = verbsOf(line.split(' ').filter(Boolean)).flatMap((row) => row.words);
    expect(found).toEqual(words === 'all' ? verbs.flatMap((row) => row.words) : words);
  });
});
