// A following observe that outlives its server: asks again when it is back, from the last moment it saw, and says what it may have missed.
import { setTimeout as sleep } from 'node:timers/promises';
import { compareTimes, timestampOfMs } from '../hubble/time.ts';
import { formatTimestamp } from '../hubble/json.ts';
import type { GetFlowsRequest, GetFlowsResponse, Timestamp } from '../hubble/types.ts';
import type { Server } from './connection.ts';
import { ServerGone, withClient, type HubbleClient } from './hubble-client.ts';

const firstPauseMs = 200;
const lastPauseMs = 5_000;

export interface FollowOptions {
  /** A server that is away for longer is gone. 0: at once. */
  readonly reconnectMs: number;
  readonly tell: (text: string) => void;
}

export async function followFlows(server: Server, request: GetFlowsRequest, receive: (response: GetFlowsResponse) => void | Promise<void>, { reconnectMs, tell }: FollowOptions): Promise<void> {
  let last: Timestamp | undefined;
  const note = (response: GetFlowsResponse): void | Promise<void> => {
    if (response.flow != null && response.time != null && (last === undefined || compareTimes(last, response.time) < 0)) last = response.time;
    return receive(response);
  };
  let goneMs: number | undefined;
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      await withClient(server, async (client) => {
        if (goneMs === undefined) { await client.getFlows(request, note); return; }
        const lastMs = goneMs;
        tell(await missed(client, last ?? timestampOfMs(lastMs)));
        goneMs = undefined;
        pauseMs = firstPauseMs;
        await client.getFlows({ ...request, number: 0, since: after(last ?? timestampOfMs(lastMs)) }, note);
      }, tell);
      return;
    } catch (error) {
      const atMs = Date.now();
      if (!(error instanceof ServerGone) || reconnectMs === 0 || (goneMs !== undefined && atMs - goneMs > reconnectMs)) throw error;
      // Who was never there is not waited for.
      if (goneMs === undefined && !error.message.includes('went away')) throw error;
      if (goneMs === undefined) tell(`${error.message}; waiting for it\n`);
      goneMs ??= atMs;
      await sleep(pauseMs);
      pauseMs = Math.min(pauseMs * 2, lastPauseMs);
    }
  }
}

/** A server that started after the last flow that was seen cannot know what it judged before. */
async function missed(client: HubbleClient, last: Timestamp): Promise<string> {
  const { uptime_ns: uptime } = await client.serverStatus();
  const startedMs = Date.now() - Number(uptime) / 1e6;
  const started = timestampOfMs(startedMs);
  if (compareTimes(started, last) <= 0) return `connected again; what came since ${formatTimestamp(last)} follows\n`;
  return `connected again; the server has started anew, and flows from ${formatTimestamp(last)} to ${formatTimestamp(timestampOfMs(Math.round(startedMs)))} may be missing\n`;
}

const after = ({ seconds, nanos = 0 }: Timestamp): Timestamp => (nanos === 999_999_999 ? { seconds: Number(seconds) + 1, nanos: 0 } : { seconds, nanos: nanos + 1 });
