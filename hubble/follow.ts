// Flows for readers inside the process: what a gRPC client of this observer would get, as messages and without a connection.
// A reader that falls behind is told of its loss like any other.
import { compileEntryFilters } from './filters/raw.ts';
import type { Observer } from './observer.ts';
import { compileQuery } from './query.ts';
import { FlowStream } from './stream.ts';
import type { FlowFilter, GetFlowsResponse } from './types.ts';

export interface Followed {
  readonly whitelist?: FlowFilter[];
  readonly blacklist?: FlowFilter[];
  /** Paths of a field mask. */
  readonly fields?: readonly string[];
}

/** From now on. Throws RequestError; the result ends it. */
export function follow(observer: Observer, { whitelist = [], blacklist = [], fields = [] }: Followed, tell: (response: GetFlowsResponse) => void): () => void {
  const query = compileQuery({ follow: true, whitelist, blacklist, field_mask: { paths: [...fields] } });
  const { entries } = observer;
  const say = (response: GetFlowsResponse): boolean => { tell(response); return true; };
  const stream = new FlowStream(entries, query, compileEntryFilters(entries, whitelist, blacklist), {
    entry: (number) => {
      const response = entries.response(number);
      return say(query.mask !== undefined && response.flow !== undefined ? { ...response, flow: query.mask(response.flow) } : response);
    },
    tell: say,
    flush: () => true,
    whenDrained: (go) => { go(); },
    end: () => undefined,
  }, observer.nodeName, observer.now);
  stream.run();
  return () => { stream.stop(); };
}
