// A rule set -> its listener: how a connection is read (HTTP, TLS by its name, TLS that ends here) and by which filters. What HTTP
// rules say stands in routes, which change under open connections; a changed listener drains them.
import type { L7Rules, RuleSet } from '../policy/image.ts';
import { httpFilters, tcpLog } from './filters.ts';
import { any, duration, type Message } from './messages.ts';
import { serverNameRegex } from './server-names.ts';
import { secretName } from './secrets.ts';

export interface ListenerMarks { readonly downstream: number; readonly egressDone: number; readonly bothDone: number }

export interface ListenerOptions {
  readonly port: number;
  /** Absent, for tests: it takes connections as they are made, with the host's own addresses. */
  readonly marks?: ListenerMarks;
}

/** From the connection to the end of the request's headers, of the client hello. */
const helloMs = 10_000;
/** Where a plain allow stands beside, the server may have to speak first. */
const silentMs = 1_000;
const bufferBytes = 256 * 1024;
const [solSocket, soMark] = [1, 36];

/** Under this name the access log says which listener it was, and which rule let a connection through: `PORT`, `PORT INDEX`. */
export const stateKey = 'weir.rule_set';
/** In place of the index: its requests are told one by one. */
export const httpState = 'http';

const filterState = (text: string): Message => ({
  name: 'envoy.filters.network.set_filter_state',
  typed_config: any('SetFilterState', { on_new_connection: [{ object_key: stateKey, factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: text } } }] }),
});

type Rule = RuleSet['rules'][number] & { readonly index: number };
interface Chain { readonly name: string; readonly filters: readonly Message[]; readonly secret?: string }
/** Tried in order: the first that fits a connection's transport and name. */
interface Choice { readonly transport?: 'raw_buffer' | 'tls'; readonly names?: readonly string[]; readonly chain: string }

const isHttp = (l7: L7Rules | 'any'): l7 is L7Rules => l7 !== 'any' && l7.http.length > 0 && l7.terminatingTls === undefined;
const isTerminated = (l7: L7Rules | 'any'): l7 is L7Rules => l7 !== 'any' && l7.terminatingTls !== undefined;
const isPassed = (l7: L7Rules | 'any'): l7 is L7Rules => l7 !== 'any' && l7.terminatingTls === undefined && l7.serverNames.length > 0;

/** Routes of the listener by name: those of plain HTTP, and of each certificate. */
export function routeSets(port: number, set: RuleSet): Map<string, RuleSet['rules']> {
  const sets = new Map<string, RuleSet['rules']>();
  const of = (pick: (l7: L7Rules | 'any') => boolean): RuleSet['rules'] => set.rules.map((rule) => (rule.l7 === 'any' || pick(rule.l7) ? rule : { ...rule, l7: nothing }));
  if (set.rules.some(({ l7 }) => isHttp(l7))) sets.set(String(port), of(isHttp));
  for (const secret of secretsOf(set)) sets.set(`${port} ${secret}`, of((l7) => isTerminated(l7) && secretName(l7.terminatingTls!) === secret).map(visible));
  return sets;
}

const nothing: L7Rules = { http: [], serverNames: [] };
/** TLS that ends here without HTTP rules: every request passes, and is seen. */
const visible = (rule: RuleSet['rules'][number]): RuleSet['rules'][number] => (rule.l7 !== 'any' && isTerminated(rule.l7) && rule.l7.http.length === 0
  ? { ...rule, l7: { ...rule.l7, http: [{ headers: [], mismatches: [] }] } } : rule);

export const secretsOf = (set: RuleSet): Set<string> => new Set(set.rules.flatMap(({ l7 }) => (isTerminated(l7) ? [secretName(l7.terminatingTls!)] : [])));

function chainsOf(port: number, set: RuleSet): { readonly chains: readonly Chain[]; readonly choices: readonly Choice[]; readonly otherwise: string } {
  const rules: readonly Rule[] = set.rules.map((rule, index) => ({ ...rule, index }));
  const chains: Chain[] = [];
  const choices: Choice[] = [];
  const wildcard = rules.find(({ l7 }) => l7 === 'any');
  const http = (routes: string): Message[] => [filterState(`${port} ${httpState}`), httpFilters(routes)];
  if (rules.some(({ l7 }) => isHttp(l7))) {
    chains.push({ name: 'http', filters: http(String(port)) });
    choices.push({ transport: 'raw_buffer', chain: 'http' });
  }
  for (const secret of secretsOf(set)) {
    chains.push({ name: secret, filters: http(`${port} ${secret}`), secret });
    const own = rules.filter(({ l7 }) => isTerminated(l7) && secretName(l7.terminatingTls!) === secret).map(({ l7 }) => (l7 as L7Rules).serverNames);
    choices.push({ transport: 'tls', ...(own.every((names) => names.length > 0) && { names: own.flat() }), chain: secret });
  }
  for (const { index, l7 } of rules) {
    if (!isPassed(l7)) continue;
    chains.push({ name: `rule ${index}`, filters: [filterState(`${port} ${index}`), pass] });
    choices.push({ names: l7.serverNames, chain: `rule ${index}` });
  }
  const otherwise = wildcard === undefined ? 'denied' : 'any';
  chains.push({ name: otherwise, filters: wildcard === undefined ? [filterState(String(port)), close] : [filterState(`${port} ${wildcard.index}`), pass] });
  // Those with names first: a certificate without names takes what is left.
  return { chains, choices: [...choices.filter(({ names }) => names !== undefined), ...choices.filter(({ names }) => names === undefined)], otherwise };
}

