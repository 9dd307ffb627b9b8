// Everything an agent serves beside flows, over real sockets and real TLS: peers, health, reflection, agent events, listeners.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor.js';
import type { TlsFiles } from './certificates.ts';
import { Certificates } from './certificates.ts';
import type { Listen } from './listen.ts';
import { Observer } from './observer.ts';
import { serverNameOf } from './peer.ts';
import { healthService, observerService, peerService, reflectionServices } from './proto.ts';
import { serveHubble, type Served, type Serving } from './serve.ts';
import { servedOf } from './testing.ts';
import { TestCa } from './testing-certificates.ts';
import type { ChangeNotification, GetAgentEventsResponse, GetEventsRequest, GetNodesResponse, ReflectionRequest, ReflectionResponse, ServerStatusResponse } from './types.ts';

const startMs = 1_700_000_000_000;

let folder: string;
let served: Served;
let serving: Serving | undefined;
let nowMs: number;
const clients: grpc.Client[] = [];
const lines: string[] = [];

async function start(listen?: Listen): Promise<void> {
  nowMs = startMs;
  served = servedOf(new Observer({ capacity: 15, nodeName: 'node1', version: '0.1.0', clock: () => nowMs }));
  serving = await serveHubble(served, { socketPath: join(folder, 'hubble.sock'), ...(listen && { listen }), log: (line) => { lines.push(line); } });
}

beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'serve-')); });
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  serving?.close();
  serving = undefined;
  lines.length = 0;
  rmSync(folder, { recursive: true });
});

function client(address = `unix://${join(folder, 'hubble.sock')}`, credentials = grpc.credentials.createInsecure(), options: grpc.ClientOptions = {}): grpc.Client {
  const made = new grpc.Client(address, credentials, { ...options, 'grpc.use_local_subchannel_pool': 1 });
  clients.push(made);
  return made;
}

interface Method<Response> { readonly path: string; readonly requestSerialize: (request: never) => Buffer; readonly responseDeserialize: (data: Buffer) => Response }

const unary = <Response extends object>(from: grpc.Client, { path, requestSerialize, responseDeserialize }: Method<Response>, request: object = {}): Promise<Response> => new Promise((resolve, reject) => {
  from.makeUnaryRequest<object, Response>(path, requestSerialize as (request: object) => Buffer, responseDeserialize, request, { deadline: Date.now() + 5_000 },
    (error, response) => { if (error) reject(error); else resolve(response!); });
});

/** Reads until there are `count`, or to the end. */
async function stream<Response extends object>({ path, requestSerialize, responseDeserialize }: Method<Response>, request: object, count = Infinity): Promise<Response[]> {
  const call = client().makeServerStreamRequest<object, Response>(path, requestSerialize as (request: object) => Buffer, responseDeserialize, request);
  const got: Response[] = [];
  call.on('error', () => undefined); // the cancelling below
  for await (const response of call) {
    got.push(response as Response);
    if (got.length === count) break;
  }
  call.cancel();
  return got;
}

const plain = (value: object): object => JSON.parse(JSON.stringify(value)) as object;

describe('agent events', () => {
  const at = (seconds: number) => ({ seconds: startMs / 1000 + seconds });
  const rows: { name: string; request: GetEventsRequest; got: number[] }[] = [
    { name: 'everything', request: {}, got: [1, 2, 3, 4, 5] },
    { name: 'the last two', request: { number: 2 }, got: [4, 5] },
    { name: 'the first two', request: { number: 2, first: true }, got: [1, 2] },
    { name: 'since', request: { since: at(4) }, got: [4, 5] },
    { name: 'until', request: { until: at(2) }, got: [1, 2] },
    { name: 'since the future', request: { since: at(99) }, got: [] },
  ];
  const ids = (responses: readonly GetAgentEventsResponse[]): number[] => responses.map(({ agent_event: event }) => Number(event?.endpoint_update?.id));
  const add = (id: number): void => { nowMs = startMs + id * 1_000; served.events.add({ type: 7, endpoint_update: { id } }); };

  test.each(rows)('$name', async ({ request, got }) => {
    await start();
    for (let id = 1; id <= 5; id += 1) add(id);
    expect(ids(await stream(observerService.GetAgentEvents, request))).toEqual(got);
  });

  test('follow: the last one, then what comes', async () => {
    await start();
    for (let id = 1; id <= 5; id += 1) add(id);
    const following = stream(observerService.GetAgentEvents, { follow: true, number: 1 }, 3);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    add(6);
    add(7);
    const got = await following;
    expect(ids(got)).toEqual([5, 6, 7]);
    expect(plain(got[2]!)).toMatchObject({ node_name: 'node1', agent_event: { type: 'ENDPOINT_CREATED' }, time: { seconds: String(startMs / 1000 + 7) } });
  });

  test('only the last 1,023 are kept', async () => {
    await start();
    for (let id = 1; id <= 2_000; id += 1) add(id);
    const got = ids(await stream(observerService.GetAgentEvents, {}));
    expect([got.length, got[0], got.at(-1)]).toEqual([1_023, 978, 2_000]);
  });

  test('debug events: none, and who follows waits for them', async () => {
    await start();
    expect(await stream(observerService.GetDebugEvents, {})).toEqual([]);
    const { path, requestSerialize, responseDeserialize } = observerService.GetDebugEvents;
    const call = client().makeServerStreamRequest(path, requestSerialize, responseDeserialize, { follow: true });
    const ended = new Promise((resolve) => { call.on('error', resolve); call.on('end', resolve); });
    expect(await Promise.race([ended, new Promise((resolve) => { setTimeout(resolve, 100, 'waits'); })])).toBe('waits');
    call.cancel();
    await ended;
  });
});

