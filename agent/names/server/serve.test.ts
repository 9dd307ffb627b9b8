// The name server as a process, over real sockets: UDP and TCP, sizes, what is no question, files that change, upstream, load.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import packet, { type DecodedPacket } from 'dns-packet';
import { NamesFolder } from '../folder.ts';
import { answerTo } from './answer.ts';
import { NameServer } from './serve.ts';
import { framed, Upstream } from './upstream.ts';
import { Zone } from './zone.ts';
import type { NameRow } from './rows.ts';

const host = '127.0.0.1';
const waitMs = 10_000;
const settings = { domain: 'cluster.local', ranges: ['10.0.0.0/8'], upstreams: [] };
type Told = DecodedPacket & { rcode: string; flag_tc: boolean; flag_aa: boolean; flag_ra: boolean };

const query = (name: string, type: string, more: object = {}): Buffer => packet.encode({ type: 'query', id: 4711, flags: 0x100, questions: [{ name, type: type as 'A' }], ...more });

function overUdp(port: number, bytes: Buffer, timeoutMs = 3_000): Promise<Buffer | undefined> {
  return new Promise((done) => {
    const socket = createSocket('udp4');
    const end = (answer?: Buffer): void => {
      clearTimeout(timer);
      socket.close();
      done(answer);
    };
    const timer = setTimeout(end, timeoutMs);
    socket.once('message', (answer) => { end(answer); });
    socket.send(bytes, port, host);
  });
}

/** All questions at once on one connection. */
function overTcp(port: number, questions: readonly Buffer[]): Promise<Buffer[]> {
  return new Promise((done, fail) => {
    const socket = connect({ host, port }, () => { socket.write(Buffer.concat(questions.map(framed))); });
    let got = Buffer.alloc(0);
    const all: Buffer[] = [];
    socket.on('error', fail);
    socket.on('data', (data) => {
      got = Buffer.concat([got, data]);
      for (; got.length >= 2 && got.length >= 2 + got.readUInt16BE(0); got = got.subarray(2 + got.readUInt16BE(0))) all.push(got.subarray(2, 2 + got.readUInt16BE(0)));
      if (all.length < questions.length) return;
      socket.destroy();
      done(all);
    });
  });
}

const ask = async (port: number, name: string, type: string, more: object = {}): Promise<Told> => packet.decode((await overUdp(port, query(name, type, more)))!) as Told;

