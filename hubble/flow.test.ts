// Records become flows: one row per kind of record, with the fields that matter for it.
import { describe, expect, test } from '@jest/globals';
import { ipText } from './address.ts';
import { toFlow } from './flow.ts';
import { encode, flowMessage } from './proto.ts';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { ip4, lookups, noJudgement, recordOf } from './testing.ts';
import type { Flow } from './types.ts';

const allow = { ...noJudgement, bits: 1n, policy: 3, action: 1 };
const deny = { ...allow, action: 2 };
const defaultDeny = { ...noJudgement, policy: 3, action: 3 };
const by = (name: string) => [{ name, namespace: 'shop', kind: 'CiliumNetworkPolicy' }];

const v6 = (...groups: number[]): Uint8Array => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));

const records: { name: string; record: Partial<FlowRecord>; flow: Partial<Flow> }[] = [
  {
    name: 'a new connection that was delivered', record: {},
    flow: {
      verdict: 1, Type: 1, event_type: { type: 4, sub_type: 0 }, trace_observation_point: 101, trace_reason: 1, is_reply: { value: false }, reply: false,
      traffic_direction: 1, Summary: 'TCP Flags: SYN', node_name: 'node1', interface: { index: 7 }, time: { seconds: 1_700_000_001, nanos: 1 },
      IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 1 }, ethernet: { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' },
      l4: { TCP: { source_port: 40_000, destination_port: 80, flags: { SYN: true } } },
      source: { identity: 1001, labels: ['k8s:id=1001'] },
      destination: { ID: 5, identity: 1002, namespace: 'shop', pod_name: 'web', labels: ['k8s:app=web'], workloads: [{ name: 'web', kind: 'Deployment' }], cluster_name: 'default' },
    },
  },
  { name: 'a connection that goes on', record: { event: 3, tcp_flags: 0x18 }, flow: { trace_reason: 2, Summary: 'TCP Flags: ACK, PSH' } },
  { name: 'a reply to the outside', record: { is_reply: 1, event: 3, observation_point: 11, tcp_flags: 0x12 }, flow: { trace_reason: 3, is_reply: { value: true }, reply: true, event_type: { type: 4, sub_type: 11 }, trace_observation_point: 11, Summary: 'TCP Flags: SYN, ACK' } },
  { name: 'to a proxy', record: { observation_point: 1, egress: { ...allow, action: 5 } }, flow: { verdict: 5, event_type: { type: 4, sub_type: 1 }, trace_observation_point: 1, egress_allowed_by: by('allow-egress') } },
  { name: 'an answer to a proxy', record: { observation_point: 1, is_reply: 1, event: 3 }, flow: { verdict: 1, event_type: { type: 4, sub_type: 1 }, trace_observation_point: 1 } },
  { name: 'nobody to go to in the proxy', record: { event: 5, reason: 178, direction: 2, egress: { ...allow, action: 5 }, observation_point: 0 }, flow: { verdict: 2, drop_reason_desc: 178, egress_allowed_by: by('allow-egress') } },
  { name: 'to the host', record: { observation_point: 2, destination_identity: 1, daddr: { word: ip4(10, 0, 0, 254) } }, flow: { event_type: { type: 4, sub_type: 2 }, destination: { identity: 1, labels: ['reserved:host'] } } },
  { name: 'both ends allowed', record: { egress: allow, ingress: allow }, flow: { egress_allowed_by: by('allow-egress'), ingress_allowed_by: by('allow-ingress') } },
  { name: 'redirected to Envoy: allowed by its L7 rules', record: { ingress: { ...allow, action: 5 } }, flow: { ingress_allowed_by: by('allow-ingress') } },
  {
    name: 'dropped by a deny rule at the source', record: { event: 5, reason: 181, direction: 2, egress: deny, observation_point: 0 },
    flow: { verdict: 2, drop_reason: 181, drop_reason_desc: 181, event_type: { type: 1, sub_type: 181 }, traffic_direction: 2, egress_denied_by: by('deny-egress'), policy_log: ['audit me'] },
  },
  {
    name: 'dropped by default deny at the destination', record: { event: 5, reason: 133, egress: allow, ingress: defaultDeny },
    flow: { verdict: 2, drop_reason_desc: 133, egress_allowed_by: by('allow-egress'), ingress_denied_by: by('deny-ingress') },
  },
  {
    name: 'audited: passed, and would be denied', record: { event: 6, live: 1, reason: 133, ingress: defaultDeny },
    flow: { verdict: 4, event_type: { type: 5, sub_type: 133 }, ingress_denied_by: by('deny-ingress'), Summary: 'TCP Flags: SYN; forwarded, would be denied' },
  },
  {
    name: 'audited: dropped, and would be allowed', record: { event: 6, live: 5, reason: 0, ingress: allow },
    flow: { verdict: 4, event_type: { type: 5, sub_type: 0 }, ingress_allowed_by: by('allow-ingress'), Summary: 'TCP Flags: SYN; dropped, would be allowed' },
  },
  { name: 'a direction that no policy covers names none', record: { egress: { ...allow, policy: 0 } }, flow: {} },
  { name: 'UDP', record: { protocol: 17, tcp_flags: 0 }, flow: { l4: { UDP: { source_port: 40_000, destination_port: 80 } }, Summary: 'UDP' } },
  { name: 'SCTP', record: { protocol: 132, tcp_flags: 0 }, flow: { l4: { SCTP: { source_port: 40_000, destination_port: 80 } }, Summary: 'SCTP' } },
  { name: 'ICMP: type in dport, code in sport', record: { protocol: 1, sport: 3, dport: 3 }, flow: { l4: { ICMPv4: { type: 3, code: 3 } }, Summary: 'ICMPv4 DestinationUnreachable(Port)' } },
  { name: 'ICMPv6 over IPv6', record: { protocol: 58, sport: 0, dport: 128, saddr: { word: v6(0xfd00, 0, 0, 0, 0, 0, 0, 1) } }, flow: { l4: { ICMPv6: { type: 128, code: 0 } }, Summary: 'ICMPv6 EchoRequest', IP: { source: 'fd00::1', destination: '10.0.0.2', ipVersion: 2 } } },
  { name: 'another protocol', record: { protocol: 47 }, flow: { Summary: '' } },
  { name: 'an identity that changed since: its own labels, the name of the endpoint', record: { destination_identity: 1009 }, flow: { destination: { ID: 5, identity: 1009, namespace: 'shop', pod_name: 'web', labels: ['k8s:id=1009'], workloads: [{ name: 'web', kind: 'Deployment' }], cluster_name: 'default' } } },
];