describe('peers and nodes', () => {
  test('Notify tells who is there, who comes, changes and goes', async () => {
    await start();
    served.peers.set([{ name: 'node1', address: '10.0.0.1:4244', serverName: serverNameOf('node1') }, { name: 'east/a.b', address: 'unix:///x' }]);
    const notified = stream<ChangeNotification>(peerService.Notify, {}, 5);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    served.peers.set([{ name: 'node1', address: '10.0.0.9:4244' }, { name: 'node2', address: '10.0.0.2' }]);
    expect((await notified).map(plain)).toEqual([
      { name: 'node1', address: '10.0.0.1:4244', type: 'PEER_ADDED', tls: { server_name: 'node1.default.hubble-grpc.cilium.io' } },
      { name: 'east/a.b', address: 'unix:///x', type: 'PEER_ADDED' },
      { name: 'east/a.b', address: 'unix:///x', type: 'PEER_DELETED' },
      { name: 'node1', address: '10.0.0.9:4244', type: 'PEER_UPDATED' },
      { name: 'node2', address: '10.0.0.2', type: 'PEER_ADDED' },
    ]);
  });

  test('dots in names are no levels of the server name', () => { expect(serverNameOf('a.b', 'c.d')).toBe('a-b.c-d.hubble-grpc.cilium.io'); });

  test('GetNodes: the agent itself', async () => {
    await start();
    served.peers.set([{ name: 'node1', address: '10.0.0.1:4244', serverName: 'x' }]);
    nowMs += 5_000;
    expect(plain(await unary<GetNodesResponse>(client(), observerService.GetNodes))).toEqual({
      nodes: [{ name: 'node1', version: '0.1.0', address: '10.0.0.1:4244', state: 'NODE_CONNECTED', tls: { enabled: true, server_name: 'x' }, uptime_ns: '5000000000', max_flows: '15' }],
    });
  });
});

describe('health', () => {
  test.each([['observer.Observer', 'SERVING'], ['', 'SERVING'], ['x', 'SERVICE_UNKNOWN']])('Watch %j', async (service, status) => {
    await start();
    expect((await stream(healthService.Watch, { service }, 1)).map(plain)).toEqual([{ status }]);
  });
});

describe('reflection', () => {
  async function ask(version: number, requests: readonly ReflectionRequest[]): Promise<ReflectionResponse[]> {
    const { path, requestSerialize, responseDeserialize } = reflectionServices[version]!.ServerReflectionInfo;
    const call = client().makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    for (const request of requests) call.write(request);
    call.end();
    const got: ReflectionResponse[] = [];
    for await (const response of call) got.push(response as ReflectionResponse);
    return got;
  }
  const namesOf = (response: ReflectionResponse): string[] => (response.file_descriptor_response?.file_descriptor_proto ?? [])
    .map((bytes) => (descriptor.FileDescriptorProto.decode(bytes) as unknown as { name: string }).name);

  test.each([[0, 'v1'], [1, 'v1alpha']])('lists the services (%i, %s)', async (version, name) => {
    await start();
    const [listed] = await ask(version, [{ list_services: '*' }]);
    expect(listed!.list_services_response!.service!.map((service) => service.name)).toEqual(
      ['grpc.health.v1.Health', `grpc.reflection.${name}.ServerReflection`, 'observer.Observer', 'peer.Peer'],
    );
  });

  test.each([
    ['observer.Observer', 'observer/observer.proto'], ['observer.Observer.GetFlows', 'observer/observer.proto'], ['flow.FlowFilter.Experimental', 'flow/filter.proto'],
    ['google.protobuf.Timestamp', 'google/protobuf/timestamp.proto'], ['peer.Peer', 'peer/peer.proto'],
  ])('%s stands in %s', async (symbol, file) => {
    await start();
    const [byName, bySymbol] = await ask(0, [{ file_by_filename: file }, { file_containing_symbol: symbol }]);
    expect(namesOf(bySymbol!)[0]).toBe(file);
    expect(namesOf(byName!)).toEqual(namesOf(bySymbol!));
  });

  test('a client that knows nothing else reads a flow with what it was given', async () => {
    await start();
    const [response] = await ask(0, [{ file_containing_symbol: 'observer.Observer' }]);
    const file = response!.file_descriptor_response!.file_descriptor_proto!.map((bytes) => descriptor.FileDescriptorProto.decode(bytes));
    const learnt = protobuf.Root.fromDescriptor({ file } as never, { keepCase: true }).resolveAll();
    const bytes = observerService.GetFlows.responseSerialize({ flow: { verdict: 2, source: { pod_name: 'a' }, is_reply: { value: true } } });
    expect(plain(learnt.lookupType('observer.GetFlowsResponse').decode(bytes))).toEqual({ flow: { verdict: 'DROPPED', source: { pod_name: 'a' }, is_reply: { value: true } } });
  });

  test.each<[string, ReflectionRequest]>([['a file', { file_by_filename: '../package.json' }], ['a symbol', { file_containing_symbol: 'no.Such' }], ['an extension', { all_extension_numbers_of_type: 'flow.Flow' }]])('%s that is not there', async (_, request) => {
    await start();
    expect((await ask(0, [request]))[0]!.error_response).toMatchObject({ error_code: grpc.status.NOT_FOUND });
  });
});

