// Hubble's metrics of flows, with its names and labels: which of them, and with which context, is asked for by name.
import { RequestError } from '../errors.ts';
import { follow } from '../follow.ts';
import type { Observer } from '../observer.ts';
import { tracePoints } from '../print/words.ts';
import { enumNames } from '../proto.ts';
import { icmp4Text, icmp6Text } from '../summary.ts';
import { eventType, verdict, type Flow } from '../types.ts';
import { parseMetric, type Context } from './context.ts';
import { l7Metrics, type Count } from './l7.ts';
import type { Registry } from './registry.ts';

interface Metric { readonly name: string; readonly help: string; readonly labels: readonly string[]; readonly of: (flow: Flow) => readonly (readonly string[])[] }

const verdicts = enumNames('flow.Verdict');
const reasons = enumNames('flow.DropReason');
const lostSources = enumNames('flow.LostEventSource');

export const protocolOf = (flow: Flow): string => Object.entries(flow.l4 ?? {}).find(([, value]) => value != null)?.[0] ?? 'Unknown flow';
const familyOf = (flow: Flow): string => (flow.IP?.ipVersion === 2 ? 'IPv6' : 'IPv4');
const passed = (flow: Flow): boolean => flow.verdict === verdict.forwarded || flow.verdict === verdict.redirected;
const portOf = ({ l4 }: Flow): number | undefined => (l4?.TCP ?? l4?.UDP ?? l4?.SCTP)?.destination_port;

function typeOf(flow: Flow): readonly [string, string] {
  const { type, sub_type: subType = 0 } = flow.event_type ?? {};
  switch (type) {
    case eventType.drop: return ['Drop', ''];
    case eventType.capture: return ['Capture', ''];
    case eventType.trace: return ['Trace', tracePoints[subType] ?? String(subType)];
    case eventType.policyVerdict: return ['PolicyVerdict', ''];
    case eventType.l7: return ['L7', flow.l7?.http != null ? 'HTTP' : flow.l7?.dns != null ? 'DNS' : ''];
    default: return ['Unknown', String(type ?? 0)];
  }
}

function tcpFlags({ l4 }: Flow): string[] {
  const { SYN: syn, ACK: ack, FIN: fin, RST: rst } = l4?.TCP?.flags ?? {};
  return [...(fin ? ['FIN'] : []), ...(syn ? [ack ? 'SYN-ACK' : 'SYN'] : []), ...(rst ? ['RST'] : [])];
}

/** By the names that Hubble's `--metrics` has for them. `of`: the labels of each increment. */
const metrics: Readonly<Record<string, Metric>> = {
  flow: {
    name: 'hubble_flows_processed_total', help: 'Total number of flows processed', labels: ['protocol', 'subtype', 'type', 'verdict'],
    of: (flow) => { const [type, subType] = typeOf(flow); return [[protocolOf(flow), subType, type, verdicts.get(flow.verdict ?? 0) ?? '']]; },
  },
  drop: {
    name: 'hubble_drop_total', help: 'Number of drops', labels: ['protocol', 'reason'],
    of: (flow) => (flow.verdict === verdict.dropped ? [[protocolOf(flow), reasons.get(flow.drop_reason_desc ?? 0) ?? '']] : []),
  },
  'port-distribution': {
    name: 'hubble_port_distribution_total', help: 'Numbers of packets distributed by destination port', labels: ['port', 'protocol'],
    of: (flow) => (passed(flow) && flow.is_reply?.value === false ? [[String(portOf(flow) ?? 0), protocolOf(flow)]] : []),
  },
  tcp: {
    name: 'hubble_tcp_flags_total', help: 'TCP flag occurrences', labels: ['family', 'flag'],
    of: (flow) => (passed(flow) ? tcpFlags(flow).map((flag) => [familyOf(flow), flag]) : []),
  },
  icmp: {
    name: 'hubble_icmp_total', help: 'Number of ICMP messages', labels: ['family', 'type'],
    of: ({ l4 }) => (l4?.ICMPv4 != null ? [['IPv4', icmp4Text(l4.ICMPv4)]] : l4?.ICMPv6 != null ? [['IPv6', icmp6Text(l4.ICMPv6)]] : []),
  },
  'flows-to-world': {
    name: 'hubble_flows_to_world_total', help: 'Total number of flows to reserved:world', labels: ['protocol', 'verdict'],
    of: (flow) => (flow.is_reply?.value === false && (flow.destination?.labels ?? []).some((label) => /^reserved:world(-ipv[46])?$/.test(label))
      ? [[protocolOf(flow), verdicts.get(flow.verdict ?? 0) ?? '']] : []),
  },
};

export const defaultMetrics: readonly string[] = ['flow', 'drop', 'port-distribution', 'tcp', 'icmp', 'flows-to-world', 'dns', 'http'];

function countOf({ name, help, labels, of }: Metric, { names, values }: Context, registry: Registry): Count {
  const family = registry.counter(name, help, [...labels, ...names]);
  return (flow) => {
    const found = of(flow);
    if (found.length === 0) return;
    const context = values(flow);
    for (const one of found) family.add([...one, ...context]);
  };
}

/** Counts from now on. Throws RequestError; the result ends it. */
export function countFlows(observer: Observer, wanted: readonly string[], registry: Registry): () => void {
  const names = wanted.map((text) => text.split(':')[0]);
  if (names.includes('http') && names.includes('httpV2')) throw new RequestError('metrics http and httpV2 cannot be combined: they count under the same names');
  const counts = wanted.map((text) => {
    const parsed = parseMetric(text, (metric) => (Object.hasOwn(l7Metrics, metric) ? l7Metrics[metric]!.options : []));
    const { metric, context } = parsed;
    if (Object.hasOwn(l7Metrics, metric)) return l7Metrics[metric]!.count(parsed, registry);
    if (!Object.hasOwn(metrics, metric)) throw new RequestError(`metric ${text}: known are ${[...Object.keys(metrics), ...Object.keys(l7Metrics)].join(', ')}`);
    return countOf(metrics[metric]!, context, registry);
  });
  const lost = registry.counter('hubble_lost_events_total', 'Number of lost events', ['source']);
  return follow(observer, {}, ({ flow, lost_events: loss }) => {
    if (flow != null) for (const count of counts) count(flow);
    if (loss != null) lost.add([(lostSources.get(loss.source ?? 0) ?? '').toLowerCase()], Number(loss.num_events_lost ?? 0));
  });
}
