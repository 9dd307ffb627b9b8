// Filters -> one predicate over entries of the ring. Records, and what proxies did, are compared as bytes; names of an end are asked once per end and
// remembered; nothing is decoded. What says the same of every record is answered when the filter is compiled.
import { ipText } from '../address.ts';
import type { Entries } from '../entries.ts';
import { namesFields } from '../flow.ts';
import { field as fieldAt, timeAt } from '../record.ts';
import { serviceOf, type Side } from '../services.ts';
import type { Flow, FlowFilter } from '../types.ts';
import { compileField, compileFilters, fieldsOf, type Field } from './compile.ts';
import { EndAnswers } from './end-answers.ts';
import { addressRaw } from './raw-address.ts';
import { compileAccessField, isTextField } from './raw-access.ts';
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
  const raw = compileAll(whitelist, blacklist, (field, filter) => compileOne(field, filter, entries));
  const access = compileAll(whitelist, blacklist, (field, filter) => compileAccessField(field, filter, entries) ?? compileOne(field, filter, entries));
  const { ring } = entries;
  return (number) => {
    const at = ring.recordAt(number);
    if (at >= 0) return raw(at, number);
    const row = ring.accessAt(number);
    if (row >= 0) return access(row, number);
    const flow = ring.messageAt(number)!.flow;
    return flow !== undefined && matches(flow);
  };
}

function compileAll(whitelist: readonly FlowFilter[], blacklist: readonly FlowFilter[], compile: (field: Field, filter: FlowFilter) => RawPredicate): RawPredicate {
  const inOrder = (filter: FlowFilter): Field[] => fieldsOf(filter).sort((a, b) => Number(isTextField(a)) - Number(isTextField(b)));
  const [allow, deny] = [whitelist, blacklist].map((filters) => filters.map((filter) => and(inOrder(filter).map((field) => compile(field, filter)))));
  return and([...(allow!.length === 0 ? [] : [or(allow!)]), ...(deny!.length === 0 ? [] : [not(or(deny!))])]);
}

function compileOne(field: Field, filter: FlowFilter, entries: Entries): RawPredicate {
  const compile = compilers[field] as ((values: unknown, entries: Entries) => RawPredicate) | undefined;
  if (compile !== undefined) return compile(filter[field], entries);
  const matches = compileField(field, filter);
  const side = serviceSides[field];
  if (side !== undefined) {
    const { ring: { bytes }, lookups } = entries;
    return (at) => matches({ [`${side}_service`]: serviceOf(bytes, at, side, lookups) });
  }
  if (field === 'source_fqdn' || field === 'destination_fqdn') return byNames(matches, entries);
  const end = ends[field];
  if (end !== undefined) return new EndAnswers(entries, end, (answered) => matches({ [end]: answered })).predicate;
  return matches({ node_name: entries.lookups.nodeName, IP: {} }) ? always : never;
}

function byNames(matches: (flow: Flow) => boolean, { ring: { bytes, words }, lookups }: Entries): RawPredicate {
  const text = (at: number): string => ipText(bytes.subarray(at, at + 16)).text;
  return (at) => matches(namesFields(text(at + fieldAt.saddr), text(at + fieldAt.daddr), timeAt(words, at), lookups));
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
