// Entries of the access log as Envoy encodes them -> what the observer gets.
import { describe, expect, test } from '@jest/globals';
import { accessOf } from './access.ts';
import { readEntries, type LogEntry } from './entries.ts';
import { encode } from './messages.ts';
import { makeRandom } from '../policy/random-cases.ts';

type Json = Record<string, unknown>;

const socket = (address: string, port: number): Json => ({ socket_address: { address, port_value: port } });
const state = (text: string): Json => ({ 'weir.rule_set': { type_url: 'type.googleapis.com/google.protobuf.StringValue', value: Buffer.concat([Buffer.of(0x0a, text.length), Buffer.from(text)]) } });
const common = (set: string, more: Json = {}): Json => ({
  downstream_remote_address: socket('9.9.9.9', 0), downstream_direct_remote_address: socket('fd00::1', 1111), downstream_local_address: socket('fd00::2', 80), upstream_local_address: socket('fd00::1', 2222),
  start_time: { seconds: 1_700_000_000, nanos: 5 }, duration: { seconds: 1, nanos: 500 }, filter_state_objects: state(set), ...more,
});
const asked = { request_method: 1, scheme: 'http', authority: 'a.b', path: '/x?y=z', user_agent: 'curl', request_headers_bytes: 100, request_body_bytes: 20, request_headers: { ':method': 'GET', traceparent: '00-1' } };
const listener = (port: number) => (port === 10_001 ? { key: 'the set', direction: 'egress' as const } : undefined);
const entriesOf = (bytes: Buffer): LogEntry[] => {
  const entries: LogEntry[] = [];
  readEntries(bytes, (entry) => { entries.push(entry); });
  return entries;
};
const read = (message: Json) => entriesOf(encode('StreamAccessLogsMessage', message)).map((entry) => accessOf(entry, listener));
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
    expect(entriesOf(Buffer.from([0x0a, 0x02, 0x08, 0x01]))).toEqual([]);
  });

  test('what an entry leaves out is not of the one before', () => {
    const bare = { common_properties: { filter_state_objects: state('10001 http') } };
    const { http_logs: { log_entry: [whole] } } = http({ response_flags: { no_route_found: true }, tls_properties: { tls_sni_hostname: 'a.b' } }) as { http_logs: { log_entry: Json[] } };
    const [, second] = read({ http_logs: { log_entry: [whole, bare] } });
    expect(second).toEqual({
      ruleSet: 'the set', direction: 'egress', rule: undefined, denied: false, flags: '', startUnixNs: 0n, durationNs: 0n, source: { address: '', port: 0 }, destination: { address: '', port: 0 }, upstreamPort: 0,
      http: { method: '', scheme: '', authority: '', path: '', protocol: 'HTTP/1.1', code: 0, requestHeaders: [], requestBytes: 0, responseBytes: 0, mismatched: [] },
    });
  });

  const flags = ['failed_local_healthcheck', 'upstream_connection_failure', 'unauthorized_details', 'downstream_protocol_error', 'downstream_remote_reset'];
  test('flags in their order, and those that are not set', () => {
    const [access] = read(http({ response_flags: Object.fromEntries([...flags.map((name) => [name, name === 'unauthorized_details' ? {} : true]), ['no_cluster_found', false]]) }));
    expect(access!.flags).toBe('LH,UF,UAEX,DPE,DR');
  });

  test.each([
    ['long', 'x'.repeat(5_000)], ['not ASCII', '/straße/\u{1f600}'], ['empty', ''], ['of 64 bytes', 'y'.repeat(64)], ['of 65 bytes', 'z'.repeat(65)],
  ])('a path: %s', (_name, path) => {
    const [first, second] = read({ http_logs: { log_entry: [0, 1].map(() => ({ common_properties: common('10001 http'), request: { ...asked, path } })) } });
    expect([first!.http!.path, second!.http!.path]).toEqual([path, path]);
  });
});

describe('bytes that are no message', () => {
  const bytes = encode('StreamAccessLogsMessage', { ...http({ response_flags: { downstream_connection_termination: true } }), ...tcp('10001 3') });
  test('cut anywhere but between its two parts', () => {
    const wrong = Array.from(bytes.keys()).slice(1).filter((length) => {
      try {
        readEntries(bytes.subarray(0, length), () => undefined);
        return true;
      } catch (error) {
        return !(error instanceof RangeError);
      }
    });
    expect(wrong).toEqual([1 + 2 + bytes.readUInt8(1) % 128 + 128 * bytes.readUInt8(2)]);
  });

  test('any byte another: entries, or a RangeError', () => {
    const random = makeRandom(11);
    const wrong: unknown[] = [];
    for (let round = 0; round < 2_000; round += 1) {
      const broken = Buffer.from(bytes);
      for (let count = 1 + random.below(3); count > 0; count -= 1) broken[random.below(broken.length)] = random.below(256);
      try {
        readEntries(broken, (entry) => { if (accessOf(entry, () => ({ key: '', direction: 'ingress' })) === undefined) wrong.push(broken); });
      } catch (error) {
        if (!(error instanceof RangeError)) wrong.push(error);
      }
    }
    expect(wrong).toEqual([]);
  });

  test.each([
    { name: 'a number without an end', bytes: [0x08, ...Array.from({ length: 11 }, () => 0xff)] }, { name: 'a length beyond the message', bytes: [0x12, 0x05, 0x0a] },
    { name: 'groups', bytes: [0x0b] }, { name: 'a fixed number that is cut', bytes: [0x0d, 0x00] },
  ])('$name', ({ bytes: wrong }) => { expect(() => readEntries(Buffer.from(wrong), () => undefined)).toThrow(RangeError); });
});
