// policy simulate: which recorded flows other policies would judge otherwise.
import { Option, type Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { worldOfFiles } from '../agent/policy/ask-files.ts';
import { readClusterFiles } from '../agent/policy/cluster-files.ts';
import { protocolName } from '../agent/policy/icmp.ts';
import { Simulator, maxTuples, type RecordedEnd, type RecordedFlow, type Simulated, type Simulation } from '../agent/policy/simulate.ts';
import { compileQuery } from '../hubble/query.ts';
import { flowType, verdict, type Endpoint, type Flow, type GetFlowsResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf, type Server } from './connection.ts';
import { keptFlows } from './kept-flows.ts';
import { readFlows } from './observe-input.ts';
import { parseTime } from './observe-times.ts';
import { printError, printObject, printable, tableText } from './print.ts';
import { nameOf } from './tally.ts';

interface Words { readonly file: readonly string[]; readonly flows?: string; readonly since?: string; readonly output: 'table' | 'json' }

const protocols: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132, ICMPv4: 1, ICMPv6: 58 };
/** Drops that a policy decided: POLICY_DENIED, POLICY_DENY. Others say nothing of policies. */
const byPolicy = new Set([133, 181]);
const traceReasonNew = 1;
/** Redirected: the connection may go to Envoy. */
const passing = new Set<number>([verdict.forwarded, verdict.redirected]);
const l7Request = 1;
/** TO_OVERLAY, TO_NETWORK. */
const leaving = new Set([4, 11]);

export function register(policy: Command): void {
  const command = connectionFlags(policy.command('simulate').description('which recorded flows other policies would judge otherwise'))
    .requiredOption('-f, --file <paths...>', 'all policies that would be in force: files or folders').option('--flows <file>', 'a recording of ./weir record, or JSON lines of observe; - is standard input')
    .option('--since <time>', 'instead of a file: the flows that the observer keeps since then: 1h, or a date')
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['table', 'json']).default('table'))
    .addHelpText('after', '\nExample:\n  sudo ./weir policy simulate -f new-policies/ --since 1h\n  sudo ./weir record -o flows.bin --for 10m\n  ./weir policy simulate -f new-policies/ --flows flows.bin\n\nExit codes: 0 nothing that was allowed would be denied, 1 something would, 2 the files are wrong.');
  command.action(async (words: Words) => {
    try {
      await simulate(words, () => connectionOf(command));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      printError(error);
      process.exitCode = 2;
    }
  });
}

async function simulate({ file, flows, since, output }: Words, serverOf: () => Server): Promise<void> {
  if ((flows === undefined) === (since === undefined)) throw new ConfigError('flows come from a file or from the observer: --flows FILE or --since TIME', 'give one of the two');
  const files = readClusterFiles(file);
  worldOfFiles(files); // refuses what has errors
  const simulator = new Simulator();
  let [broken, lost] = [0, 0];
  const warn = (text: string): void => { broken += 1; process.stderr.write(printable(text)); };
  const receive = ({ flow, lost_events: loss }: GetFlowsResponse): void => {
    lost += Number(loss?.num_events_lost ?? 0);
    const recorded = flow == null ? undefined : recordedOf(flow);
    if (recorded !== undefined && !simulator.add(recorded)) throw new ConfigError(`more than ${maxTuples} different flows`, 'take fewer: a shorter time, or record with filters');
  };
  if (flows !== undefined) await readFlows(flows, compileQuery({}), receive, warn);
  else await keptFlows(serverOf(), parseTime('--since', since!, Date.now()), receive, (text) => { process.stderr.write(text); });
  if (lost > 0) process.stderr.write(`${lost} events were lost and are not judged\n`);
  print(simulator.judge(files.cluster), output, broken);
}

