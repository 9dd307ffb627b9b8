// Flags that say which flows, how many and from when -> the request for the server.
import { ConfigError } from '../agent/errors.ts';
import { compileFieldMask } from '../hubble/field-mask.ts';
import type { GetFlowsRequest } from '../hubble/types.ts';
import type { FlowFilters } from './observe-flags.ts';
import { parseTime } from './observe-times.ts';

export interface SelectorOptions {
  readonly follow?: boolean;
  readonly last?: string;
  readonly first?: string;
  readonly all?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly inputFile?: string;
  readonly fieldMask?: string;
  readonly useDefaultFieldMasks: string;
  readonly output: string;
  readonly printPolicyNames?: boolean;
  readonly explain?: boolean;
}

const defaultNumber = 20;
/** 2^64 - 1, more digits than a number has. */
const everything = '18446744073709551615';

/** What the text outputs print. */
const printedFields = [
  'time', 'verdict', 'ethernet', 'IP', 'l4', 'source.identity', 'source.namespace', 'source.pod_name',
  'destination.identity', 'destination.namespace', 'destination.pod_name', 'source_names', 'destination_names', 'Type', 'node_name', 'l7',
  'event_type', 'source_service', 'destination_service', 'is_reply', 'traffic_direction', 'policy_match_type', 'auth_type', 'sock_xlate_point',
  'Summary', 'ip_trace_id',
];
const policyFields = ['egress_allowed_by', 'ingress_allowed_by', 'egress_denied_by', 'ingress_denied_by'];

export function requestOf(options: SelectorOptions, filters: FlowFilters, nowMs: number): GetFlowsRequest {
  refuseCombinations(options);
  const { follow, first, last, all, since, until, inputFile } = options;
  const nothingSaid = !follow && first === undefined && last === undefined && !all && since === undefined && until === undefined && inputFile === undefined;
  const number = all ? everything : first ?? last ?? (nothingSaid ? String(defaultNumber) : '0');
  const paths = maskOf(options);
  return {
    number: number === everything ? number : count(first === undefined ? '--last' : '--first', number),
    ...(first !== undefined && { first: true }),
    ...(follow && { follow: true }),
    ...(since !== undefined && { since: parseTime('--since', since, nowMs) }),
    ...(until !== undefined && !follow && { until: parseTime('--until', until, nowMs) }),
    ...filters,
    ...(paths.length > 0 && { field_mask: { paths } }),
  };
}

function refuseCombinations({ follow, first, last, all, output, fieldMask }: SelectorOptions): void {
  const refuse = (what: string, mend: string): never => { throw new ConfigError(`${what} cannot be combined`, mend); };
  if (first !== undefined) {
    for (const [flag, given] of [['--last', last !== undefined], ['--all', all], ['--follow', follow]] as const) {
      if (given) refuse(`--first and ${flag}`, 'leave one of them out');
    }
  }
  if (last !== undefined && all) refuse('--last and --all', 'leave one of them out');
  if (follow && (output === 'table' || output === 'tab')) refuse('-o table and --follow', 'a table needs all its rows: use -o compact');
  if (fieldMask !== undefined && output !== 'json' && output !== 'jsonpb') refuse(`--field-mask and -o ${output}`, 'use -o json');
}

function maskOf({ output, fieldMask, useDefaultFieldMasks, printPolicyNames, explain, inputFile }: SelectorOptions): string[] {
  if (useDefaultFieldMasks !== 'true' && useDefaultFieldMasks !== 'false') throw new ConfigError(`--use-default-field-masks ${useDefaultFieldMasks}: expected true or false`);
  if (fieldMask !== undefined) {
    const paths = fieldMask.split(',').map((path) => path.trim());
    compileFieldMask(paths);
    return paths;
  }
  if (output === 'json' || output === 'jsonpb' || useDefaultFieldMasks === 'false' || inputFile !== undefined) return [];
  return [...printedFields, ...(printPolicyNames ? policyFields : []), ...(explain ? ['uuid'] : [])];
}

function count(flag: string, text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new ConfigError(`${flag} ${text}: expected a number of flows`, `for example ${flag} 20`);
  return Number(text);
}