describe('the process', () => {
  const path = mkdtempSync(join(tmpdir(), 'names-'));
  const folder = new NamesFolder(path);
  const many = Array.from({ length: 200 }, (_, index) => `10.2.0.${index + 1}`);
  const services = Array.from({ length: 10_000 }, (_, index): NameRow => (
    { key: `ns${index % 10}/s${index}`, service: { clusterIps: [`10.96.${index >> 8}.${index & 255}`], ports: [{ name: 'http', protocol: 'TCP', port: 80 }], endpoints: [] } }));
  let child: ChildProcess;
  let port: number;

  const edns = (udpPayloadSize: number, ednsVersion = 0): object => ({ additionals: [{ type: 'OPT', name: '.', udpPayloadSize, extendedRcode: 0, ednsVersion, flags: 0, flag_do: false, options: [] }] });
  const until = async (name: string, rcode: string): Promise<void> => {
    for (const end = performance.now() + waitMs; (await ask(port, name, 'A')).rcode !== rcode; await sleep(20)) if (performance.now() > end) throw new Error(`${name} is never ${rcode}`);
  };

  beforeAll(async () => {
    folder.settings(settings);
    folder.write([...services, { key: 'big/pods', workloads: many }].map((row) => [row.key, row]));
    child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(new URL('main.ts', import.meta.url)), path, '0', host], { stdio: ['ignore', 'pipe', 'inherit'] });
    port = await new Promise<number>((ready) => {
      let text = '';
      child.stdout!.on('data', (data: Buffer) => {
        text += data.toString();
        const found = /answers on port (\d+): 10001 names/.exec(text);
        if (found !== null) ready(Number(found[1]));
      });
    });
  }, 30_000);
  afterAll(() => {
    child.kill('SIGTERM');
    rmSync(path, { recursive: true });
  });

  test('answers over UDP, with authority', async () => {
    expect(await ask(port, 's300.ns0.svc.cluster.local', 'A')).toMatchObject({ id: 4711, rcode: 'NOERROR', flag_aa: true, flag_ra: true, answers: [{ type: 'A', data: '10.96.1.44', ttl: 5 }] });
  });

  test.each([
    { name: 'no EDNS', more: {}, answers: 0, cut: true, opt: 0 },
    { name: '512 by EDNS', more: edns(512), answers: 0, cut: true, opt: 1 },
    { name: '4096 by EDNS: never more than 1232', more: edns(4096), answers: 0, cut: true, opt: 1 },
  ])('200 addresses over UDP, $name: cut', async ({ more, answers, cut, opt }) => {
    const told = await ask(port, 'pods.big.svc.cluster.local', 'A', more);
    expect([told.answers!.length, told.flag_tc, told.additionals!.length]).toEqual([answers, cut, opt]);
  });

  test('EDNS makes room for what fits into 1232', async () => {
    folder.write([['big/fifty', { key: 'big/fifty', workloads: many.slice(0, 50) }]]);
    await until('fifty.big.svc.cluster.local', 'NOERROR');
    expect((await ask(port, 'fifty.big.svc.cluster.local', 'A')).flag_tc).toBe(true);
    expect((await ask(port, 'fifty.big.svc.cluster.local', 'A', edns(1232))).answers!.length).toBe(50);
  });

  test('an EDNS version that nobody knows', async () => {
    const told = await ask(port, 's1.ns1.svc.cluster.local', 'A', edns(1232, 1));
    expect([told.answers!.length, (told.additionals![0] as unknown as { extendedRcode: number }).extendedRcode]).toEqual([0, 1]);
  });

  test('all of it over TCP, several questions on one connection, in order', async () => {
    const answers = await overTcp(port, [query('pods.big.svc.cluster.local', 'A'), query('s1.ns1.svc.cluster.local', 'A'), query('none.big.svc.cluster.local', 'A')]);
    const told = answers.map((bytes) => packet.decode(bytes) as Told);
    expect(told.map(({ answers: list, rcode, flag_tc: cut }) => [list!.length, rcode, cut])).toEqual([[200, 'NOERROR', false], [1, 'NOERROR', false], [0, 'NXDOMAIN', false]]);
  });

  const valid = query('s1.ns1.svc.cluster.local', 'A');
  const changed = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(valid);
    bytes.writeUInt16BE(value, at);
    return bytes;
  };
  test.each([
    { name: 'half a header', bytes: valid.subarray(0, 11), rcode: undefined },
    { name: 'an answer', bytes: changed(2, 0x8100), rcode: undefined },
    { name: 'another opcode', bytes: changed(2, 0x2100), rcode: 'NOTIMP' },
    { name: 'no question', bytes: changed(4, 0), rcode: 'FORMERR' },
    { name: 'two questions', bytes: changed(4, 2), rcode: 'FORMERR' },
    { name: 'half a question', bytes: valid.subarray(0, 20), rcode: 'FORMERR' },
    { name: 'a name that points to itself', bytes: Buffer.concat([valid.subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]), rcode: 'FORMERR' },
  ])('$name: $rcode', async ({ bytes, rcode }) => {
    const answer = await overUdp(port, bytes, rcode === undefined ? 200 : 3_000);
    expect(answer === undefined ? undefined : (packet.decode(answer) as Told).rcode).toBe(rcode);
  });

  test('nobody to ask: SERVFAIL', async () => { expect((await ask(port, 'example.com', 'A')).rcode).toBe('SERVFAIL'); });

  test('a row that changes, comes and goes', async () => {
    folder.write([['new/one', { key: 'new/one', workloads: ['10.3.0.1'] }]]);
    await until('one.new.svc.cluster.local', 'NOERROR');
    folder.write([['new/one', undefined]]);
    await until('one.new.svc.cluster.local', 'NXDOMAIN');
    expect((await ask(port, 's300.ns0.svc.cluster.local', 'A')).rcode).toBe('NOERROR');
  });

  test('5,000 questions a second for 3 seconds are answered; what the kernel drops is asked again, as a resolver does', async () => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
    const open = new Set(Array.from({ length: 15_000 }, (_, index) => index));
    socket.on('message', (bytes) => { open.delete(bytes.readUInt16BE(0)); });
    await new Promise<void>((done) => { socket.connect(port, host, done); });
    for (let round = 0; open.size > 0 && round < 3; round += 1) {
      const ids = [...open];
      const begunMs = performance.now();
      for (let sent = 0; sent < ids.length; await sleep(1)) {
        for (const due = Math.min(ids.length, (performance.now() - begunMs) * 5); sent < due; sent += 1) socket.send(query(`s${ids[sent]! % 10_000}.ns${ids[sent]! % 10}.svc.cluster.local`, 'A', { id: ids[sent]! }));
      }
      for (const end = performance.now() + 1_000; open.size > 0 && performance.now() < end;) await sleep(20);
    }
    socket.close();
    expect(open.size).toBe(0);
  }, 60_000);
});

