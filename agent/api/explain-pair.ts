// `weir policy explain --from --to`: a flow that nobody has sent, judged by what the agent holds now. Its ends are found among
// the endpoints, in the ipcache or as entities.
import type { Agent } from '../agent.ts';
import { ConfigError } from '../errors.ts';
import { identityLabels } from '../flow/names.ts';
import { reservedLabels } from '../identity/reserved.ts';
import { longestMatch, parsePrefix } from '../policy/prefix.ts';
import { isObject } from '../policy/check.ts';
import type { L7Request } from '../policy/request.ts';
import { pickWorkload, readPartyText, readService, type Question } from '../policy/question.ts';
import type { ExplainedFlow, End } from './explain.ts';

/** The ends, protocol and port of a question; throws ConfigError where it names nobody. */
export function readQuestion(agent: Agent, parameters: Readonly<Record<string, unknown>>): ExplainedFlow {
  const text = (name: string): string => String(parameters[name] ?? '');
  const question: Question = { from: text('from'), to: text('to'), protocol: text('protocol'), ...(parameters['port'] === undefined ? {} : { port: text('port') }) };
  const from = endOf(agent, question.from);
  const to = endOf(agent, question.to);
  if (from.endpoint === undefined && to.endpoint === undefined) throw new ConfigError('neither end is a workload of this agent, so no policy is asked', 'see ./weir endpoint list');
  return { from, to, ...readService(question, to.endpoint), ...requestOf(parameters['request']) };
}

/** As the command line sends it. */
function requestOf(value: unknown): Pick<ExplainedFlow, 'request'> {
  if (value === undefined) return {};
  if (!isRequest(value)) throw new ConfigError('the request has another form', 'upgrade the command line and the agent together');
  return { request: value };
}

const isRequest = (value: unknown): value is L7Request => isObject(value)
  && ['undefined', 'string'].includes(typeof value['sni'])
  && (value['http'] === undefined || (isObject(value['http']) && ['method', 'path', 'host'].every((field) => typeof (value['http'] as Record<string, unknown>)[field] === 'string')
    && Array.isArray(value['http']['headers']) && value['http']['headers'].every((pair) => Array.isArray(pair) && pair.every((text) => typeof text === 'string'))));

function endOf(agent: Agent, text: string): End {
  const { endpoints, ipcache, identities } = agent.tables;
  const party = readPartyText(text);
  if (party.kind === 'entity') return { endpoint: undefined, party: { name: party.name, labels: reservedLabels(party.name) } };
  const byAddress = party.kind === 'address' ? endpoints.by('address', party.text)[0] : undefined;
  const endpoint = party.kind === 'workload' ? endpoints.get(pickWorkload(party, endpoints.rows().map(({ key }) => key), 'runs here')) : byAddress;
  if (endpoint !== undefined) return { endpoint, party: { name: endpoint.key, labels: endpoint.labels } };
  if (party.kind !== 'address') throw new ConfigError(`no workload ${text} runs here`, 'see ./weir endpoint list');
  const rows = new Map(ipcache.rows().map((row) => [parsePrefix(row.prefix)!, row.identity]));
  const prefix = longestMatch(rows.keys(), party.prefix);
  const identity = prefix === undefined ? (party.prefix.family === 6 ? 10 : 9) : rows.get(prefix)!;
  return { endpoint: undefined, party: { name: party.text, labels: identityLabels(identities, identity), ...(identity === 1 ? {} : { address: party.text }) } };
}
