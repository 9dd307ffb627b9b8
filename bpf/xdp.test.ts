// Packet tables of xdp_netdev: connections of clients outside to backends on other nodes, in both families. Each frame goes through the tc
// programs first, which open and judge; what XDP then makes of the next one must be what they make of it.
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { testRunXdp } from '../agent/kernel/bpf.ts';
import { frontend_flag, frontend_scope, ipcache_flag } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { cut } from './testing/fragments.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol, type Fields, type Frame } from './testing/packet.ts';
import { Services } from './testing/services.ts';

const other = { ipv4: '198.51.100.3', ipv6: '2001:db8:51::3' };
const router = '02:00:00:00:00:99';
const action = { pass: 2, transmit: 3, redirect: 4 } as const;
const families = [
  { family: 'IPv4', key: 'ipv4', client: '203.0.113.9', remote: '10.0.1.1', bits: 32 },
  { family: 'IPv6', key: 'ipv6', client: '2001:db8:9::9', remote: 'fd00:0:0:1::1', bits: 128 },
] as const;
type Family = (typeof families)[number];
const kinds = [
  { kind: 'TCP', number: protocol.tcp, open: (base: Frame, from: number, to: number) => base.tcp(from, to, 'S'), answer: (base: Frame, from: number, to: number) => base.tcp(from, to, 'SA'), talk: (base: Frame, from: number, to: number) => base.tcp(from, to, 'PA', 'hello') },
  { kind: 'UDP', number: protocol.udp, open: (base: Frame, from: number, to: number) => base.udp(from, to, 'hello'), answer: (base: Frame, from: number, to: number) => base.udp(from, to, 'hello'), talk: (base: Frame, from: number, to: number) => base.udp(from, to, 'hello') },
] as const;
type Kind = (typeof kinds)[number];
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, k })));
const [snatPort, dsrPort] = [30_080, 30_081];

