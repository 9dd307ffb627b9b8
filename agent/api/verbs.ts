// Everything that the command line may ask an agent.
import type { Agent } from '../agent.ts';
import { dropText } from '../../hubble/print/words.ts';
import { cacheRows, dnsStatus, explainName } from '../dns/listing.ts';
import { sockmapCounts } from '../datapath/sockmap.ts';
import { ConfigError } from '../errors.ts';
import { prefixOfKey, textOf } from '../ipcache/address.ts';
import { counter, ct_state, direction as directions, ipcache_flag } from '../../bpf/types.gen.ts';
import { protocolName } from '../policy/icmp.ts';
import { podOf } from '../workload/by-hand.ts';
import { bpfPolicy } from './bpf-policy.ts';
import { connectionsOf, proxyShares } from './bpf-ct.ts';
import { listNat } from './bpf-nat.ts';
import { explainFlow } from './explain.ts';
import { auditReport } from './policy-audit.ts';
import { listPolicies, policyDetails } from './policy-rules.ts';
import { requestsOf } from './requests.ts';
import type { Verb } from './server.ts';
import { explainAddress, listFrontends, listServices, serviceDetails, serviceStatus } from './services.ts';

/** Rows that one answer may have. */
const maxRows = 10_000;

const nameOf = (numbers: Readonly<Record<string, number>>, value: number): string =>
  Object.keys(numbers).find((key) => numbers[key] === value) ?? String(value);

export function verbsOf(agent: Agent): Readonly<Record<string, Verb>> {
  const { tables, datapath } = agent;
  return {
    'status': () => statusOf(agent),
    'db show': ({ table }) => tableOf(agent, table).show(),
    'db list': () => Object.values(tables).map((table) => ({ table: table.name, rows: table.size, revision: table.revision, synced: table.synced })),
    'explain': (parameters) => explainFlow(agent, parameters),
    'policy list': () => listPolicies(agent),
    'policy get': ({ name }) => policyDetails(agent, name),
    'policy audit': ({ name }) => auditReport(agent, name),
    'dns cache': () => cacheRows(agent),
    'dns status': () => dnsStatus(agent),
    'dns explain': (parameters) => explainName(agent, parameters),
    'requests': (parameters) => requestsOf(agent, parameters),
    'service list': () => listServices(agent),
    'service get': ({ name }) => serviceDetails(agent, name),
    'service explain': ({ address }) => explainAddress(agent, address),
    'bpf nat': () => listNat(agent, maxRows),
    'bpf lb': () => listFrontends(agent).slice(0, maxRows),
    'bpf policy': () => bpfPolicy(agent),
    'bpf ct': () => datapath.conntrack.entries(maxRows).map(([key, entry]) => {
      const from = entry.origin & 1;
      return {
        protocol: protocolName(key.protocol), source: `${textOf(key.addr[from]!.word)}`, sourcePort: swap(key.port, from),
        destination: textOf(key.addr[1 - from]!.word), destinationPort: swap(key.port, 1 - from), state: nameOf(ct_state, entry.state).replace('CT_', ''),
        packets: entry.packets, bytes: entry.bytes, generation: entry.generation, revoked: entry.reason !== 0,
      };
    }),
    'bpf drops': () => dropRows(agent),
    'bpf quota': () => connectionsOf(agent).endpoints,
    'bpf l7': () => proxyShares(agent).map(({ spentMs, ...row }) => ({ ...row, spent: `${Math.round(spentMs)} ms` })),
    'bpf ipcache': () => datapath.ipcache.entries(maxRows).map(([key, value]) => ({
      prefix: prefixOfKey(key), identity: value.peer[1]!.identity, class: value.peer[1]!.class_id, ifindex: value.ifindex, host: (value.flags & ipcache_flag.IPCACHE_HOST) !== 0,
      ...(value.flags & ipcache_flag.IPCACHE_REMOTE ? { node: textOf(value.node.word) } : {}),
    })),
    'workload run': (parameters) => {
      const pod = podOf(parameters, agent.options.allowRoot);
      if (tables.pods.get(pod.key) !== undefined) throw new ConfigError(`there is a workload ${pod.key} already`, 'choose another --name, or delete it first');
      tables.pods.write([pod]);
      return { key: pod.key };
    },
    'workload delete': ({ key }) => {
      const pod = tables.pods.get(String(key));
      if (pod === undefined) throw new ConfigError(`no workload ${String(key)}`, 'see ./weir workload list');
      if (pod.source !== undefined) throw new ConfigError(`${pod.key} stands in ${pod.source.file}:${pod.source.line}`, 'remove it there');
      if (pod.binds !== undefined) throw new ConfigError(`${pod.key} is weir's own`, 'start without it: ./weir up DIR --no-names');
      tables.pods.write([], [pod.key]);
      return { key: pod.key };
    },
    'stop': () => {
      setTimeout(() => { process.kill(process.pid, 'SIGTERM'); }, 0);
      return { pid: process.pid };
    },
  };
}

