// Entries of the access log as Envoy encodes them -> what the observer gets.
import { describe, expect, test } from '@jest/globals';
import { accessOf, readEntries } from './access.ts';
import { encode } from './messages.ts';

type Json = Record<string, unknown>;

const socket = (address: string, port: number): Json => ({ socket_address: { address, port_value: port } });
const state = (text: string): Json => ({ 'weir.rule_set': { type_url: 'type.googleapis.com/google.protobuf.StringValue', value: Buffer.concat([Buffer.of(0x0a, text.length), Buffer.from(text)]) } });
const common = (set: string, more: Json = {}): Json => ({
  downstream_remote_address: socket('9.9.9.9', 0), downstream_direct_remote_address: socket('fd00::1', 1111), downstream_local_address: socket('fd00::2', 80), upstream_local_address: socket('fd00::1', 2222),
  start_time: { seconds: 1_700_000_000, nanos: 5 }, duration: { seconds: 1, nanos: 500 }, filter_state_objects: state(set), ...more,
});
const asked = { request_method: 1, scheme: 'http', authority: 'a.b', path: '/x?y=z', user_agent: 'curl', request_headers_bytes: 100, request_body_bytes: 20, request_headers: { ':method': 'GET', traceparent: '00-1' } };
const listener = (port: number) => (port === 10_001 ? { key: 'the set', direction: 'egress' as const } : undefined);
const read = (message: Json) => readEntries(encode('StreamAccessLogsMessage', message)).map((entry) => accessOf(entry, listener));
const http = (more: Json): Json => ({ http_logs: { log_entry: [{ common_properties: common('10001 http', { route_name: '2 x-a', ...more }), protocol_version: 3, request: asked, response: { response_code: { value: 204 }, response_headers_bytes: 7, response_body_bytes: 3 } }] } });
const tcp = (set: string, more: Json = {}): Json => ({ tcp_logs: { log_entry: [{ common_properties: common(set, { tls_properties: { tls_sni_hostname: 'a.b' }, ...more }) }] } });

describe('access log', () => {
  test('all of a request', () => {
    expect(read(http({ response_flags: { downstream_connection_termination: true } }))).toEqual([{
      ruleSet: 'the set', direction: 'egress', rule: 2, denied: false, flags: 'DC', startUnixNs: 1_700_000_000_000_000_005n, durationNs: 1_000_000_500n,
      source: { address: 'fd00::1', port: 1111 }, destination: { address: 'fd00::2', port: 80 }, upstreamPort: 2222,
      http: {
        method: 'GET', scheme: 'http', authority: 'a.b', path: '/x?y=z', protocol: 'HTTP/2', code: 204, requestHeaders: [['user-agent', 'curl'], ['traceparent', '00-1']],
        requestBytes: 120, responseBytes: 10, mismatched: ['x-a'],
      },
    }]);
  });

  test.each<{ name: string; message: Json; part: Json }>([
    { name: 'denied', message: http({ route_name: 'denied' }), part: { rule: undefined, denied: true } },
    { name: 'not understood: put to no rule', message: http({ route_name: '', response_flags: { downstream_protocol_error: true } }), part: { rule: undefined, denied: false, flags: 'DPE' } },
    { name: 'a name that was let through', message: tcp('10001 3'), part: { rule: 3, denied: false, sni: 'a.b', http: undefined } },
    { name: 'a name that was not', message: tcp('10001', { response_flags: { unauthorized_details: {} } }), part: { rule: undefined, denied: true, sni: 'a.b', flags: 'UAEX' } },
  ])('$name', ({ message, part }) => {
    const [access] = read(message);
    for (const [field, value] of Object.entries(part)) expect([field, (access as unknown as Json)[field]]).toEqual([field, value]);
  });

  test('of a listener that is gone', () => { expect(read(tcp('10002 3'))).toEqual([undefined]); });
  test('many in one message, fields that nobody reads', () => {
    const entry = (http({}) as { http_logs: { log_entry: Json[] } }).http_logs.log_entry[0]!;
    expect(read({ http_logs: { log_entry: Array.from({ length: 50 }, () => entry) } })).toHaveLength(50);
    expect(readEntries(Buffer.from([0x0a, 0x02, 0x08, 0x01]))).toEqual([]);
  });
  test('bytes that are no message', () => {
    const bytes = encode('StreamAccessLogsMessage', http({}));
    expect(() => readEntries(bytes.subarray(0, bytes.length - 3))).toThrow(RangeError);
  });
});
