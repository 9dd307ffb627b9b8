// Filters -> one predicate over entries of the ring. Records are compared as bytes; names of an end are asked once per end and
// remembered; nothing is decoded. What says the same of every record is answered when the filter is compiled.
import type { Entries } from '../entries.ts';
import { serviceOf, type Side } from '../services.ts';
import type { FlowFilter } from '../types.ts';
import { compileField, compileFilters, fieldsOf, type Field } from './compile.ts';
import { EndAnswers } from './end-answers.ts';
import { addressRaw } from './raw-address.ts';
import { packetRaw } from './raw-packet.ts';

/** `at`: where the record begins in the ring's bytes. */
export type RawPredicate = (at: number, number: number) => boolean;

/** One entry per field that is compared on bytes; its values have been checked by the field's own compiler. */
export type RawCompilers = { readonly [Name in Field]?: (values: NonNullable<FlowFilter[Name]>, entries: Entries) => RawPredicate };

const compilers: RawCompilers = { ...addressRaw, ...packetRaw };

/** These look at one end only, and there at nothing but what its address and identity say. */
const ends: { readonly [Name in Field]?: 'source' | 'destination' } = {
  source_pod: 'source', source_label: 'source', source_workload: 'source', source_cluster_name: 'source',
  destination_pod: 'destination', destination_label: 'destination', destination_workload: 'destination', destination_cluster_name: 'destination',
};

const serviceSides: { readonly [Name in Field]?: Side } = { source_service: 'source', destination_service: 'destination' };

const always = (): boolean => true;
const never = (): boolean => false;

/** By the number of a kept entry. */
export function compileEntryFilters(entries: Entries, whitelist: readonly FlowFilter[] = [], blacklist: readonly FlowFilter[] = []): (number: number) => boolean {
  const matches = compileFilters(whitelist, blacklist);
  const allow = whitelist.map((filter) => compileRaw(filter, entries));
  const deny = blacklist.map((filter) => compileRaw(filter, entries));
  const raw = and([...(allow.length === 0 ? [] : [or(allow)]), ...(deny.length === 0 ? [] : [not(or(deny))])]);
  const { ring } = entries;
  return (number) => {
    const at = ring.recordAt(number);
    if (at >= 0) return raw(at, number);
    const flow = ring.messageAt(number)!.flow;
    return flow !== undefined && matches(flow);
  };
}

const compileRaw = (filter: FlowFilter, entries: Entries): RawPredicate => and(fieldsOf(filter).map((field) => compileOne(field, filter, entries)));

function compileOne(field: Field, filter: FlowFilter, entries: Entries): RawPredicate {
  const compile = compilers[field] as ((values: unknown, entries: Entries) => RawPredicate) | undefined;
  if (compile !== undefined) return compile(filter[field], entries);
  const matches = compileField(field, filter);
  const side = serviceSides[field];
  if (side !== undefined) {
    const { ring: { bytes }, lookups } = entries;
    return (at) => matches({ [`${side}_service`]: serviceOf(bytes, at, side, lookups) });
  }
  const end = ends[field];
  if (end !== undefined) return new EndAnswers(entries, end, (answered) => matches({ [end]: answered })).predicate;
  return matches({ node_name: entries.lookups.nodeName, IP: {} }) ? always : never;
}

function and(all: readonly RawPredicate[]): RawPredicate {
  const [first, second] = all;
  if (first === undefined) return always;
  if (second === undefined) return first;
  if (all.length === 2) return (at, number) => first(at, number) && second(at, number);
  return (at, number) => all.every((holds) => holds(at, number));
}

function or(some: readonly RawPredicate[]): RawPredicate {
  const [first, second] = some;
  if (first !== undefined && second === undefined) return first;
  return (at, number) => some.some((holds) => holds(at, number));
}

const not = (predicate: RawPredicate): RawPredicate => (at, number) => !predicate(at, number);
