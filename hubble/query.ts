// What a GetFlowsRequest asks for, checked and compiled: where in the ring to begin, which entries pass, when to end.
import type { Entries } from './entries.ts';
import { RequestError } from './errors.ts';
import { compileFieldMask } from './field-mask.ts';
import { compileFilters, type Predicate } from './filters/compile.ts';
import { compareTimes } from './time.ts';
import type { Flow, GetFlowsRequest, Timestamp } from './types.ts';

export interface Query {
  readonly matches: Predicate;
  readonly follow: boolean;
  readonly first: boolean;
  /** Flows wanted; 0: no limit. */
  readonly number: number;
  readonly since: Timestamp | undefined;
  readonly until: Timestamp | undefined;
  /** Leaves of a flow only what the client asked for. */
  readonly mask: ((flow: Flow) => Flow) | undefined;
}

/** Throws RequestError. */
export function compileQuery(request: GetFlowsRequest): Query {
  const query = {
    matches: compileFilters(request.whitelist, request.blacklist),
    follow: request.follow === true,
    first: request.first === true,
    number: Number(request.number ?? 0),
    since: request.since ?? undefined,
    until: request.until ?? undefined,
    mask: compileFieldMask(request.field_mask?.paths ?? []),
  };
  if (query.first && query.follow) throw new RequestError('first and follow cannot be combined: the first flows are in the past');
  return query;
}

/** The number of the entry to begin with. A time outranks a number of flows. */
export function startOf(entries: Entries, query: Query, matches: (number: number) => boolean): number {
  const { ring } = entries;
  if (query.since === undefined) {
    if (query.first) return ring.oldest;
    if (query.number === 0) return query.follow ? ring.next : ring.oldest;
  }
  let matched = 0;
  for (let number = ring.next - 1; number >= ring.oldest; number -= 1) {
    if (query.since !== undefined) {
      const time = entries.time(number);
      if (time !== undefined && compareTimes(time, query.since) < 0) return number + 1;
    } else if (matches(number)) {
      matched += 1;
      if (matched === query.number) return number;
    }
  }
  return ring.oldest;
}

/** How many flows end the stream: a number is no limit when a time says where to begin, nor for those who follow. */
export const limitOf = (query: Query): number =>
  (query.number > 0 && !query.follow && (query.since === undefined || query.first) ? query.number : Infinity);

export const isPast = (query: Query, time: Timestamp | undefined): boolean =>
  query.until !== undefined && time !== undefined && compareTimes(time, query.until) > 0;
