// The filter flags of `weir observe`, one row each: what the user writes, what it means, which field it goes to.
import type { Command } from 'commander';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { reservedIdentity } from '../hubble/identity.ts';
import { fromJson } from '../hubble/json.ts';
import { tracePoints } from '../hubble/print/words.ts';
import { enumNumbers, filterMessage } from '../hubble/proto.ts';
import { eventType, type EventTypeFilter, type FlowFilter, type TcpFlags, type Workload } from '../hubble/types.ts';
import { FilterPair } from './observe-filters.ts';

type Field = keyof FlowFilter;
type Apply = (pair: FilterPair, value: string) => void;
interface Flag { readonly flags: string; readonly help: string; readonly apply: Apply }

const asIs = (value: string): unknown => value;
const both = (field: Field, parse = asIs): Apply => (pair, value) => { pair.both(field, parse(value)); };

/** --from-X, --to-X and --X. */
const directional = (name: string, short: string, argument: string, what: string, field: string, parse = asIs): Flag[] => {
  const [source, destination] = [`source_${field}` as Field, `destination_${field}` as Field];
  return [
    { flags: `--from-${name} <${argument}>`, help: `only from ${what}`, apply: both(source, parse) },
    { flags: `--to-${name} <${argument}>`, help: `only to ${what}`, apply: both(destination, parse) },
    { flags: `${short}--${name} <${argument}>`, help: `only from or to ${what}`, apply: (pair, value) => { pair.split(source, destination, parse(value)); } },
  ];
};

const enumValue = (enumName: string, what: string) => (value: string): number => {
  const number = enumNumbers(enumName).get(value.toUpperCase());
  if (number === undefined) throw new ConfigError(`unknown ${what}: ${value}`, `one of: ${[...enumNumbers(enumName).keys()].join(', ')}`);
  return number;
};

function identity(value: string): number {
  const number = reservedIdentity(value) ?? (/^[0-9]{1,10}$/.test(value) ? Number(value) : NaN);
  if (!(number < 2 ** 32)) throw new ConfigError(`${value} is neither a number nor the name of a reserved identity`);
  return number;
}

function workload(value: string): Workload {
  const slash = value.indexOf('/');
  const [kind, name] = slash < 0 ? ['', value] : [value.slice(0, slash), value.slice(slash + 1)];
  return { ...(name !== '' && { name }), ...(kind !== '' && { kind }) };
}

const flagNames = new Set(['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']);

function tcpFlags(value: string): TcpFlags {
  const names = value.split(',').map((name) => {
    if (!flagNames.has(name.toUpperCase())) throw new ConfigError(`unknown tcp flag: ${name}`);
    return name.toUpperCase();
  });
  return Object.fromEntries(names.map((name) => [name, true]));
}

const eventTypes: Readonly<Record<string, number>> = {
  drop: eventType.drop, debug: eventType.debug, capture: eventType.capture, trace: eventType.trace, 'policy-verdict': eventType.policyVerdict,
  'trace-sock': eventType.traceSock, l7: eventType.l7, agent: eventType.agent,
};

function eventTypeFilter(value: string): EventTypeFilter {
  const colon = value.indexOf(':');
  const [name, subName] = colon < 0 ? [value, undefined] : [value.slice(0, colon), value.slice(colon + 1)];
  const type = eventTypes[name.toLowerCase()] ?? (/^[0-9]{1,3}$/.test(name) ? Number(name) : undefined);
  if (type === undefined) throw new ConfigError(`unknown type ${name}; known are ${Object.keys(eventTypes).join(', ')}`);
  if (subName === undefined) return { type };
  const point = (tracePoints as readonly string[]).indexOf(subName.toLowerCase());
  const subType = type === eventType.trace && point >= 0 ? point : /^[0-9]{1,3}$/.test(subName) ? Number(subName) : undefined;
  if (subType === undefined) throw new ConfigError(`unknown sub-type ${subName} of ${name}; those of trace are ${tracePoints.join(', ')}`);
  return { type, match_sub_type: true, sub_type: subType };
}

