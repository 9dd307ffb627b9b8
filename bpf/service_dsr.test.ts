// Packet tables of direct server return, in both families: one datapath is the node that a client asked, another the backend's, which
// answers. What leaves the first goes into the second as it is.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ct_state, drop_reason, frontend_flag, frontend_scope, ipcache_flag, limit } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { cut } from './testing/fragments.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, type Frame } from './testing/packet.ts';
import { kinds, Services, type Kind } from './testing/services.ts';

const b = { ipv4: '10.0.1.1', ipv6: 'fd00:0:0:1::1', mac: '02:00:00:00:00:02' };
const own = { ipv4: '198.51.100.3', ipv6: '2001:db8:51::3' };
const router = '02:00:00:00:00:99';
const families = [
  { family: 'IPv4', key: 'ipv4', client: '203.0.113.9', bits: 32, option: 8 },
  { family: 'IPv6', key: 'ipv6', client: '2001:db8:9::9', bits: 128, option: 24 },
] as const;
type Family = (typeof families)[number];
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, k })));
const nodePort = 30_080;

let asked: Bench;
let answers: Bench;
let services: Services;
let outside: Outside;
let port = 20_000;
beforeAll(() => {
  outside = new Outside('dsr');
  asked = new Bench();
  answers = new Bench();
  services = new Services(asked);
  asked.netdev(here, node);
  answers.netdev(outside.device, own);
  answers.endpoint({ ifindex: here, ...b, identity: 700 });
  for (const bench of [asked, answers]) {
    bench.prefix('0.0.0.0/0', 9);
    bench.prefix('::/0', 10);
  }
  for (const f of families) {
    asked.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
    asked.prefix(`${b[f.key]}/${f.bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, node: own.ipv4 });
    answers.prefix(`${node[f.key]}/${f.bits}`, 6, { flags: ipcache_flag.IPCACHE_REMOTE, node: node.ipv4 });
    for (const { number, port: to } of kinds) {
      services.put({ address: node[f.key], port: nodePort, protocol: number, scope: frontend_scope.SCOPE_EXTERNAL, flags: frontend_flag.FRONTEND_DSR, backends: [{ address: b[f.key], port: to }] });
    }
  }
});
afterAll(() => {
  asked.close();
  answers.close();
  outside.close();
});
beforeEach(() => { port += 1; });

const fromClient = (f: Family): Frame => frame().mac(router).ip(f.client, node[f.key]);
const opened = (f: Family, k: Kind): Uint8Array => k.open(fromClient(f), port, nodePort).bytes();
const ask = (bytes: Uint8Array): Outcome => outside.within(() => asked.run('from_netdev', bytes));
const come = (bytes: Uint8Array): Outcome => outside.within(() => answers.run('from_netdev', bytes));
const leave = (bytes: Uint8Array): Outcome => outside.within(() => answers.run('from_workload', bytes));
const seen = (bytes: Uint8Array) => { const { source, sport, destination, dport } = fieldsOf(bytes); return [source, sport, destination, dport]; };
const inRange = (value: number): boolean => value >= limit.NAT_PORT_FIRST && value < limit.NAT_PORT_FIRST + limit.NAT_PORT_COUNT;

describe('the node that was asked', () => {
  test.each(table)('$name: sends it on under the client\'s address, with the frontend in an option', ({ f, k }) => {
    const bytes = opened(f, k);
    const { verdict, packet } = ask(bytes);
    expect([verdict, packet.length]).toEqual(['redirect', bytes.length + f.option]);
    if (f.key === 'ipv4') expect([seen(packet), checksumsHold(packet)]).toEqual([[f.client, port, b.ipv4, k.port], true]);
  });

  test.each(families)('$family TCP: what follows has no option, and its row is one of an established connection', (f) => {
    ask(opened(f, kinds[0]));
    const bytes = fromClient(f).tcp(port, nodePort, 'A', 'hello').bytes();
    const { verdict, packet } = ask(bytes);
    expect([verdict, packet.length, seen(packet), checksumsHold(packet)]).toEqual(['redirect', bytes.length, [f.client, port, b[f.key], 8080], true]);
    const [entry] = asked.datapath.conntrack.entries().filter(([key]) => Buffer.from(key.port).includes(Buffer.from([port >> 8, port & 255]))).map(([, row]) => row);
    expect(entry?.state).toBe(ct_state.CT_ESTABLISHED);
  });

  const masqueraded: readonly { name: string; frames: (f: Family) => Uint8Array[] }[] = [
    { name: 'a first datagram in pieces', frames: (f) => cut(fromClient(f).udp(port, nodePort, 'x'.repeat(64)).bytes(), [24], port) },
    { name: 'a first datagram that is too long', frames: (f) => [fromClient(f).udp(port, nodePort, 'x'.repeat(1400)).bytes()] },
  ];
  test.each(families.flatMap((f) => masqueraded.map((row) => ({ ...row, title: `${f.family}: ${row.name} is masqueraded`, f }))))('$title', ({ f, frames }) => {
    const [first] = frames(f).map(ask);
    const at = f.key === 'ipv4' ? 34 : Buffer.from(first!.packet).readUInt8(20) === 44 ? 62 : 54;
    expect([first!.verdict, fieldsOf(first!.packet).source, inRange(Buffer.from(first!.packet).readUInt16BE(at))]).toEqual(['redirect', node[f.key], true]);
  });
});

describe('the backend\'s node', () => {
  test.each(table)('$name: takes the option off and hands it to the backend; the flow is one from the world', ({ f, k }) => {
    const { packet } = ask(opened(f, k));
    const got = come(packet);
    expect([got.verdict, got.packet.length, seen(got.packet), checksumsHold(got.packet)]).toEqual(['redirect', opened(f, k).length, [f.client, port, b[f.key], k.port], true]);
    expect(got.records.map((record) => [record.source_identity, record.destination_identity])).toEqual([[f.key === 'ipv4' ? 9 : 10, 700]]);
  });

  test.each(table)('$name: answers from the frontend, unmasqueraded', ({ f, k }) => {
    come(ask(opened(f, k)).packet);
    const answer = leave(k.talk(frame().mac(b.mac).ip(b[f.key], f.client), k.port, port).bytes());
    expect([answer.verdict, seen(answer.packet), checksumsHold(answer.packet)]).toEqual(['redirect', [node[f.key], nodePort, f.client, port], true]);
  });

  test.each(families)('$family TCP: knows what follows without the option', (f) => {
    come(ask(opened(f, kinds[0])).packet);
    const got = come(ask(fromClient(f).tcp(port, nodePort, 'A', 'hello').bytes()).packet);
    expect([got.verdict, seen(got.packet)]).toEqual(['redirect', [f.client, port, b[f.key], 8080]]);
  });

  test.each(families)('$family: truncated at every byte, nothing is handed on that still has the option', (f) => {
    const { packet } = ask(opened(f, kinds[1]));
    for (let length = f.key === 'ipv6' ? 54 : 34; length < packet.length; length += 1) {
      const got = come(packet.subarray(0, length));
      if (got.verdict === 'redirect') expect([length, got.packet.length]).toEqual([length, length - f.option]);
    }
  });

  test.each(families)('$family: answers under no address that is no frontend', (f) => {
    const { packet } = ask(opened(f, kinds[1]));
    answers.prefix(`${node[f.key]}/${f.bits}`, 9);
    const got = come(packet);
    answers.prefix(`${node[f.key]}/${f.bits}`, 6, { flags: ipcache_flag.IPCACHE_REMOTE, node: node.ipv4 });
    expect([got.verdict, got.records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_UNKNOWN_SENDER]);
  });

  test.each(table)('$name: leaves a client\'s packet without the option to the host', ({ f, k }) => {
    const bytes = k.open(frame().mac(router).ip(f.client, b[f.key]), port, k.port).bytes();
    const { verdict, packet } = come(bytes);
    expect([verdict, packet]).toEqual(['next', bytes]);
  });
});