const swap = (ports: readonly number[] | Uint8Array, index: number): number => {
  // __be16[2] comes as bytes in network order.
  const bytes = ports as Uint8Array;
  return (bytes[index * 2]! << 8) | bytes[index * 2 + 1]!;
};

const dropRows = ({ datapath }: Agent) => datapath.drops().map(({ reason, direction, packets, bytes }) =>
  ({ reason: dropText(reason), direction: nameOf(directions, direction).replace('DIRECTION_', '').toLowerCase(), packets, bytes }));

function tableOf(agent: Agent, name: unknown) {
  const found = Object.values(agent.tables).find((table) => table.name === name);
  if (found === undefined) throw new ConfigError(`no table ${String(name)}`, `one of: ${Object.values(agent.tables).map((table) => table.name).join(', ')}`);
  return found;
}

function countBy<Row>(rows: readonly Row[], word: (row: Row) => string, from: Readonly<Record<string, number>>): Record<string, number> {
  const counts: Record<string, number> = { ...from };
  for (const row of rows) counts[word(row)] = (counts[word(row)] ?? 0) + 1;
  return counts;
}

function envoyStatus(agent: Agent): Record<string, unknown> | null {
  const status = agent.l7.status();
  const limited = proxyShares(agent).filter(({ dropped, refused }) => dropped + refused > 0).sort((a, b) => b.dropped + b.refused - a.dropped - a.refused).map(({ endpoint, dropped, refused }) => ({ endpoint, dropped, refused }));
  return status === undefined ? null : { ...status, refused: Object.fromEntries(status.refused), limited };
}

function statusOf(agent: Agent): Record<string, unknown> {
  const { tables, datapath, options, policy, observer } = agent;
  const drops = dropRows(agent);
  return {
    instance: options.instance.name, pid: process.pid, startedAt: agent.startedAt.toISOString(), directory: options.dir ?? null,
    attach: agent.attachMode, xdp: Object.fromEntries(agent.xdpDevices), sockmap: { mode: options.sockmap ?? 'off', ...sockmapCounts(datapath) }, generation: policy.generation, ranges: options.ranges,
    workloads: countBy(tables.workloads.rows(), ({ phase }) => phase, {}), ready: tables.workloads.rows().filter((row) => row.ready).length, endpoints: { ready: tables.endpoints.rows().filter((row) => row.state === 'ready').length, all: tables.endpoints.size },
    policies: countBy(tables.policies.rows(), ({ state }) => state, { enforced: 0, audited: 0, off: 0, refused: 0 }),
    identities: tables.identities.size,
    services: serviceStatus(agent),
    envoy: envoyStatus(agent),
    nodes: tables.nodes.rows().map(({ name, health, local, tunnel }) => ({ name, health, local, tunnel })),
    problems: tables.problems.rows().map(({ source, field, message, mend, severity }) => ({ severity, at: `${source.file}:${source.line}:${source.column}`, field, message, mend })),
    packets: { forwarded: datapath.counter(counter.COUNTER_FORWARDED), dropped: drops.reduce((sum, { packets }) => sum + packets, 0) },
    drops,
    connections: connectionsOf(agent),
    flows: { lostInKernel: datapath.counter(counter.COUNTER_RECORDS_LOST), ...observer.stats },
    memoryBytes: process.memoryUsage().rss,
  };
}