function header(value: string): { key: string; value: string } {
  const colon = value.indexOf(':');
  if (colon < 1) throw new ConfigError(`${value}: expected NAME:VALUE`);
  return { key: value.slice(0, colon), value: value.slice(colon + 1).trimStart() };
}

const ipVersions: Readonly<Record<string, number>> = { none: 0, v4: 1, v6: 2 };

function ipVersion(value: string): number {
  const version = ipVersions[value.toLowerCase()];
  if (version === undefined) throw new ConfigError(`unknown IP version ${value}; known are none, v4, v6`);
  return version;
}

function traceNumber(value: string): number {
  if (!/^[1-9][0-9]{0,15}$/.test(value)) throw new ConfigError(`${value}: expected a number above 0`);
  return Number(value);
}

const namespaceFlags: Flag[] = ([['from-', 'source', 'from'], ['to-', 'destination', 'to'], ['', 'either', 'from or to']] as const).flatMap(([prefix, side, what]) => [
  { flags: `${prefix === '' ? '-n, ' : ''}--${prefix}namespace <namespace>`, help: `only ${what} the namespace`, apply: (pair, value) => { pair.namespace(side, value); } },
  { flags: `${prefix === '' ? '-A, ' : ''}--${prefix}all-namespaces`, help: `only ${what} pods of any namespace`, apply: (pair) => { pair.namespace(side, ''); } },
]);

const flags: readonly Flag[] = [
  ...directional('pod', '', '[ns/]prefix', 'pods', 'pod'),
  ...namespaceFlags,
  ...directional('label', '-l, ', 'selector', 'labels', 'label'),
  ...directional('ip', '', 'address', 'an IP address or CIDR', 'ip'),
  ...directional('port', '', 'port', 'a port', 'port'),
  ...directional('identity', '', 'identity', 'an identity: a number or a reserved name', 'identity', identity),
  ...directional('service', '', '[ns/]prefix', 'services', 'service'),
  ...directional('workload', '', '[Kind/]name', 'workloads', 'workload', workload),
  ...directional('fqdn', '', 'pattern', 'DNS names; "*" stands for any part', 'fqdn'),
  ...directional('cluster', '', 'name', 'a cluster', 'cluster_name'),
  { flags: '--verdict <verdict>', help: 'FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED', apply: both('verdict', enumValue('flow.Verdict', 'verdict')) },
  { flags: '--drop-reason-desc <reason>', help: 'why it was dropped: POLICY_DENIED, POLICY_DENY, ...', apply: both('drop_reason_desc', enumValue('flow.DropReason', 'drop reason')) },
  { flags: '--protocol <protocol>', help: 'icmp, icmpv4, icmpv6, tcp, udp, sctp, vrrp, igmp, dns, http or kafka', apply: both('protocol') },
  { flags: '--tcp-flags <flags>', help: 'all of these are set: syn,ack', apply: both('tcp_flags', tcpFlags) },
  { flags: '-t, --type <type[:sub-type]>', help: `${Object.keys(eventTypes).join(', ')}, or a number`, apply: both('event_type', eventTypeFilter) },
  { flags: '--traffic-direction <direction>', help: 'ingress or egress', apply: both('traffic_direction', enumValue('flow.TrafficDirection', 'traffic direction')) },
  { flags: '--uuid <uuid>', help: 'the flow with this id', apply: both('uuid') },
  { flags: '--node-name <[cluster/]node>', help: 'seen on these nodes; "*" stands for any part', apply: both('node_name') },
  { flags: '--node-label <selector>', help: 'seen on nodes with these labels', apply: both('node_labels') },
  { flags: '--snat-ip <address>', help: 'translated to this source address', apply: both('source_ip_xlated') },
  { flags: '-4, --ipv4', help: 'only IPv4', apply: (pair) => { pair.both('ip_version', ipVersions['v4']); } },
  { flags: '-6, --ipv6', help: 'only IPv6', apply: (pair) => { pair.both('ip_version', ipVersions['v6']); } },
  { flags: '--ip-version <version>', help: 'none, v4 or v6', apply: both('ip_version', ipVersion) },
  { flags: '--interface <name>', help: 'seen at this interface', apply: both('interface', (name) => ({ name })) },
  { flags: '--http-status <code>', help: '404, 40+ or 5+', apply: both('http_status_code') },
  { flags: '--http-method <method>', help: 'GET, POST, ...', apply: both('http_method') },
  { flags: '--http-path <regex>', help: 'the path matches', apply: both('http_path') },
  { flags: '--http-url <regex>', help: 'the URL matches', apply: both('http_url') },
  { flags: '--http-header <name:value>', help: 'has the header', apply: both('http_header', header) },
  { flags: '--trace-id <id>', help: 'trace context of the request', apply: both('trace_id') },
  { flags: '--ip-trace-id <number>', help: 'trace id in the IP options', apply: both('ip_trace_id', traceNumber) },
  { flags: '--encrypted', help: 'only encrypted', apply: (pair) => { pair.both('encrypted', true); } },
  { flags: '--unencrypted', help: 'only unencrypted', apply: (pair) => { pair.both('encrypted', false); } },
  { flags: '--cel-expression <expression>', help: 'servers that know CEL: true for the flow', apply: (pair, value) => { pair.experimental(value); } },
];