let bench: Bench;
let outside: Outside;
let port = 20_000;
beforeAll(() => {
  outside = new Outside('xdp');
  bench = new Bench();
  const services = new Services(bench);
  bench.netdev(here, node);
  bench.prefix('0.0.0.0/0', 9);
  bench.prefix('::/0', 10);
  for (const f of families) {
    outside.within(() => { execFileSync('ip', ['neigh', 'add', f.key === 'ipv4' ? '198.51.100.1' : '2001:db8:51::1', 'lladdr', router, 'dev', 'out']); });
    bench.prefix(`${f.remote}/${f.bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, node: other.ipv4 });
    bench.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
    for (const { number } of kinds) {
      for (const to of [snatPort, dsrPort]) {
        services.put({ address: node[f.key], port: to, protocol: number, scope: frontend_scope.SCOPE_EXTERNAL, flags: to === dsrPort ? frontend_flag.FRONTEND_DSR : 0, backends: [{ address: f.remote, port: 8080 }] });
      }
    }
  }
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  bench.datapath.overlays.set(0, { ifindex: 0, port: 0 });
});

const tc = (bytes: Uint8Array): Outcome => outside.within(() => bench.run('from_netdev', bytes));
const xdp = (bytes: Uint8Array) => outside.within(() => testRunXdp(bench.datapath.object.programs.get('xdp_netdev')!, bytes));
const asked = (f: Family): Frame => frame().mac(router).ip(f.client, node[f.key]);
/** MAC addresses are written by bpf_redirect_neigh after a tc program. */
const routed = ({ source, destination, sport, dport, ttl }: Fields) => ({ source, destination, sport, dport, ttl });

/** An established connection; the port that it has towards the backend. */
function established(f: Family, k: Kind, to: number = snatPort): number {
  const { sport } = fieldsOf(tc(k.open(asked(f), port, to).bytes()).packet);
  if (to === snatPort) tc(k.answer(frame().mac(router).ip(f.remote, node[f.key]), 8080, sport).bytes());
  else tc(k.talk(asked(f), port, to).bytes());
  return sport;
}

describe('an established connection', () => {
  test.each(table)('$name: from the client as by tc, one hop less, checksums right, to the next hop\'s MAC address', ({ f, k }) => {
    established(f, k);
    const bytes = k.talk(asked(f), port, snatPort).bytes();
    const { result, packet } = xdp(bytes);
    expect([result, routed(fieldsOf(packet)), checksumsHold(packet)]).toEqual([action.redirect, routed(fieldsOf(tc(bytes).packet)), true]);
    expect([fieldsOf(packet).source, fieldsOf(packet).destination, fieldsOf(packet).ttl, fieldsOf(packet).dmac]).toEqual([node[f.key], f.remote, 63, '020000000099']);
  });

  test.each(table)('$name: from the backend as by tc', ({ f, k }) => {
    const seen = established(f, k);
    const bytes = k.talk(frame().mac(router).ip(f.remote, node[f.key]), 8080, seen).bytes();
    const { result, packet } = xdp(bytes);
    expect([result, routed(fieldsOf(packet)), checksumsHold(packet)]).toEqual([action.redirect, routed(fieldsOf(tc(bytes).packet)), true]);
    expect([fieldsOf(packet).source, fieldsOf(packet).sport, fieldsOf(packet).destination, fieldsOf(packet).dport]).toEqual([node[f.key], snatPort, f.client, port]);
  });

  test.each(families)('$family TCP with DSR: under the client\'s own address', (f) => {
    established(f, kinds[0], dsrPort);
    const { result, packet } = xdp(kinds[0].talk(asked(f), port, dsrPort).bytes());
    expect([result, fieldsOf(packet).source, fieldsOf(packet).sport, fieldsOf(packet).destination, checksumsHold(packet)]).toEqual([action.redirect, f.client, port, f.remote, true]);
  });

  test.each(table)('$name: is counted', ({ f, k }) => {
    established(f, k);
    const packets = (): bigint => bench.datapath.conntrack.entries().find(([key]) => Buffer.from(key.port).includes(Buffer.from([port >> 8, port & 255])))![1].packets;
    const before = packets();
    xdp(k.talk(asked(f), port, snatPort).bytes());
    expect(packets() - before).toBe(1n);
  });

  test('IPv4: a UDP checksum of zero stays zero', () => {
    established(families[0], kinds[1]);
    const head = Buffer.alloc(8);
    [port, snatPort, 8].forEach((value, index) => head.writeUInt16BE(value, index * 2));
    const { result, packet } = xdp(asked(families[0]).raw(protocol.udp, head).bytes());
    expect([result, fieldsOf(packet).destination, Buffer.from(packet).readUInt16BE(40)]).toEqual([action.redirect, families[0].remote, 0]);
  });
});

describe('goes on to tc, untouched', () => {
  const rows: readonly { name: string; before?: boolean; prepare?: () => void; build: (f: Family, k: Kind) => Uint8Array; only?: 'TCP' | 'UDP' }[] = [
    { name: 'a connection that nobody opened', before: false, build: (f, k) => k.talk(asked(f), port, snatPort).bytes() },
    { name: 'a SYN', build: (f) => asked(f).tcp(port, snatPort, 'S').bytes(), only: 'TCP' },
    { name: 'a FIN', build: (f) => asked(f).tcp(port, snatPort, 'FA').bytes(), only: 'TCP' },
    { name: 'a RST', build: (f) => asked(f).tcp(port, snatPort, 'R').bytes(), only: 'TCP' },
    { name: 'a piece', build: (f) => cut(asked(f).udp(port, snatPort, 'x'.repeat(64)).bytes(), [24], 9)[0]!, only: 'UDP' },
    { name: 'the last hop', build: (f, k) => k.talk(f.key === 'ipv4' ? frame().mac(router).ipv4(f.client, node.ipv4, { ttl: 1 }) : frame().mac(router).ipv6(f.client, node.ipv6, { ttl: 1 }), port, snatPort).bytes() },
    { name: 'a tagged frame', build: (f, k) => k.talk(asked(f).vlan(5), port, snatPort).bytes() },
    { name: 'a connection judged in another generation', prepare: () => { bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 }); }, build: (f, k) => k.talk(asked(f), port, snatPort).bytes() },
    { name: 'with tunnels', prepare: () => { bench.datapath.overlays.set(0, { ifindex: 5_000, port: 8472 }); }, build: (f, k) => k.talk(asked(f), port, snatPort).bytes() },
  ];
  test.each(table.flatMap((row) => rows.filter(({ only }) => only === undefined || only === row.k.kind).map((one) => ({ ...row, ...one, title: `${row.name}: ${one.name}` }))))('$title', ({ f, k, before = true, prepare, build }) => {
    if (before) established(f, k);
    prepare?.();
    const bytes = build(f, k);
    const { result, packet } = xdp(bytes);
    expect([result, packet]).toEqual([action.pass, bytes]);
  });

  test.each(table)('$name: truncated at every byte, is whole again or untouched', ({ f, k }) => {
    established(f, k);
    const bytes = k.talk(asked(f), port, snatPort).bytes();
    const least = (f.key === 'ipv4' ? 34 : 54) + (k.kind === 'TCP' ? 20 : 8);
    for (let length = 14; length <= bytes.length; length += 1) {
      const { result, packet } = xdp(bytes.subarray(0, length));
      expect([length, result]).toEqual([length, length < least ? action.pass : action.redirect]);
      if (result === action.pass) expect(packet).toEqual(bytes.subarray(0, length));
    }
  });
});
