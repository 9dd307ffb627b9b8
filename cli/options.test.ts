// What Services are by default, as `up` takes it and hands it on to the agents of several nodes.
import { Command } from 'commander';
import { describe, expect, test } from '@jest/globals';
import { wordsOf, type AgentWords } from './agent.ts';
import { serviceDefaultsOf, serviceFlags, type ServiceWords } from './options.ts';

const parsed = (...words: string[]): ServiceWords => serviceFlags(new Command()).exitOverride().configureOutput({ writeErr: () => {} }).parse(words, { from: 'user' }).opts();
const shared = {
  instance: 'x', dir: '/d', member: 'node1', nodes: 2, tunnel: 'disabled', underlay: 'ipv4', ipv4Range: '10.0.0.0/16', ipv6Range: 'fd00::/48', names: true, xdp: 'off', hubble: {},
} as unknown as Omit<AgentWords, keyof ServiceWords>;
const flags = /^--(maglev|service-(algorithm|mode|drain))/;

describe('what Services are that do not say it themselves', () => {
  test.each([
    ['nothing said', [], { maglev: false, dsr: false }, []],
    ['all said', ['--maglev-size', '1021', '--service-drain', '2000', '--service-algorithm', 'maglev', '--service-mode', 'dsr'], { maglevSize: 1021, drainMs: 2_000, maglev: true, dsr: true }, ['1021']],
  ])('%s', (_, words, defaults, size) => {
    const said = parsed(...words);
    expect(serviceDefaultsOf(said)).toEqual(defaults);
    const handed = wordsOf({ ...shared, ...said });
    const own = handed.flatMap((word, index) => (flags.test(word) ? [word, handed[index + 1]!] : []));
    expect([serviceDefaultsOf(parsed(...own)), own.slice(1, 1 + size.length)]).toEqual([defaults, size.length > 0 ? size : []]);
  });

  test.each(['1000', '131101', '0', '-7', 'many', '16381.5'])('a Maglev table of %s slots is refused', (size) => {
    expect(() => parsed('--maglev-size', size)).toThrow(/is a prime up to 131071, such as 251, 1021 or 16381/);
  });

  test.each(['-1', '1.5', '600001', '2s'])('a drain of %s ms is refused', (drain) => {
    expect(() => parsed('--service-drain', drain)).toThrow(/is a whole number of milliseconds up to 600000/);
  });
});
