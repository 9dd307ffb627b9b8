// Flows for readers inside the process: what a gRPC client of this observer would get, as messages and without a connection.
// A reader that falls behind is told of its loss like any other.
import { compileEntryFilters } from './filters/raw.ts';
import type { Observer } from './observer.ts';
import { getFlowsResponseMessage } from './proto.ts';
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
  // Messages that nobody masks would come encoded.
  const unmasked = { ...query, mask: query.mask ?? ((flow: NonNullable<GetFlowsResponse['flow']>) => flow) };
  const stream = new FlowStream(observer.entries, unmasked, compileEntryFilters(observer.entries, whitelist, blacklist), {
    write: (response) => {
      tell(Buffer.isBuffer(response) ? getFlowsResponseMessage.decode(response) as unknown as GetFlowsResponse : response);
      return true;
    },
    whenDrained: (go) => { go(); },
    end: () => undefined,
  }, observer.nodeName, observer.now);
  stream.run();
  return () => { stream.stop(); };
}
