// weir_*: each counter of the kernel and each count of the agent stands under its name.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AgentEvents } from '../../hubble/agent-events.ts';
import type { Collected } from '../../hubble/metrics/registry.ts';
import { Observer } from '../../hubble/observer.ts';
import { Bench } from '../../bpf/testing/bench.ts';
import { counter } from '../../bpf/types.gen.ts';
import { makeTables } from '../agent.ts';
import { Progress } from '../progress.ts';
import { agentMetrics } from './metrics.ts';

/** Of the kernel's counters, so that each is told apart. */
const counted = (which: number): number => 1_000 + which;

let bench: Bench;
let collected: Collected[];
beforeAll(async () => {
  bench = new Bench();
  const observer = new Observer({ capacity: 15, nodeName: 'node1', version: '0' });
  const { collect, stop } = agentMetrics({
    observer, events: new AgentEvents(observer.nodeName), exporter: undefined, audits: { uncounted: 7 }, datapath: { ...bench.datapath, counter: (which) => BigInt(counted(which)) }, tables: makeTables(),
    progress: new Progress(() => undefined), resets: { counts: { TCP: 3, UDP: 2 } },
  });
  collected = collect();
  await stop();
});
afterAll(() => { bench.datapath.object.close(); });

const table: readonly { readonly name: string; readonly samples: Collected['samples'] }[] = [
  { name: 'weir_packets_forwarded_total', samples: [{ value: counted(counter.COUNTER_FORWARDED) }] },
  { name: 'weir_connections_refused_total', samples: [{ value: counted(counter.COUNTER_CT_REFUSED) }] },
  { name: 'weir_flow_records_lost_total', samples: [{ value: counted(counter.COUNTER_RECORDS_LOST) }] },
  {
    name: 'weir_service_connections_reset_total',
    samples: [{ labels: { protocol: 'TCP', by: 'socket' }, value: 3 }, { labels: { protocol: 'UDP', by: 'socket' }, value: 2 }, { labels: { protocol: 'TCP', by: 'packet' }, value: counted(counter.COUNTER_SERVICE_RESETS) }],
  },
  { name: 'weir_service_sockets_unkept_total', samples: [{ value: counted(counter.COUNTER_SOCK_PEERS_FULL) }] },
  { name: 'weir_proxy_connections_total', samples: [{ value: counted(counter.COUNTER_PROXY_CONNECTIONS) }] },
  { name: 'weir_proxy_connections_reset_total', samples: [{ value: counted(counter.COUNTER_PROXY_RESETS) }] },
  { name: 'weir_rules_uncounted_total', samples: [{ value: counted(counter.COUNTER_RULES_UNCOUNTED) }] },
  { name: 'weir_audits_uncounted_total', samples: [{ value: 7 }] },
];

describe('what is counted is told', () => {
  test.each(table)('$name', ({ name, samples }) => {
    expect(collected.find((family) => family.name === name)).toMatchObject({ type: 'counter', samples });
  });

  test('every counter of the kernel', () => {
    const values = new Set(collected.flatMap(({ samples }) => samples.map(({ value }) => value)));
    expect(Object.entries(counter).filter(([, which]) => which < counter.COUNTERS && !values.has(counted(which))).map(([name]) => name)).toEqual([]);
  });

  test('each name once', () => {
    const names = collected.map(({ name }) => name);
    expect(names).toEqual([...new Set(names)]);
  });
});
