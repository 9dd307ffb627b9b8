// Every filter flag of observe against a naive evaluator: alone, negated, in pairs of a family, at random; on recorded flows and on random ones.
// And the flags that say how many and from when, and field masks, by the command itself.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { messageOf } from '../agent/errors.ts';
import { compileFilters } from '../hubble/filters/compile.ts';
import { fromJson } from '../hubble/json.ts';
import { flowMessage } from '../hubble/proto.ts';
import type { Flow } from '../hubble/types.ts';
import { addFilterFlags } from './observe-flags.ts';
import { endFlags, naive, randomFlows, randomOf, type Given, type JsonFlow } from './observe-naive.ts';
import { register } from './observe.ts';

const recorded = readFileSync(fileURLToPath(new URL('../hubble/testdata/flows.jsonl', import.meta.url)), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { flow: JsonFlow }).flow);
const json = [...recorded, ...randomFlows(recorded, 160, randomOf(7))];
const flows = json.map((flow) => fromJson<Flow>(flowMessage, flow));

/** Values of the flags that mean an end: some that are there, at edges, in both families, and one that is not. */
const endValues: Readonly<Record<string, readonly string[]>> = {
  pod: ['a', 'default/a-', 'other/', '/core', 'nope/x'], service: ['svc-a', 'default/svc-', 'kube-system/', '/d'],
  ip: ['10.0.0.1', '10.0.0.0/24', '10.0.0.0/8', '0.0.0.0/0', 'fd00::1', 'fd00::/64', '2001:db8::80/121', 'fd00::/8', '::/0', '192.0.2.1'],
  port: ['80', '443', '65535', '0', '7'], identity: ['1001', 'host', 'world', '0', '4294967295'],
  label: ['app=a', 'k8s:app=b', 'app!=a', '!tier', 'tier', 'app in (a,b),tier', 'app notin (a)', 'nope'],
  workload: ['deploy-a', 'Deployment/', 'Deployment/ds-b', 'DaemonSet/ds-b'], fqdn: ['*.cilium.io', 'cilium.io', '*', 'PEER.example.com.', 'x'], cluster: ['c1', 'c2'],
};
const bothValues: Readonly<Record<string, readonly (string | undefined)[]>> = {
  verdict: ['FORWARDED', 'DROPPED', 'AUDIT', 'REDIRECTED', 'ERROR', 'TRACED', 'TRANSLATED'], 'drop-reason-desc': ['POLICY_DENIED', 'POLICY_DENY', 'CT_MAP_INSERTION_FAILED', 'INVALID_SOURCE_IP'],
  protocol: ['tcp', 'UDP', 'sctp', 'icmp', 'icmpv4', 'icmpv6', 'http', 'dns', 'kafka', 'vrrp', 'igmp'], 'tcp-flags': ['syn', 'SYN,ack', 'fin', 'rst,psh', 'urg'],
  type: ['drop', 'trace', 'trace:to-stack', 'l7', 'policy-verdict', '5:1', '4', '1:133', 'agent'], 'traffic-direction': ['ingress', 'EGRESS'], uuid: ['u-0003', 'r-5', 'none'],
  'node-name': ['c1/n1', 'c2/', '/n2', 'n1', '*/n*', 'c2/*.example.com'], 'node-label': ['zone=z1', '!zone', 'kubernetes.io/os'], 'snat-ip': ['192.168.9.9', '192.168.0.0/16', '10.0.0.0/8'],
  ipv4: [undefined], ipv6: [undefined], 'ip-version': ['v4', 'v6', 'none'], interface: ['eth0', 'lxc123', 'x'], encrypted: [undefined], unencrypted: [undefined],
  'http-status': ['404', '50+', '2+', '599'], 'http-method': ['get', 'PUT', 'DELETE'], 'http-path': ['^/x', 'page/[0-9]+$', 'q=1'], 'http-url': ['^http://a', 'q=1', '^/rel'],
  'http-header': ['X-Foo:bar', 'X-Foo:nope'], 'trace-id': ['abc123', 'x'], 'ip-trace-id': ['77', '78'],
};
const directions = ['from-', 'to-', ''] as const;
const namespaceFlags: Given[] = directions.flatMap((direction) => [...['default', 'other', 'nope'].map((value) => ({ flag: `${direction}namespace`, value })), { flag: `${direction}all-namespaces` }]);
const families: Readonly<Record<string, readonly Given[]>> = {
  ...Object.fromEntries(Object.entries(endValues).map(([name, values]) => [name, directions.flatMap((direction) => values.map((value) => ({ flag: direction + name, value })))])),
  namespace: namespaceFlags,
  ...Object.fromEntries(Object.entries(bothValues).map(([name, values]) => [name, values.map((value) => ({ flag: name, ...(value !== undefined && { value }) }))])),
};
const all = Object.values(families).flat();

const argumentsOf = (given: readonly Given[]): string[] => given.flatMap(({ flag, value, not }) => [...(not === true ? ['--not'] : []), `--${flag}${value === undefined ? '' : `=${value}`}`]);

