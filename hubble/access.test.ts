// What a proxy did, through the ring: the flows that come of it, as messages and as the bytes that clients get; what is cut, redacted, counted.
import { describe, expect, test } from '@jest/globals';
import type { HttpAccess, ProxyAccess } from './access.ts';
import { textLimit } from './access-row.ts';
import { Observer } from './observer.ts';
import { createPrinter } from './print/printer.ts';
import { getFlowsResponseMessage } from './proto.ts';
import type { RedactOptions } from './redact.ts';
import { accessOf, lookups, recordOf, rulesOf, services, slotsOf, tlsAccessOf } from './testing.ts';
import { traceIdOf } from './trace-context.ts';
import type { Flow } from './types.ts';

const nowMs = 1_700_000_001_000;
const monotonicNs = 9_000_000_000n;
const observerOf = (redact: RedactOptions = {}, capacity = 100): Observer =>
  new Observer({ capacity, nodeName: 'node1', version: '0', lookups: { ...lookups, services, identity: (address) => (address === '10.0.0.2' ? 1002 : 2) }, clock: () => nowMs, monotonicNs: () => monotonicNs, redact });
const flowsOf = (observer: Observer): Flow[] => Array.from({ length: observer.ring.next - observer.ring.oldest }, (_, index) => observer.entries.flow(observer.ring.oldest + index)!);
const flows = (access: ProxyAccess, redact: RedactOptions = {}, rules: typeof rulesOf | undefined = rulesOf, proxyPort = 0): Flow[] => {
  const observer = observerOf(redact);
  observer.access(access, rules, proxyPort);
  return flowsOf(observer);
};
const line = (flow: Flow): string => {
  let text = '';
  createPrinter({ form: 'compact', write: (part) => { text += part; }, writeError: () => undefined, policyNames: true }).print({ flow });
  return text.slice(text.indexOf(': ') + 2, -1);
};

const web = '(ID:1002)';
const cases: { name: string; access: ProxyAccess; lines: unknown[] }[] = [
  { name: 'a request and its response', access: accessOf(), lines: [
    `10.0.0.1:40000 (world) -> shop/web:80 ${web} http-request FORWARDED INGRESS ALLOWED BY shop/web (HTTP/1.1 GET http://web.shop/items?page=2)`,
    `10.0.0.1:40000 (world) <- shop/web:80 ${web} http-response FORWARDED INGRESS ALLOWED BY shop/web (HTTP/1.1 200 3ms (GET http://web.shop/items?page=2))`] },
  { name: 'refused: every policy that was tried, once', access: accessOf({ denied: true, rule: undefined, http: { method: 'PUT', code: 403 } }), lines: [
    `10.0.0.1:40000 (world) -> shop/web:80 ${web} http-request DROPPED INGRESS DENIED BY shop/web,shop/all (HTTP/1.1 PUT http://web.shop/items?page=2)`,
    `10.0.0.1:40000 (world) <- shop/web:80 ${web} http-response FORWARDED INGRESS DENIED BY shop/web,shop/all (HTTP/1.1 403 3ms (PUT http://web.shop/items?page=2))`] },
  { name: 'egress, another rule, HTTP/2', access: accessOf({ direction: 'egress', rule: 1, http: { protocol: 'HTTP/2', scheme: 'https', path: '/' } }), lines: [
    `10.0.0.1:40000 (world) -> shop/web:80 ${web} http-request FORWARDED EGRESS ALLOWED BY shop/all (HTTP/2 GET https://web.shop/)`,
    `10.0.0.1:40000 (world) <- shop/web:80 ${web} http-response FORWARDED EGRESS ALLOWED BY shop/all (HTTP/2 200 3ms (GET https://web.shop/))`] },
  { name: 'an answer of the proxy\'s own', access: accessOf({ flags: 'UF,URX', http: { code: 503 } }), lines: [
    expect.stringContaining('http-request FORWARDED'), expect.stringMatching(/http-response ERROR .*\(HTTP\/1.1 503 3ms \(GET http:\/\/web.shop\/items\?page=2\); UF,URX\)$/)] },
  { name: 'no response began', access: accessOf({ flags: 'DC', http: { code: 0 } }), lines: [expect.stringContaining('http-request FORWARDED'), expect.stringMatching(/http-response ERROR .*\(HTTP\/1.1 0 3ms .*; DC\)$/)] },
  { name: 'an upgraded connection, hung up on', access: accessOf({ flags: 'DC', http: { code: 101 } }), lines: [expect.stringContaining('http-request FORWARDED'), expect.stringMatching(/http-response FORWARDED .*\(HTTP\/1.1 101 3ms /)] },
  { name: 'headers that did not match and passed', access: accessOf({ http: { mismatched: ['x-a', 'x-b'] } }), lines: [
    expect.stringMatching(/page=2; headers that did not match: x-a, x-b\)$/), expect.stringMatching(/page=2\); headers that did not match: x-a, x-b\)$/)] },
  { name: 'TLS by its name', access: tlsAccessOf(), lines: [`10.0.0.1:40000 (world) -> shop/web:80 ${web} l7-request FORWARDED EGRESS ALLOWED BY shop/web (TLS www.example.com 3ms)`] },
  { name: 'TLS, refused', access: tlsAccessOf({ denied: true, rule: undefined }), lines: [
    `10.0.0.1:40000 (world) -> shop/web:80 ${web} l7-request DROPPED EGRESS DENIED BY shop/web,shop/all (TLS www.example.com, refused: no rule allows the name)`] },
  { name: 'TLS without a name, broken', access: tlsAccessOf({ sni: '', flags: 'UF' }), lines: [expect.stringMatching(/l7-request ERROR .*\(TLS without a server name 3ms; UF\)$/)] },
  { name: 'IPv6', access: accessOf({ source: { address: 'fd00::1', port: 5_001 }, destination: { address: 'fd00::2', port: 5_002 } }), lines: [expect.stringMatching(/^\[fd00::1\]:5001 \(world\) -> \[fd00::2\]:5002 /), expect.stringMatching(/^\[fd00::1\]:5001 \(world\) <- \[fd00::2\]:5002 /)] },
];

