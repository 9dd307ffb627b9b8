// `weir stat`: the HTTP requests that the observer counted.
import { requestGroupings, type RequestGrouping, type RequestReport } from '../../hubble/requests/table.ts';
import { reachMs } from '../../hubble/requests/ring.ts';
import type { Agent } from '../agent.ts';
import { ConfigError } from '../errors.ts';

export function requestsOf({ observer }: Pick<Agent, 'observer'>, { by, sinceMs }: Readonly<Record<string, unknown>>): RequestReport {
  if (typeof by !== 'string' || !(requestGroupings as readonly string[]).includes(by)) throw new ConfigError(`requests by ${String(by)}: known are ${requestGroupings.join(', ')}`);
  const since = Number(sinceMs);
  if (!(since > 0)) throw new ConfigError(`requests since ${String(sinceMs)} ms: expected a time above 0`);
  if (since > reachMs) throw new ConfigError('the agent counts the requests of the last ten minutes', 'use --since 10m, or a recording: ./weir stat --input-file FILE');
  return observer.requests.report(by as RequestGrouping, since);
}
