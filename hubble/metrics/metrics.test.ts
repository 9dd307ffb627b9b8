// Hubble's metrics: names, labels and context options; the text that Prometheus reads; bounds.
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { Observer } from '../observer.ts';
import { flowOf } from '../testing.ts';
import type { Flow } from '../types.ts';
import { countFlows, defaultMetrics } from './flows.ts';
import { Registry } from './registry.ts';
import { serveMetrics } from './serve.ts';

const syn: Partial<Flow> = { event_type: { type: 4, sub_type: 0 }, is_reply: { value: false }, traffic_direction: 1, l4: { TCP: { source_port: 1, destination_port: 80, flags: { SYN: true } } } };
const drop: Partial<Flow> = { verdict: 2, drop_reason_desc: 133, event_type: { type: 1, sub_type: 133 }, is_reply: { value: false }, l4: { UDP: { source_port: 1, destination_port: 53 } } };

const httpFlow: Partial<Flow> = { event_type: { type: 129 }, is_reply: { value: true }, traffic_direction: 1, l4: { TCP: { source_port: 80, destination_port: 1 } }, trace_context: { parent: { trace_id: 'ab'.repeat(16) } },
  l7: { type: 2, latency_ns: 250_000_000, http: { code: 503, method: 'GET', protocol: 'HTTP/1.1', url: 'http://web/' } } };
const dnsFlow: Partial<Flow> = { event_type: { type: 129 }, is_reply: { value: true }, traffic_direction: 2, l4: { UDP: { source_port: 1, destination_port: 53 } },
  l7: { type: 2, dns: { query: 'a.example.', ips: ['fd00::1', 'fd00::2'], rcode: 0, qtypes: ['AAAA'], rrtypes: ['AAAA'] } } };
/** Of one request of a quarter of a second. */
const histogramLines = (labels: string, from: string): string[] => {
  const bounds = ['0.005', '0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '5', '10', '+Inf'];
  return [...bounds.map((le, index) => `hubble_http_request_duration_seconds_bucket{${labels},le="${le}"} ${index >= bounds.indexOf(from) ? 1 : 0}`),
    `hubble_http_request_duration_seconds_sum{${labels}} 0.25`, `hubble_http_request_duration_seconds_count{${labels}} 1`];
};

async function linesOf(wanted: readonly string[], flows: readonly Partial<Flow>[], openMetrics = false): Promise<string[]> {
  const observer = new Observer({ nodeName: 'node1', version: '0.1.0' });
  const registry = new Registry();
  const stop = countFlows(observer, wanted, registry);
  flows.forEach((flow, index) => { observer.record(flowOf(index + 1, flow)); });
  await new Promise((resolve) => { setTimeout(resolve, 20); });
  stop();
  return registry.text(openMetrics).split('\n').filter((line) => line.startsWith('hubble_'));
}

const web = { identity: 1002, namespace: 'shop', pod_name: 'web-1', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }] };