/** The uuids that pass, or why the flags are refused. */
function passed(given: readonly Given[]): string[] | string {
  const command = new Command().exitOverride();
  const filters = addFilterFlags(command);
  try {
    command.parse(argumentsOf(given), { from: 'user' });
    const { whitelist, blacklist } = filters();
    const matches = compileFilters(whitelist, blacklist);
    return json.filter((_, index) => matches(flows[index]!)).map(({ uuid }) => uuid as string);
  } catch (error) {
    return messageOf(error);
  }
}

const expected = (given: readonly Given[]): string[] => json.filter((flow) => naive(flow, given)).map(({ uuid }) => uuid as string);
const negated = (one: Given): Given => ({ ...one, not: true });

/** Refused for what two flags are together; nothing else is. */
const unfit = /cannot be combined|names its namespace already|needs the event type l7/;

function compare(given: readonly Given[]): 'same' | 'refused' {
  const outcome = passed(given);
  if (typeof outcome === 'string') {
    if (!unfit.test(outcome)) throw new Error(`${argumentsOf(given).join(' ')}: ${outcome}`);
    return 'refused';
  }
  expect({ flags: argumentsOf(given).join(' '), passed: outcome }).toEqual({ flags: argumentsOf(given).join(' '), passed: expected(given) });
  return 'same';
}

/** Of a family with more, so many at random. */
const maxPairs = 100;

describe.each(Object.keys(families))('--%s', (name) => {
  const family = families[name]!;
  test('alone, and negated', () => {
    for (const one of family) {
      expect([compare([one]), compare([negated(one)])]).toEqual(['same', 'same']);
    }
    // Some values pass something and leave something out, so that the comparison says something.
    expect(family.some((one) => { const { length } = expected([one]); return length > 0 && length < json.length; }) || ['kafka', 'vrrp'].includes(name)).toBe(true);
  });

  test('in pairs', () => {
    const pairs = family.flatMap((one) => family.filter((other) => other !== one).map((other) => [one, other] as const));
    const random = randomOf(13);
    for (const [one, other] of pairs.length <= maxPairs ? pairs : Array.from({ length: maxPairs }, () => pairs[random(pairs.length)]!)) {
      compare([one, other]);
      expect(compare([one, negated(other)])).toBe('same');
    }
  });
});

describe('at random', () => {
  test('500 sets of up to five flags of any kind', () => {
    const random = randomOf(11);
    const outcomes = Array.from({ length: 500 }, () => compare(Array.from({ length: 1 + random(5) }, () => { const one = all[random(all.length)]!; return random(4) === 0 ? negated(one) : one; })));
    expect(outcomes.filter((outcome) => outcome === 'same').length).toBeGreaterThan(200);
  });
});

describe('cannot be combined', () => {
  const values: Readonly<Record<string, string>> = Object.fromEntries(Object.entries(endValues).map(([name, list]) => [name, list[0]!]));
  const pairs: [string, string][] = [
    ...['ip', 'fqdn', 'pod', 'label', 'service', 'port', 'identity', 'workload'].flatMap((what) => ['from', 'to'].map((end): [string, string] => [what, `${end}-${what}`])),
    ...['from', 'to'].flatMap((end): [string, string][] => [['namespace', `${end}-namespace`], [`${end}-ip`, `${end}-fqdn`], [`${end}-ip`, `${end}-namespace`], [`${end}-fqdn`, `${end}-pod`], ['namespace', `${end}-pod`], ['namespace', `${end}-service`]]),
    ['encrypted', 'unencrypted'],
  ];
  const given = (flag: string): Given => ({ flag, ...(!flag.endsWith('encrypted') && { value: flag.endsWith('namespace') ? 'default' : values[flag.replace(/^(from|to)-/, '')]! }) });
  test.each(pairs)('--%s and --%s', (one, other) => {
    for (const [first, second] of [[one, other], [other, one]] as const) {
      expect(passed([given(first), given(second)])).toMatch(/^invalid argument .*cannot be combined$/);
      expect(passed([negated(given(first)), negated(given(second))])).toMatch(/cannot be combined$/);
      // The deny list has its own.
      expect(compare([given(first), negated(given(second))])).toBe('same');
    }
  });
  test('every end flag is among them or allowed in both directions', () => { expect(Object.keys(endFlags).sort()).toEqual(Object.keys(endValues).sort()); });
});