describe('toFlow', () => {
  test.each(records)('$name', ({ record, flow }) => {
    const made = toFlow(recordOf(record), lookups, 1);
    expect(made).toMatchObject(flow);
    expect(made.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(flowMessage.decode(encode(flowMessage, made))).toMatchObject({ Summary: flow.Summary ?? expect.anything() });
    if (record.egress === undefined && record.ingress === undefined) expect(Object.keys(made).filter((key) => key.endsWith('ed_by'))).toEqual([]);
  });

  test('uuids differ', () => {
    expect(new Set(Array.from({ length: 1000 }, (_, number) => toFlow(recordOf(), lookups, number).uuid)).size).toBe(1000);
  });
});

describe('ipText', () => {
  test.each([
    [v6(0, 0, 0, 0, 0, 0, 0, 0), '::'], [v6(0, 0, 0, 0, 0, 0, 0, 1), '::1'], [v6(0xfd00, 0, 0, 1, 0, 0, 0, 1), 'fd00:0:0:1::1'],
    [v6(1, 0, 2, 3, 4, 5, 6, 7), '1:0:2:3:4:5:6:7'], [v6(0xfe80, 0, 0, 0, 0, 0, 0, 0), 'fe80::'], [ip4(255, 0, 0, 1), '255.0.0.1'],
  ])('%#: %s', (word, text) => { expect(ipText(word).text).toBe(text); });
});