describe('flows of accesses', () => {
  test.each(cases)('$name', ({ access, lines }) => { expect(flows(access).map(line)).toEqual(lines); });

  test('all fields of a response', () => {
    const [, { uuid, ...response }] = flows(accessOf({ http: { requestHeaders: [['user-agent', 'test'], ['traceparent', `00-${'ab'.repeat(16)}-00f067aa0ba902b7-01`]] } }), {}, rulesOf, 10_005) as [Flow, Flow];
    expect(uuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(response).toEqual({
      time: { seconds: 1_700_000_000, nanos: 503_400_001 }, verdict: 1, Type: 2, node_name: 'node1', event_type: { type: 129 }, IP: { source: '10.0.0.2', destination: '10.0.0.1', ipVersion: 1 },
      l4: { TCP: { source_port: 80, destination_port: 40_000 } },
      source: { ID: 5, identity: 1002, namespace: 'shop', pod_name: 'web', cluster_name: 'default', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }] },
      destination: { identity: 2, labels: ['k8s:id=2'] }, source_service: { name: 'web', namespace: 'shop' },
      l7: { type: 2, latency_ns: 3_400_000, http: { code: 200, method: 'GET', url: 'http://web.shop/items?page=2', protocol: 'HTTP/1.1', headers: [{ key: 'user-agent', value: 'test' }, { key: 'traceparent', value: `00-${'ab'.repeat(16)}-00f067aa0ba902b7-01` }] } },
      reply: true, is_reply: { value: true }, traffic_direction: 1, proxy_port: 10_005, trace_context: { parent: { trace_id: 'ab'.repeat(16) } },
      ingress_allowed_by: [{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'web' }], policy_log: ['items'], Summary: 'HTTP/1.1 200 3ms (GET http://web.shop/items?page=2)',
    });
  });

  test('a refused request: the reason, the policies, the time at which it began', () => {
    const [request, response] = flows(accessOf({ denied: true, rule: undefined, http: { code: 403 } })) as [Flow, Flow];
    expect(request).toMatchObject({ verdict: 2, drop_reason: 133, drop_reason_desc: 133, time: { seconds: 1_700_000_000, nanos: 500_000_001 }, is_reply: { value: false }, l7: { type: 1, http: { method: 'GET' } }, policy_log: ['items'] });
    expect(request.l7!.http!.code).toBeUndefined();
    expect(response).toMatchObject({ verdict: 1, l7: { http: { code: 403 } } });
    expect(response.drop_reason_desc).toBeUndefined();
  });

  test.each<[name: string, rules: typeof rulesOf | undefined, access: ProxyAccess]>([
    ['a rule set that is known no more', undefined, accessOf()], ['nothing was decided', rulesOf, accessOf({ rule: undefined })], ['a rule that the set does not have', rulesOf, accessOf({ rule: 7 })],
  ])('%s: no policy is named', (_, rules, access) => {
    const observer = observerOf();
    observer.access(access, rules);
    expect(flowsOf(observer).map(({ ingress_allowed_by: by }) => by)).toEqual([undefined, undefined]);
  });

  test.each([...cases, { name: 'names beyond ASCII', access: accessOf({ http: { path: '/ä/☃', requestHeaders: [['x', 'é']] } }) }])('as clients get it: $name', ({ access }) => {
    const observer = observerOf();
    observer.access(access, rulesOf);
    for (let number = 0; number < observer.ring.next; number += 1) {
      const { encoded } = observer.entries;
      const place = encoded.place(number);
      const decoded = getFlowsResponseMessage.decode(encoded.chunk(place).subarray(encoded.start(place) + 5, encoded.end(place)));
      const { flow } = getFlowsResponseMessage.toObject(decoded, { longs: Number, defaults: true }) as { flow: Flow };
      expect(flow).toMatchObject(observer.entries.flow(number) as object);
    }
  });
});