export interface FlowFilters { readonly whitelist: FlowFilter[]; readonly blacklist: FlowFilter[] }

/** Filters that stand elsewhere, for when the command line has none of that kind. */
export type Preset = (name: 'allowlist' | 'denylist') => readonly string[];

/** Adds the flags; the result gives the filters after parsing. */
export function addFilterFlags(command: Command): (preset?: Preset) => FlowFilters {
  const allow = new FilterPair();
  const deny = new FilterPair();
  let negated = false;
  command.option('--not', 'negates the next filter flag');
  command.on('option:not', () => { negated = true; });
  for (const { flags: text, help, apply } of flags) {
    command.option(text, help);
    const option = command.options.at(-1)!;
    command.on(`option:${option.name()}`, (value: string | null) => {
      const pair = negated ? deny : allow;
      negated = false;
      inFlag(text, value, () => {
        pair.use(option.name());
        apply(pair, value ?? '');
      });
    });
  }
  const given = new Set<string>();
  const lists = [['allowlist', allow], ['denylist', deny]] as const;
  for (const [name, pair] of lists) {
    command.option(`--${name} <filter>`, `a FlowFilter as JSON, added to the ${name}`);
    command.on(`option:${name}`, (value: string) => {
      given.add(name);
      append(name, pair, value);
    });
  }
  return (preset = () => []) => {
    for (const [name, pair] of lists) if (!given.has(name)) for (const filter of preset(name)) append(name, pair, filter);
    if (negated) throw new ConfigError('--not stands before a filter flag', 'for example --not --verdict DROPPED');
    return { whitelist: allow.filters(), blacklist: deny.filters() };
  };
}

function append(name: string, pair: FilterPair, filter: string): void {
  inFlag(`--${name}`, filter, () => { pair.append(fromJson<FlowFilter>(filterMessage, JSON.parse(filter))); });
}

/** In the words of other command lines: the value, the flag, the reason. */
function inFlag(flag: string, value: string | null, run: () => void): void {
  try {
    run();
  } catch (error) {
    throw new ConfigError(`invalid argument ${JSON.stringify(value ?? 'true')} for "${flag.replace(/ <.*/, '')}" flag: ${messageOf(error)}`, error instanceof ConfigError ? error.mend : undefined);
  }
}