describe('flows', () => {
  test.each<{ name: string; wanted: string[]; flows: Partial<Flow>[]; lines: string[] }>([
    { name: 'flow', wanted: ['flow'], flows: [syn, syn, drop], lines: [
      'hubble_flows_processed_total{protocol="TCP",subtype="to-endpoint",type="Trace",verdict="FORWARDED"} 2', 'hubble_flows_processed_total{protocol="UDP",subtype="",type="Drop",verdict="DROPPED"} 1'] },
    { name: 'drop', wanted: ['drop'], flows: [syn, drop, drop], lines: ['hubble_drop_total{protocol="UDP",reason="POLICY_DENIED"} 2'] },
    { name: 'port-distribution, without replies and drops', wanted: ['port-distribution'], flows: [syn, { ...syn, is_reply: { value: true } }, drop], lines: ['hubble_port_distribution_total{port="80",protocol="TCP"} 1'] },
    { name: 'tcp', wanted: ['tcp'], flows: [syn, { ...syn, l4: { TCP: { flags: { SYN: true, ACK: true } } } }, { ...syn, IP: { ipVersion: 2 }, l4: { TCP: { flags: { FIN: true, ACK: true } } } }], lines: [
      'hubble_tcp_flags_total{family="IPv4",flag="SYN"} 1', 'hubble_tcp_flags_total{family="IPv4",flag="SYN-ACK"} 1', 'hubble_tcp_flags_total{family="IPv6",flag="FIN"} 1'] },
    { name: 'icmp', wanted: ['icmp'], flows: [{ l4: { ICMPv4: { type: 8 } } }, { l4: { ICMPv6: { type: 129 } } }], lines: ['hubble_icmp_total{family="IPv4",type="EchoRequest"} 1', 'hubble_icmp_total{family="IPv6",type="EchoReply"} 1'] },
    { name: 'flows-to-world', wanted: ['flows-to-world'], flows: [syn, { ...syn, destination: { identity: 2, labels: ['reserved:world'] } }], lines: ['hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED"} 1'] },
    { name: 'flow: L7 by its kind', wanted: ['flow'], flows: [httpFlow, dnsFlow, { event_type: { type: 129 }, l4: { TCP: {} }, l7: { type: 1 } }], lines: [
      'hubble_flows_processed_total{protocol="TCP",subtype="HTTP",type="L7",verdict="FORWARDED"} 1', 'hubble_flows_processed_total{protocol="UDP",subtype="DNS",type="L7",verdict="FORWARDED"} 1',
      'hubble_flows_processed_total{protocol="TCP",subtype="",type="L7",verdict="FORWARDED"} 1'] },
    { name: 'http', wanted: ['http:labelsContext=source_workload,destination_workload'], flows: [{ ...httpFlow, l7: { type: 1, http: { method: 'GET', protocol: 'HTTP/1.1' } }, destination: web }, { ...httpFlow, source: web }, syn], lines: [
      'hubble_http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server",source_workload="",destination_workload="web"} 1',
      'hubble_http_responses_total{method="GET",status="503",reporter="server",source_workload="web",destination_workload=""} 1',
      ...histogramLines('method="GET",reporter="server",source_workload="web",destination_workload=""', '0.25')] },
    { name: 'httpV2: of responses, their ends turned', wanted: ['httpV2:sourceContext=ip;destinationContext=workload-name'], flows: [{ ...httpFlow, l7: { type: 1, http: { method: 'GET' } } }, { ...httpFlow, source: web, traffic_direction: 2 }], lines: [
      'hubble_http_requests_total{method="GET",protocol="HTTP/1.1",status="503",reporter="client",source="10.0.0.2",destination="web"} 1',
      ...histogramLines('method="GET",reporter="client",source="10.0.0.2",destination="web"', '0.25')] },
    { name: 'dns', wanted: ['dns'], flows: [dnsFlow, { ...dnsFlow, l7: { type: 2, dns: { query: 'b.', rcode: 3, qtypes: ['A'] } } }, { ...dnsFlow, verdict: 2, l7: { type: 1, dns: { query: 'c.', qtypes: ['A'] } } }], lines: [
      'hubble_dns_queries_total{rcode="",qtypes="AAAA",ips_returned="0"} 1', 'hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0"} 1', 'hubble_dns_queries_total{rcode="Policy denied",qtypes="A",ips_returned="0"} 1',
      'hubble_dns_responses_total{rcode="No Error",qtypes="AAAA",ips_returned="2"} 1', 'hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0"} 1',
      'hubble_dns_response_types_total{type="AAAA",qtypes="AAAA"} 1'] },
    { name: 'dns by name, without AAAA', wanted: ['dns:query;ignoreAAAA;destinationContext=ip'], flows: [dnsFlow, { ...dnsFlow, l7: { type: 2, dns: { query: 'b.', rcode: 2, qtypes: ['A'] } } }], lines: [
      'hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0",query="b.",destination="10.0.0.2"} 1', 'hubble_dns_responses_total{rcode="Server Failure",qtypes="A",ips_returned="0",query="b.",destination="10.0.0.2"} 1'] },
    { name: 'contexts', wanted: ['drop:sourceContext=workload-name|ip;destinationContext=pod'], flows: [{ ...drop, destination: web }, { ...drop, source: web }], lines: [
      'hubble_drop_total{protocol="UDP",reason="POLICY_DENIED",source="10.0.0.1",destination="shop/web-1"} 1', 'hubble_drop_total{protocol="UDP",reason="POLICY_DENIED",source="web",destination="shop/web"} 1'] },
    { name: 'labels', wanted: ['drop:labelsContext=source_namespace,destination_workload,destination_app,traffic_direction'], flows: [{ ...drop, destination: web, traffic_direction: 2 }], lines: [
      'hubble_drop_total{protocol="UDP",reason="POLICY_DENIED",source_namespace="shop",destination_workload="web",destination_app="web",traffic_direction="egress"} 1'] },
    { name: 'values are escaped', wanted: ['drop:sourceContext=pod-name'], flows: [{ ...drop, source: { pod_name: 'a"b\\c\nd' } }], lines: ['hubble_drop_total{protocol="UDP",reason="POLICY_DENIED",source="a\\"b\\\\c\\nd"} 1'] },
  ])('$name', async ({ wanted, flows, lines }) => { expect(await linesOf(wanted, flows)).toEqual(lines); });

  test('exemplars: the trace of a request, in the form that has a place for them', async () => {
    const lines = async (wanted: string, openMetrics: boolean) => (await linesOf([wanted], [httpFlow], openMetrics)).filter((line) => line.includes('traceID'));
    expect(await lines('httpV2:exemplars=true', true)).toEqual([
      `hubble_http_requests_total{method="GET",protocol="HTTP/1.1",status="503",reporter="server"} 1 # {traceID="${'ab'.repeat(16)}"} 1`,
      `hubble_http_request_duration_seconds_bucket{method="GET",reporter="server",le="0.25"} 1 # {traceID="${'ab'.repeat(16)}"} 0.25`]);
    expect([await lines('httpV2:exemplars=true', false), await lines('httpV2', true)]).toEqual([[], []]);
  });

  test('the dashboard of HTTP and DNS asks for what is there', async () => {
    const asked = new Set(readFileSync(new URL('../../manifests/dashboards/l7.json', import.meta.url), 'utf8').match(/hubble_[a-z_]+/g));
    const lines = await linesOf(defaultMetrics, [httpFlow, { ...httpFlow, l7: { type: 1, http: { method: 'GET' } } }, dnsFlow]);
    const there = new Set(lines.map((line) => /^[a-z_]+/.exec(line)![0]));
    expect([...asked].filter((name) => !there.has(name))).toEqual([]);
    expect(asked.size).toBeGreaterThan(5);
  });

  test('http and httpV2 count under the same names', () => { expect(() => countFlows(new Observer({ nodeName: 'n', version: '' }), ['http', 'httpV2'], new Registry())).toThrow(/cannot be combined/); });

  test('lost events', async () => {
    const observer = new Observer({ nodeName: 'node1', version: '0.1.0' });
    const registry = new Registry();
    const stop = countFlows(observer, defaultMetrics, registry);
    observer.lost('PERF_EVENT_RING_BUFFER', 7);
    observer.lost('OBSERVER_EVENTS_QUEUE', 2);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    stop();
    expect(registry.text()).toContain('hubble_lost_events_total{source="perf_event_ring_buffer"} 7\nhubble_lost_events_total{source="observer_events_queue"} 2\n');
  });

  test.each([
    ['nope', /metric nope: known are flow, drop/], ['drop:sourceContext=nope', /nope is no context/], ['drop:labelsContext=nope', /nope is no label/], ['drop:x=y', /x is no option/],
  ])('refuses %s', (text, says) => { expect(() => countFlows(new Observer({ nodeName: 'n', version: '' }), [text], new Registry())).toThrow(says); });
});

