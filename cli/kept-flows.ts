// The flows that an observer keeps since some time, and how far back it really reaches: its ring is bounded.
import { formatTimestamp } from '../hubble/json.ts';
import { compareTimes, timestampOfMs } from '../hubble/time.ts';
import type { GetFlowsRequest, GetFlowsResponse, Timestamp } from '../hubble/types.ts';
import type { Server } from './connection.ts';
import { withClient, type HubbleClient } from './hubble-client.ts';

/** `tell` hears how far back it goes, always. */
export async function keptFlows(server: Server, since: Timestamp, receive: (response: GetFlowsResponse) => void, tell: (text: string) => void): Promise<void> {
  await withClient(server, async (client) => {
    // Asked before the flows: what is pushed out while they come was still given.
    tell(`${await reachOf(client, since)}\n`);
    const request: GetFlowsRequest = { since };
    await client.getFlows(request, receive);
  });
}

async function reachOf(client: HubbleClient, since: Timestamp): Promise<string> {
  const { num_flows: kept, seen_flows: seen, uptime_ns: uptime } = await client.serverStatus();
  let oldest: Timestamp | undefined;
  await client.getFlows({ number: 1, first: true }, ({ flow, time }) => { if (flow != null) oldest ??= flow.time ?? time; });
  const gone = Number(seen ?? 0) - Number(kept ?? 0);
  const started = timestampOfMs(Date.now() - Number(uptime ?? 0) / 1e6);
  if (gone > 0 && oldest !== undefined && compareTimes(oldest, since) > 0) return `the observer reaches back to ${formatTimestamp(oldest)} only: ${gone} older flows are gone`;
  if (compareTimes(started, since) > 0) return `the observer reaches back to its start at ${formatTimestamp({ ...started, nanos: 0 })} only`;
  return `all flows since ${formatTimestamp(since)} are there`;
}