describe('questions for others', () => {
  let resolver: Socket;
  let tcp: Server;
  let server: NameServer;
  const seen: { port: number; id: number; name: string }[] = [];
  const upstreamPort = (): number => resolver.address().port;

  /** `silent.*` is not answered, `forged.*` from elsewhere first, `long.*` cut over UDP. */
  const answer = (bytes: Buffer, whole: boolean): Buffer => {
    const { id, questions } = packet.decode(bytes) as Told;
    const { name } = questions![0]!;
    const cut = name.startsWith('long.') && !whole;
    return packet.encode({ type: 'response', id: id!, flags: 0x8180 | (cut ? 0x200 : 0), questions: questions!, answers: cut ? [] : [{ type: 'A', name, ttl: 60, data: '192.0.2.1' }] });
  };

  beforeAll(async () => {
    resolver = createSocket('udp4');
    await new Promise<void>((done) => { resolver.bind(0, host, done); });
    resolver.on('message', (bytes, peer) => {
      const { id, questions } = packet.decode(bytes) as Told;
      const { name } = questions![0]!;
      seen.push({ port: peer.port, id: id!, name });
      if (name.startsWith('silent.')) return;
      if (name.startsWith('forged.')) {
        const wrong = answer(bytes, true);
        wrong.writeUInt16BE((id! + 1) & 0xffff, 0);
        resolver.send(wrong, peer.port, peer.address);
      }
      resolver.send(answer(bytes, false), peer.port, peer.address);
    });
    tcp = createServer((socket) => { socket.on('data', (data) => { socket.end(framed(answer(data.subarray(2), true))); }); });
    await new Promise<void>((done) => { tcp.listen(upstreamPort(), host, done); });
    const zone = new Zone('cluster.local');
    zone.set({ key: 'shop/outer', service: { clusterIps: [], externalName: 'far.example', ports: [], endpoints: [] } });
    zone.set({ key: 'shop/long', service: { clusterIps: [], externalName: 'long.example', ports: [], endpoints: [] } });
    zone.set({ key: 'shop/dead', service: { clusterIps: [], externalName: 'silent.example', ports: [], endpoints: [] } });
    const upstream = new Upstream(upstreamPort());
    upstream.use([host]);
    server = new NameServer({ port: 0, address: host, upstream, answer: ({ question }) => answerTo(zone, question, 0, () => false) });
    await server.listen();
  });
  afterAll(() => {
    server.close();
    resolver.close();
    tcp.close();
  });

  test('are passed on and back, under the id of the question, each from a port of its own', async () => {
    const [one, two] = await Promise.all([ask(server.port, 'a.example', 'A'), ask(server.port, 'b.example', 'A')]);
    expect([one, two].map(({ id, rcode, answers, flag_aa: own }) => [id, rcode, answers!.length, own])).toEqual([[4711, 'NOERROR', 1, false], [4711, 'NOERROR', 1, false]]);
    expect(new Set(seen.map(({ port }) => port)).size).toBe(seen.length);
  });
  test('a forged answer is not heard', async () => { expect((await ask(server.port, 'forged.example', 'A')).answers).toMatchObject([{ data: '192.0.2.1' }]); });
  test('a cut answer stays cut; over TCP it is whole', async () => {
    expect((await ask(server.port, 'long.example', 'A')).flag_tc).toBe(true);
    expect((packet.decode((await overTcp(server.port, [query('long.example', 'A')]))[0]!) as Told).answers!.length).toBe(1);
  });
  test('silence is SERVFAIL', async () => {
    expect((packet.decode((await overUdp(server.port, query('silent.example', 'A'), 5_000))!) as Told).rcode).toBe('SERVFAIL');
    expect(server.counts.failed).toBe(1);
  });
  test.each([
    { name: 'outer', rcode: 'NOERROR', answers: ['far.example', '192.0.2.1'] }, { name: 'long', rcode: 'NOERROR', answers: ['long.example', '192.0.2.1'] }, { name: 'dead', rcode: 'SERVFAIL', answers: ['silent.example'] },
  ])('an ExternalName is followed: $name', async ({ name, rcode, answers }) => {
    const told = packet.decode((await overUdp(server.port, query(`${name}.shop.svc.cluster.local`, 'A'), 5_000))!) as Told;
    expect([told.rcode, told.answers!.map((one) => (one as { data: string }).data)]).toEqual([rcode, answers]);
  });
});