describe('the registry', () => {
  test('a metric keeps no more series than it may, and counts the rest', () => {
    const registry = new Registry();
    const family = registry.counter('x_total', 'X', ['a'], 2);
    for (const value of ['1', '2', '3', '3', '1']) family.add([value]);
    expect(registry.text()).toBe('# HELP x_total X\n# TYPE x_total counter\nx_total{a="1"} 2\nx_total{a="2"} 1\n'
      + '# HELP weir_metrics_dropped_total Increments of series that found no place in their metric\n# TYPE weir_metrics_dropped_total counter\nweir_metrics_dropped_total{metric="x_total"} 2\n');
  });

  test('over HTTP: /metrics and nothing else', async () => {
    const registry = new Registry();
    registry.collect(() => [{ name: 'y', help: 'Y', type: 'gauge', samples: [{ value: 1.5 }] }]);
    const server = await serveMetrics(registry, '127.0.0.1:0');
    const ask = async (path: string, method = 'GET'): Promise<[number, string]> => new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: server.port, path, method, agent: false }, (response) => {
        let body = '';
        response.on('data', (data: Buffer) => { body += data.toString(); });
        response.on('end', () => { resolve([response.statusCode!, body]); });
      }).on('error', reject).end();
    });
    try {
      expect(await ask('/metrics')).toEqual([200, '# HELP y Y\n# TYPE y gauge\ny 1.5\n']);
      expect((await ask('/'))[0]).toBe(404);
      expect((await ask('/metrics', 'POST'))[0]).toBe(404);
    } finally {
      server.close();
    }
  });

  test('an address that is taken', async () => {
    const server = await serveMetrics(new Registry(), '127.0.0.1:0');
    await expect(serveMetrics(new Registry(), `127.0.0.1:${server.port}`)).rejects.toThrow(/EADDRINUSE/);
    server.close();
  });
});