/** Undefined: it says nothing of policies. */
export function recordedOf(flow: Flow): RecordedFlow | undefined {
  if (flow.Type === flowType.l7) return undefined; // policies are tried by address and port
  const dropped = flow.verdict === verdict.dropped;
  if (flow.l7 != null && (flow.l7.type !== l7Request || flow.l7.http == null)) return undefined;
  if (flow.l7 != null) return requestOf(flow, dropped);
  if (dropped ? !byPolicy.has(flow.drop_reason_desc ?? 0) : !passing.has(flow.verdict ?? 0) || (flow.trace_reason ?? 0) > traceReasonNew) return undefined;
  if (!dropped && flow.is_reply?.value === true) return undefined;
  return connectionIn(flow, !dropped);
}

/** A request that Envoy let pass or answered with 403. */
function requestOf(flow: Flow, dropped: boolean): RecordedFlow | undefined {
  const { method = '', url = '', headers = [] } = flow.l7!.http!;
  const [, host = '', path = ''] = /^(?:[a-z]+:\/\/)?([^/]*)(.*)$/i.exec(url) ?? [];
  const recorded = connectionIn(flow, !dropped);
  return recorded && { ...recorded, request: { http: { method, host, path, headers: headers.map(({ key = '', value = '' }): [string, string] => [key.toLowerCase(), value]) } } };
}

function connectionIn(flow: Flow, allowed: boolean): RecordedFlow | undefined {
  const [name, l4] = Object.entries(flow.l4 ?? {}).find(([key, value]) => value != null && key in protocols) ?? [];
  if (name === undefined) return undefined;
  const reply = flow.is_reply?.value === true;
  const { type, source_port: source = 0, destination_port: destination = 0 } = l4 as { type?: number; source_port?: number; destination_port?: number };
  const ends = [endOf(flow.source, flow.IP?.source), endOf(flow.destination, flow.IP?.destination)] as const;
  const [from, to] = reply ? [ends[1], ends[0]] : ends;
  return {
    from, to, protocol: protocols[name]!, port: name.startsWith('ICMP') ? type ?? 0 : reply ? source : destination, allowed,
    egressOnly: allowed && leaving.has(flow.trace_observation_point ?? 0),
  };
}

function endOf(end: Endpoint = {}, ip = ''): RecordedEnd {
  const isWorkload = Boolean(end.pod_name);
  return { name: nameOf({ end, ip, service: undefined }), identity: end.identity ?? 0, labels: (end.labels ?? []).map((label) => (label.includes('=') ? label : `${label}=`)), namespace: end.namespace ?? '', ip, isWorkload };
}

const refText = (ref: Simulated['by'][number]): string => {
  const { namespace, name } = 'policy' in ref ? ref.policy : ref;
  return namespace === '' ? name : `${namespace}/${name}`;
};

function print({ changes, flows, tuples }: Simulation, output: Words['output'], broken: number): void {
  const groups = new Map<string, { change: string; from: string; to: string; port: string; flows: number; by: string }>();
  for (const { flow: { from, to, protocol, port }, change, count, by } of changes) {
    const row = { change, from: from.name, to: to.name, port: `${port}/${protocolName(protocol)}`, flows: 0, by: [...new Set(by.map(refText))].join(', ') };
    const key = JSON.stringify(row);
    const known = groups.get(key) ?? row;
    known.flows += count;
    groups.set(key, known);
  }
  const rows = [...groups.values()].sort((a, b) => (a.change < b.change ? -1 : a.change > b.change ? 1 : b.flows - a.flows));
  const closed = rows.filter(({ change }) => change === 'closed').length;
  if (output === 'json') printObject({ flows, tuples, broken, closed, opened: rows.length - closed, changes: rows }, 'json');
  else {
    if (rows.length > 0) process.stdout.write(`${tableText(rows, ['change', 'from', 'to', 'port', 'flows', 'by'])}\n`);
    process.stdout.write(`${flows} connections judged, ${changes.reduce((sum, { count }) => sum + count, 0)} would change\n`);
  }
  if (closed > 0) process.exitCode = 1;
}
