// A comparison in rows: ends that change alike stand in one row; ports in words; a table, or Markdown for a pull request.
import type { Change } from './diff.ts';
import { formatPolicy, formatRule } from './explain-text.ts';
import { ICMP, ICMPV6, SCTP, TCP, UDP, icmpTypeName, protocolName } from './icmp.ts';
import { LAST_KEY, keyOf, type KeyRange } from './intervals.ts';
import type { DiffGroup } from './diff-groups.ts';

export interface DiffRow {
  readonly change: Change['change'];
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly ports: string;
  readonly by: readonly string[];
}

const ORDER = ['closed', 'requests', 'opened'];

/** First what is closed. Sources that change alike towards one destination are one row, then destinations of the same sources. */
export function diffRows(changes: readonly Change[]): DiffRow[] {
  const rows = changes.map(({ change, from, to, ranges, by }): DiffRow => ({
    change, from: [from.name], to: [to.name], ports: portsText(ranges),
    by: [...new Set(by.map((one) => ('path' in one ? formatRule(one) : formatPolicy(one))))].sort(),
  }));
  return joined(joined(rows, 'from'), 'to').sort((a, b) => ORDER.indexOf(a.change) - ORDER.indexOf(b.change));
}

function joined(rows: readonly DiffRow[], field: 'from' | 'to'): DiffRow[] {
  const found = new Map<string, DiffRow>();
  for (const row of rows) {
    const key = JSON.stringify({ ...row, [field]: [] });
    const same = found.get(key);
    found.set(key, same === undefined ? row : { ...same, [field]: [...same[field], ...row[field]] });
  }
  return [...found.values()];
}

const PROTOCOLS = [TCP, UDP, SCTP, ICMP, ICMPV6];

/** `80/TCP, 8000-8080/TCP`, `every port of UDP`, `everything` */
export function portsText(ranges: readonly KeyRange[]): string {
  if (ranges.length === 1 && ranges[0]!.low === 0 && ranges[0]!.high === LAST_KEY) return 'everything';
  const texts = PROTOCOLS.flatMap((protocol) => within(ranges, keyOf(protocol, 0), keyOf(protocol, 0xffff)).map(({ low, high }) => partText(protocol, low & 0xffff, high & 0xffff)));
  return ranges.some(({ low, high }) => low === 0 || high === LAST_KEY) ? [...texts, 'protocols without ports'].join(', ') : texts.join(', ');
}

const within = (ranges: readonly KeyRange[], low: number, high: number): KeyRange[] =>
  ranges.filter((one) => one.low <= high && low <= one.high).map((one) => ({ low: Math.max(one.low, low), high: Math.min(one.high, high) }));

function partText(protocol: number, low: number, high: number): string {
  const name = protocolName(protocol);
  const isIcmp = protocol === ICMP || protocol === ICMPV6;
  if (low === 0 && high >= (isIcmp ? 0xff : 0xffff)) return isIcmp ? `every type of ${name}` : `every port of ${name}`;
  if (low !== high) return `${low}-${high}/${name}`;
  return `${isIcmp ? icmpTypeName(protocol === ICMP ? 'IPv4' : 'IPv6', low) ?? low : low}/${name}`;
}

const FEW = 4;

/** `a, b, c, d and 3 more` */
export const fewText = (names: readonly string[]): string =>
  (names.length > FEW + 1 ? `${names.slice(0, FEW).join(', ')} and ${names.length - FEW} more` : names.join(', '));

export function markdown(rows: readonly DiffRow[]): string {
  if (rows.length === 0) return 'No flow changes.\n';
  const cell = (text: string): string => text.replace(/[\\|`*_<>[\]]/g, '\\$&').replace(/[\r\n]/g, ' ');
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return `${[line(['Change', 'From', 'To', 'Ports', 'Because of']), line(['---', '---', '---', '---', '---']),
    ...rows.map(({ change, from, to, ports, by }) => line([`**${change}**`, cell(fewText(from)), cell(fewText(to)), cell(ports), cell(fewText(by))]))].join('\n')}\n`;
}

/** For programs: whole groups, ranges as numbers. */
export const diffJson = (changes: readonly Change[]): object[] => changes.map(({ change, from, to, ranges, by }) => ({
  change, from: groupJson(from), to: groupJson(to), ports: portsText(ranges),
  ranges: ranges.flatMap((range) => PROTOCOLS.flatMap((protocol) => within([range], keyOf(protocol, 0), keyOf(protocol, 0xffff))
    .map(({ low, high }) => ({ protocol: protocolName(protocol), first: low & 0xffff, last: high & 0xffff })))),
  by: by.map((one) => ('path' in one ? { ...one.policy, path: one.path } : one)),
}));

const groupJson = ({ name, kind, members, labels }: DiffGroup): object => ({ name, kind, ...(kind === 'workloads' ? { labels, workloads: members } : {}) });
