// The conntrack table as the kernel has it: how full it is, and whose connections fill it; and whose use Envoy.
import type { Agent } from '../agent.ts';
import { defaultShare, proxyUsed } from '../datapath/proxy-share.ts';
import { heldOf, usageOf } from '../datapath/usage.ts';
import { workerOf } from '../envoy/workers.ts';
import { counter } from '../../bpf/types.gen.ts';

export interface Connections {
  readonly held: number;
  readonly most: number;
  readonly refused: number;
  /** Milliseconds that the agent was busy with one batch of the last sweep. */
  readonly sweepMs: number;
  readonly endpoints: readonly { readonly endpoint: string; readonly held: number; readonly quota: number; readonly refused: number }[];
}

/** What each endpoint has had of Envoy, the most first. */
export const proxyShares = ({ datapath, tables, options }: Agent) => tables.endpoints.rows().map(({ id, key }) => ({ endpoint: key, worker: workerOf(id, datapath.proxyMoves.get(id) ?? 0), ...proxyUsed(datapath.proxyUses, id), most: (options.l7Share ?? defaultShare).connections }))
  .filter(({ spentMs, refused, connections }) => spentMs + refused + connections > 0).sort((a, b) => b.spentMs - a.spentMs);

export function connectionsOf({ datapath, tables, sweeper }: Agent): Connections {
  const endpoints = tables.endpoints.rows().map(({ id, key }) => {
    const { connections, quota, refused } = usageOf(datapath.usage, id);
    return { endpoint: key, held: connections, quota, refused };
  });
  return {
    held: heldOf(datapath.usage), most: datapath.connections, refused: Number(datapath.counter(counter.COUNTER_CT_REFUSED)), sweepMs: sweeper.last().longestMs, endpoints,
  };
}