const pass: Message = { name: 'envoy.filters.network.tcp_proxy', typed_config: any('TcpProxy', { stat_prefix: 'tls', cluster: 'original', max_connect_attempts: { value: 2 }, idle_timeout: duration(3_600_000) }) };
const close: Message = { name: 'envoy.filters.network.direct_response', typed_config: any('DirectClose', {}) };

const input = (name: 'ServerNameInput' | 'TransportProtocolInput'): Message => ({ name, typed_config: any(name, {}) });
const action = (chain: string): Message => ({ action: { name: chain, typed_config: any('StringValue', { value: chain }) } });

function predicateOf({ transport, names }: Choice): Message {
  const single = (value: Message, name: Parameters<typeof input>[0]): Message => ({ single_predicate: { input: input(name), value_match: value } });
  if (names === undefined) return single({ exact: transport }, 'TransportProtocolInput');
  const all = names.map((name) => single({ safe_regex: { google_re2: {}, regex: serverNameRegex(name) } }, 'ServerNameInput'));
  return all.length === 1 ? all[0]! : { or_matcher: { predicate: all } };
}

const tls = (secret: string): Message => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: any('DownstreamTlsContext', {
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
      // HTTP/2 would go on to the server without TLS, as few speak it.
      alpn_protocols: ['http/1.1'],
      tls_certificate_sds_secret_configs: [{ name: secret, sds_config: { ads: {}, resource_api_version: 'V3' } }],
    },
  }),
});

const chainMessage = ({ name, filters, secret }: Chain): Message =>
  ({ name, filters, ...(secret !== undefined && { transport_socket: tls(secret), transport_socket_connect_timeout: duration(helloMs) }) });

function listenerFilters(direction: RuleSet['direction'], marks: ListenerMarks | undefined, sniffs: boolean): Message[] {
  const filter = (name: 'original_dst' | 'original_src' | 'tls_inspector', config: Message): Message => ({ name: `envoy.filters.listener.${name}`, typed_config: config });
  return [
    ...(sniffs ? [filter('tls_inspector', any('TlsInspector', {}))] : []),
    ...(marks === undefined ? [] : [
      filter('original_dst', any('OriginalDst', {})),
      filter('original_src', any('OriginalSrc', { mark: direction === 'egress' ? marks.egressDone : marks.bothDone })),
    ]),
  ];
}

export function listenerOf(set: RuleSet, { port, marks }: ListenerOptions): Message {
  const { chains, choices, otherwise } = chainsOf(port, set);
  const plain = choices.length === 1 && choices[0]!.chain === 'http';
  const address = (host: string): Message => ({ socket_address: { address: host, port_value: port } });
  return {
    name: String(port), address: address('127.0.0.1'), additional_addresses: [{ address: address('::1') }],
    traffic_direction: set.direction === 'ingress' ? 'INBOUND' : 'OUTBOUND', stat_prefix: 'l7',
    // A socket for each worker; and two Envoys listen on the same ports while one takes over: the later one gets the connections (bpf/proxy_socket.c).
    enable_reuse_port: { value: true },
    per_connection_buffer_limit_bytes: { value: bufferBytes },
    ...(marks !== undefined && { transparent: { value: true }, socket_options: [{ level: solSocket, name: soMark, int_value: marks.downstream }] }),
    listener_filters: listenerFilters(set.direction, marks, !plain),
    ...(plain ? { filter_chains: chains.slice(0, 1).map(chainMessage) } : {
      listener_filters_timeout: duration(otherwise === 'any' ? silentMs : helloMs), continue_on_listener_filters_timeout: otherwise === 'any',
      filter_chains: chains.map(chainMessage),
      filter_chain_matcher: { matcher_list: { matchers: choices.map((choice) => ({ predicate: predicateOf(choice), on_match: action(choice.chain) })) }, on_no_match: action(otherwise) },
      access_log: [tcpLog(stateKey)],
    }),
  };
}