describe('TCP', () => {
  const serverName = serverNameOf('node1');
  const status = async (credentials: grpc.ChannelCredentials): Promise<ServerStatusResponse> =>
    unary(client(`127.0.0.1:${serving!.port}`, credentials, { 'grpc.ssl_target_name_override': serverName }), observerService.ServerStatus);
  const withFiles = (files: TlsFiles): grpc.ChannelCredentials => {
    const certificates = new Certificates(files, () => undefined);
    certificates.close(); // read once
    return certificates.client();
  };

  test.each<{ name: string; listen: Listen; says: RegExp }>([
    { name: 'plaintext', listen: { address: '127.0.0.1:0' }, says: /only over TLS/ },
    { name: 'plaintext beyond loopback', listen: { address: ':0', insecure: true }, says: /only on loopback/ },
    { name: 'TLS without a CA for the clients', listen: { address: ':0', tls: { certificate: 'a', key: 'b' } }, says: /missing: ca/ },
    { name: 'files that are not there', listen: { address: ':0', tls: { certificate: '/nope', key: '/nope', ca: '/nope' } }, says: /read \/nope: ENOENT/ },
    { name: 'what is no address', listen: { address: 'x' }, says: /x: not an address/ },
  ])('refuses $name', async ({ listen, says }) => {
    await expect(start(listen)).rejects.toThrow(says);
  });

  test('plaintext on loopback, when it is asked for', async () => {
    await start({ address: '127.0.0.1:0', insecure: true });
    expect((await status(grpc.credentials.createInsecure())).version).toBe('0.1.0');
  });

  test('only clients with a certificate of the right CA, which look for the name of the node', async () => {
    const ca = new TestCa(folder);
    await start({ address: '127.0.0.1:0', tls: ca.sign('server', serverName) });
    expect((await status(withFiles(ca.sign('relay', 'relay')))).version).toBe('0.1.0');
    const other = new TestCa(folder, 'other');
    for (const credentials of [withFiles({ ca: ca.certificate }), withFiles({ ...other.sign('stranger', 'relay'), ca: ca.certificate }), grpc.credentials.createInsecure()]) {
      await expect(status(credentials)).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE });
    }
    const wrongName = client(`127.0.0.1:${serving!.port}`, withFiles(ca.sign('relay', 'relay')), { 'grpc.ssl_target_name_override': serverNameOf('node2') });
    await expect(unary(wrongName, observerService.ServerStatus)).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE });
  });

  test('a renewed certificate is taken while streams run; a broken one is told and left', async () => {
    const ca = new TestCa(folder);
    const files = ca.sign('server', serverName);
    const relay = ca.sign('relay', 'relay');
    await start({ address: '127.0.0.1:0', tls: files });
    const following = client(`127.0.0.1:${serving!.port}`, withFiles(relay), { 'grpc.ssl_target_name_override': serverName });
    const { path, requestSerialize, responseDeserialize } = observerService.GetAgentEvents;
    const call = following.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { follow: true });
    const event = new Promise((resolve) => { call.once('data', resolve); });
    call.on('error', () => undefined);
    const serialNow = async (): Promise<string> => new Promise((resolve, reject) => {
      const socket = connectTls({ port: serving!.port!, host: '127.0.0.1', ca: [], rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => { resolve(socket.getPeerCertificate().serialNumber); socket.destroy(); });
      socket.on('error', reject);
    });
    const before = await serialNow();
    ca.sign('server', serverName);
    let after = before;
    for (let turn = 0; turn < 50 && after === before; turn += 1) {
      await new Promise((resolve) => { setTimeout(resolve, 100); });
      after = await serialNow();
    }
    expect(after).not.toBe(before);
    writeFileSync(files.key, 'no key');
    for (let turn = 0; turn < 50 && lines.length === 0; turn += 1) await new Promise((resolve) => { setTimeout(resolve, 100); });
    expect(lines).toEqual([expect.stringContaining('the certificate read before stays')]);
    expect(await serialNow()).toBe(after);
    served.events.add({ type: 2 });
    expect(await event).toMatchObject({ node_name: 'node1' });
    call.cancel();
  });
});