describe('what is kept of a request', () => {
  const http = (access: Partial<HttpAccess>, redact: RedactOptions = {}) => flows(accessOf({ http: access }), redact)[1]!.l7!.http!;

  test.each<{ name: string; redact?: RedactOptions; access: Partial<HttpAccess>; url?: string; headers?: [string, string][] }>([
    { name: 'credentials are not', access: { requestHeaders: [['authorization', 'Basic x'], ['cookie', 'a=b'], ['accept', '*/*']] }, headers: [['authorization', 'HUBBLE_REDACTED'], ['cookie', 'HUBBLE_REDACTED'], ['accept', '*/*']] },
    { name: 'a list of what is not', redact: { headersDeny: ['X-Secret'] }, access: { requestHeaders: [['x-secret', '1'], ['accept', '*/*']] }, headers: [['x-secret', 'HUBBLE_REDACTED'], ['accept', '*/*']] },
    { name: 'a list of what is', redact: { headersAllow: ['Accept'] }, access: { requestHeaders: [['x-secret', '1'], ['accept', '*/*']] }, headers: [['x-secret', 'HUBBLE_REDACTED'], ['accept', '*/*']] },
    { name: 'a password is not', access: { authority: 'me:secret@web', path: '/' }, url: 'http://me:HUBBLE_REDACTED@web/' },
    { name: 'a user without one is', access: { authority: 'me@web:80', path: '/' }, url: 'http://me@web:80/' },
    { name: 'a password, where it may be', redact: { userInfo: false }, access: { authority: 'me:secret@web', path: '/' }, url: 'http://me:secret@web/' },
    { name: 'the query is', access: { path: '/a?b#c' }, url: 'http://web.shop/a?b#c' },
    { name: 'the query, where it must not', redact: { urlQuery: true }, access: { path: '/a?b#c' }, url: 'http://web.shop/a' },
  ])('$name', ({ redact, access, url, headers }) => {
    const kept = http(access, redact);
    if (url !== undefined) expect(kept.url).toBe(url);
    if (headers !== undefined) expect(kept.headers).toEqual(headers.map(([key, value]) => ({ key, value })));
  });

  test('both lists are refused', () => { expect(() => observerOf({ headersAllow: ['a'], headersDeny: ['b'] })).toThrow(/cannot be combined/); });

  test('what is too long is cut, and shows it', () => {
    const { url, headers } = http({ path: `/${'ä'.repeat(2_000)}`, requestHeaders: [['a', 'x'.repeat(900)], ['b', 'y'.repeat(900)], ['c', 'z']] });
    expect(Buffer.byteLength(url!)).toBeLessThanOrEqual(textLimit.url);
    expect(url).toMatch(/^http:\/\/web.shop\/ä+…$/);
    expect(headers!.map(({ key, value }) => [key, value!.length, value!.at(-1)])).toEqual([['a', 900, 'x'], ['b', expect.any(Number), '…'], ['…', 0, undefined]]);
  });

  test('of the longest requests too, each its own', () => {
    const observer = observerOf({}, 200);
    for (let index = 0; index < 150; index += 1) observer.access(accessOf({ http: { method: 'M'.repeat(100), path: `/${index}/${'p'.repeat(5_000)}`, requestHeaders: Array.from({ length: 100 }, (_, at) => [`h${at}`, 'v'.repeat(50)] as const), mismatched: Array.from({ length: 100 }, () => 'x-y') } }), rulesOf);
    expect(flowsOf(observer).map(({ l7 }) => l7!.http!.url!.slice(0, 23).split('/')[3])).toEqual(Array.from({ length: 200 }, (_, index) => String(50 + (index >> 1))));
    expect(Math.max(...flowsOf(observer).map(({ l7 }) => l7!.http!.headers!.length))).toBeLessThanOrEqual(65);
  });
});

