// Filters -> one predicate over flows. All fields of a filter must match, one value of a field is enough; a flow passes when
// any filter of the allow list matches (or it is empty) and none of the deny list does.
import { RequestError } from '../errors.ts';
import type { Flow, FlowFilter } from '../types.ts';
import { addressFields } from './address.ts';
import { endpointFields } from './endpoint.ts';
import { httpFields } from './http.ts';
import { labelFields } from './labels.ts';
import { nameFields } from './names.ts';
import { packetFields } from './packet.ts';

export type Predicate = (flow: Flow) => boolean;

/** One entry per field of FlowFilter: its values, never empty, made into a predicate; a malformed one throws RequestError. */
export type FieldCompilers = { readonly [Field in keyof FlowFilter]?: (values: NonNullable<FlowFilter[Field]>, filter: FlowFilter) => Predicate };

const compilers: FieldCompilers = {
  ...addressFields, ...endpointFields, ...httpFields, ...labelFields, ...nameFields, ...packetFields,
};

export type Field = keyof FlowFilter;
export const fields = Object.keys(compilers) as readonly Field[];

/** A request may not make the agent do more than so much work per flow. */
const maxFilters = 256;
const maxValues = 1024;

export function compileFilters(whitelist: readonly FlowFilter[] = [], blacklist: readonly FlowFilter[] = []): Predicate {
  if (whitelist.length + blacklist.length > maxFilters) throw new RequestError(`too many filters: at most ${maxFilters} are taken`);
  const allow = whitelist.map(compileFilter);
  const deny = blacklist.map(compileFilter);
  return (flow) => (allow.length === 0 || allow.some((matches) => matches(flow))) && !deny.some((matches) => matches(flow));
}

/** Those that a filter uses: with a list of values that is not empty. */
export const fieldsOf = (filter: FlowFilter): Field[] => fields.filter((field) => {
  const values: unknown = filter[field];
  return Array.isArray(values) && values.length > 0;
});

/** Throws RequestError. */
export function compileField(field: Field, filter: FlowFilter): Predicate {
  const values = filter[field] as readonly unknown[];
  if (values.length > maxValues) throw new RequestError(`filter ${field}: ${values.length} values, at most ${maxValues} are taken`);
  return (compilers[field] as (values: unknown, filter: FlowFilter) => Predicate)(values, filter);
}

function compileFilter(filter: FlowFilter): Predicate {
  const predicates = fieldsOf(filter).map((field) => compileField(field, filter));
  if (filter.experimental?.cel_expression?.length) throw new RequestError('filter cel_expression: not supported by this server; use the other filters');
  return (flow) => predicates.every((matches) => matches(flow));
}