describe('refused values', () => {
  test.each<{ flag: string; value: string; says: RegExp }>([
    { flag: 'port', value: '80-90', says: /"80-90" is no port/ }, { flag: 'port', value: '65536', says: /is no port/ }, { flag: 'ip', value: '10.0.0.0/33', says: /10\.0\.0\.0\/33/ },
    { flag: 'ip', value: 'fd00::/129', says: /fd00::\/129/ }, { flag: 'ip', value: '', says: /invalid source_ip filter/ }, { flag: 'pod', value: '', says: /an empty name/ }, { flag: 'label', value: 'a in (b', says: /expected "\)"/ },
    { flag: 'http-status', value: '60+', says: /invalid status code prefix/ }, { flag: 'tcp-flags', value: 'syn,x', says: /unknown tcp flag: x/ }, { flag: 'ip-trace-id', value: '0', says: /above 0/ },
    { flag: 'protocol', value: 'quic', says: /invalid protocol filter/ }, { flag: 'cel-expression', value: 'true', says: /cel_expression: not supported/ }, { flag: 'fqdn', value: '[a]', says: /only names with "\*"/ },
  ])('--$flag $value', ({ flag, value, says }) => { expect(passed([{ flag, value }])).toMatch(says); });
});

describe('how many and from when', () => {
  let nowMs: number;
  let lines: JsonFlow[];
  let folder: string;
  const minute = (index: number): string => new Date(nowMs - (100 - index) * 60_000).toISOString();
  beforeEach(() => {
    nowMs = Date.now();
    lines = Array.from({ length: 100 }, (_, index) => ({ ...json[index]!, uuid: `m-${index}`, time: minute(index) }) as JsonFlow);
    folder = mkdtempSync(join(tmpdir(), 'naive-'));
    writeFileSync(join(folder, 'f'), lines.map((flow) => `${JSON.stringify({ flow, time: flow['time'] })}\n`).join(''));
  });
  afterEach(() => { rmSync(folder, { recursive: true }); });

  async function observe(...args: string[]): Promise<JsonFlow[]> {
    let out = '';
    const program = new Command().exitOverride();
    register(program, { write: (text) => { out += text; }, writeError: () => undefined, isTerminal: false, drained: () => undefined });
    await program.parseAsync(['observe', '--input-file', join(folder, 'f'), '-o', 'json', ...args], { from: 'user' });
    return out.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: JsonFlow }).flow);
  }

  const sinces = [[], ['--since', '50m30s'], ['--since', '@60'], ['--since', '2h']] as const;
  const untils = [[], ['--until', '20m30s'], ['--until', '@80'], ['--until', '3h']] as const;
  const counts = [[], ['--first', '7'], ['--last', '7'], ['--all'], ['--first', '500'], ['--last', '500']] as const;
  const filters: Given[][] = [[], [{ flag: 'protocol', value: 'tcp' }], [{ flag: 'ip', value: 'fd00::/64', not: true }]];
  /** `@60`: the date of flow number 60. */
  const dated = (words: readonly string[]): string[] => words.map((word) => (word.startsWith('@') ? minute(Number(word.slice(1))) : word));
  const msOf = (words: readonly string[]): number | undefined => (words.length === 0 ? undefined : { '50m30s': nowMs - 3_030_000, '2h': nowMs - 7_200_000, '20m30s': nowMs - 1_230_000, '3h': nowMs - 10_800_000 }[words[1]!] ?? Date.parse(dated(words)[1]!));

  test.each(sinces.flatMap((since) => untils.flatMap((until) => counts.map((count) => ({ name: [...since, ...until, ...count].join(' ') || 'nothing said', since, until, count })))))('$name', async ({ since, until, count }) => {
    for (const given of filters) {
      const [fromMs = -Infinity, toMs = Infinity] = [msOf(since), msOf(until)];
      const within = lines.filter((flow) => Date.parse(flow['time']) >= fromMs && Date.parse(flow['time']) <= toMs && naive(flow, given));
      const wanted = count[0] === '--first' ? within.slice(0, Number(count[1])) : count[0] === '--last' && since.length === 0 ? within.slice(-Number(count[1])) : within;
      expect((await observe(...dated(since), ...dated(until), ...count, ...argumentsOf(given))).map(({ uuid }) => uuid as string)).toEqual(wanted.map(({ uuid }) => uuid as string));
    }
  });

  test.each(['--field-mask', '--experimental-field-mask'])('%s leaves what was asked for', async (flag) => {
    const paths = ['uuid', 'time', 'IP.source', 'l4', 'source.pod_name', 'destination.labels', 'l7.http.url', 'verdict'];
    const picked = (flow: JsonFlow, wanted: readonly string[]): JsonFlow => {
      const result: JsonFlow = {};
      for (const path of wanted) {
        let [from, to] = [flow, result];
        const names = path.split('.');
        for (const [index, name] of names.entries()) {
          if (from[name] === undefined) break;
          if (index === names.length - 1) to[name] = from[name];
          else { to[name] ??= {}; [from, to] = [from[name], to[name]]; }
        }
      }
      return result;
    };
    const whole = await observe();
    for (const one of paths) {
      for (const other of paths) {
        const wanted = one === other ? [one] : [one, other];
        const plain = (list: readonly JsonFlow[]): unknown => JSON.parse(JSON.stringify(list));
        expect(plain(await observe(flag, wanted.join(',')))).toEqual(plain(whole.map((flow) => picked(flow, wanted))));
        if (one !== other) expect(await observe(flag, one, flag, other)).toEqual(await observe(flag, wanted.join(',')));
      }
    }
  });
});