describe('trace context', () => {
  const [wide, narrow, span] = ['4bf92f3577b34da6a3ce929d0e0e4736', 'a3ce929d0e0e4736', '00f067aa0ba902b7'];
  test.each<{ name: string; headers: [string, string][]; id: string }>([
    { name: 'W3C', headers: [['traceparent', `00-${wide}-${span}-01`]], id: wide },
    { name: 'W3C of a later version', headers: [['traceparent', `cc-${wide}-${span}-01-more`]], id: wide },
    { name: 'W3C of a version that is none', headers: [['traceparent', `ff-${wide}-${span}-01`]], id: '' },
    { name: 'W3C, all zeros', headers: [['traceparent', `00-${'0'.repeat(32)}-${span}-01`]], id: '' },
    { name: 'B3 in one', headers: [['b3', `${wide}-${span}-1`]], id: wide },
    { name: 'B3 of 64 bits', headers: [['b3', `${narrow}-${span}`]], id: narrow.padStart(32, '0') },
    { name: 'B3, not sampled', headers: [['b3', '0']], id: '' },
    { name: 'B3 in several', headers: [['x-b3-traceid', wide.toUpperCase()], ['x-b3-spanid', span]], id: wide },
    { name: 'W3C before B3', headers: [['b3', `${narrow}-${span}`], ['traceparent', `00-${wide}-${span}-01`]], id: wide },
    { name: 'B3 where W3C is broken', headers: [['traceparent', 'x'], ['x-b3-traceid', narrow]], id: narrow.padStart(32, '0') },
    { name: 'none', headers: [['x-request-id', wide]], id: '' },
  ])('$name', ({ headers, id }) => { expect(traceIdOf(headers)).toBe(id); });
});

describe('in the ring', () => {
  test('among records: numbers, order, what goes', () => {
    const observer = observerOf({}, 5);
    observer.records(slotsOf(recordOf()));
    observer.access(accessOf({ http: { path: '/1' } }), rulesOf);
    observer.records(slotsOf(recordOf(), recordOf()));
    observer.access(accessOf({ http: { path: '/2' } }), rulesOf);
    observer.lost('PERF_EVENT_RING_BUFFER', 3);
    expect(observer.stats).toMatchObject({ seen: 7, kept: 4, overwritten: 3, lost: { PERF_EVENT_RING_BUFFER: 3 } });
    expect(flowsOf(observer).map((flow) => flow?.l7?.http?.url ?? flow?.Type)).toEqual([1, 1, 'http://web.shop/2', 'http://web.shop/2', undefined]);
    const uuid = observer.entries.flow(6)!.uuid!;
    expect(observer.find(uuid)?.l7?.type).toBe(2);
  });

  test('half of a pair is left: the response still has all', () => {
    const observer = observerOf({}, 2);
    observer.access(accessOf(), rulesOf);
    observer.records(slotsOf(recordOf()));
    expect(observer.entries.flow(1)).toMatchObject({ l7: { type: 2, http: { url: 'http://web.shop/items?page=2' } } });
    observer.records(slotsOf(recordOf()));
    expect(flowsOf(observer).map(({ Type }) => Type)).toEqual([1, 1]);
  });

  test('who subscribed hears of what was refused', () => {
    const observer = observerOf();
    const heard: (string | undefined)[] = [];
    observer.subscribe(({ Summary }) => { heard.push(Summary); });
    observer.access(accessOf(), rulesOf);
    observer.access(accessOf({ denied: true, rule: undefined, http: { code: 403 } }), rulesOf);
    expect(heard).toEqual(['HTTP/1.1 GET http://web.shop/items?page=2']);
    expect(observer.lastDrop()).toBeUndefined();
  });

  test.each([
    ['it ended half a second ago', 0n, monotonicNs - 496_599_999n], ['its clock is ahead of ours', 5_000_000_000n, monotonicNs], ['long before this machine started', -1_000_000_000_000n, monotonicNs],
  ])('names are those of when it ended: %s', (_, laterNs, expected) => {
    const observer = observerOf();
    observer.access(accessOf({ startUnixNs: 1_700_000_000_500_000_001n + laterNs }), rulesOf);
    expect(observer.oldestNs(0)).toBe(Number(expected));
  });
});
