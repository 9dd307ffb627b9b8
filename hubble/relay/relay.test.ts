// The relay over real sockets: agents come, die, come back and lie; clients get one stream in order and are told what is missing.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { Certificates } from '../certificates.ts';
import { listenUnix } from '../listen.ts';
import { Observer } from '../observer.ts';
import { serverNameOf } from '../peer.ts';
import { healthService, observerService } from '../proto.ts';
import { serveHubble, type Served, type Serving } from '../serve.ts';
import { flowOf, servedOf } from '../testing.ts';
import { TestCa } from '../testing-certificates.ts';
import type { GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, ServerStatusResponse } from '../types.ts';
import { Nodes } from './nodes.ts';
import { relayServer } from './serve.ts';
import { followPeers, parsePeer } from './source.ts';

const quiet = (): void => undefined;
const options = { window: 100, drainMs: 200, errorWindowMs: 100 };

interface Agent { readonly served: Served; serving: Serving }

let folder: string;
let nodes: Nodes;
let client: grpc.Client;
let agents: Map<string, Agent>;
const undo: (() => void)[] = [];

const socketOf = (name: string): string => join(folder, `${name}.sock`);

async function startAgent(name: string, capacity = 10_000): Promise<Agent> {
  const served = agents.get(name)?.served ?? servedOf(new Observer({ capacity, nodeName: name, version: '0.1.0' }));
  const agent = { served, serving: await serveHubble(served, { socketPath: socketOf(name), log: quiet }) };
  agents.set(name, agent);
  return agent;
}

const peerOf = (name: string): ReturnType<typeof parsePeer> => parsePeer(`${name}=unix://${socketOf(name)}`);

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 250 && !holds(); turn += 1) await new Promise((resolve) => { setTimeout(resolve, 20); });
  if (!holds()) throw new Error(`not in time: ${what}`);
}

async function startRelay(names: readonly string[], certificates?: Certificates): Promise<void> {
  nodes = new Nodes({ retryMs: 200, log: quiet, ...(certificates && { certificates }) });
  for (const name of names) nodes.set(peerOf(name));
  const { server, close } = relayServer(nodes, '0.1.0', options);
  const remove = await listenUnix(server, socketOf('relay'));
  client = new grpc.Client(`unix://${socketOf('relay')}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  undo.push(() => { client.close(); nodes.close(); close(); remove(); });
  await until('nodes are connected', () => nodes.list().every(({ connected, peer }) => connected || !agents.has(peer.name)));
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-'));
  agents = new Map();
});
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
  for (const { serving } of agents.values()) serving.close();
  rmSync(folder, { recursive: true });
});

function getFlows(request: GetFlowsRequest): { got: string[]; call: grpc.ClientReadableStream<GetFlowsResponse>; ended: Promise<void> } {
  const { path, requestSerialize, responseDeserialize } = observerService.GetFlows;
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request) as grpc.ClientReadableStream<GetFlowsResponse>;
  const got: string[] = [];
  call.on('data', (response: GetFlowsResponse) => { got.push(textOf(response)); });
  const ended = new Promise<void>((resolve, reject) => { call.on('end', resolve); call.on('error', (error: grpc.ServiceError) => { if (error.code === grpc.status.CANCELLED) resolve(); else reject(error); }); });
  return { got, call, ended };
}

const textOf = ({ flow, lost_events: lost, node_status: status }: GetFlowsResponse): string =>
  (flow ? flow.uuid! : lost ? `lost ${String(lost.num_events_lost)}` : `${['', 'connected', 'unavailable', 'gone', 'error'][status!.state_change!]} ${status!.node_names!.join(',')}`);

async function all(request: GetFlowsRequest): Promise<string[]> {
  const { got, ended } = getFlows(request);
  await ended;
  return got;
}

const unary = async <Response>(method: { path: string; requestSerialize: (request: object) => Buffer; responseDeserialize: (data: Buffer) => Response }): Promise<Response> => new Promise((resolve, reject) => {
  client.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, {}, { deadline: Date.now() + 8_000 }, (error, response) => { if (error) reject(error); else resolve(response!); });
});

/** Flow `n` of a node, at second `n`. */
const flow = (node: string, n: number, changes: object = {}) => flowOf(n, { uuid: `${node}${n}`, node_name: node, ...changes });

describe('GetFlows', () => {
  beforeEach(async () => {
    for (const name of ['a', 'b']) await startAgent(name);
    for (let n = 1; n <= 10; n += 1) agents.get(n % 3 === 0 ? 'b' : 'a')!.served.observer.record(flow(n % 3 === 0 ? 'b' : 'a', n, { verdict: n > 8 ? 2 : 1 }));
  });
  const inOrder = ['a1', 'a2', 'b3', 'a4', 'a5', 'b6', 'a7', 'a8', 'b9', 'a10'];

  test.each<{ name: string; request: GetFlowsRequest; flows: string[] }>([
    { name: 'everything, by time', request: {}, flows: inOrder },
    { name: 'the last three of all nodes together', request: { number: 3 }, flows: inOrder.slice(-3) },
    { name: 'the first three', request: { number: 3, first: true }, flows: inOrder.slice(0, 3) },
    { name: 'filtered by the nodes', request: { whitelist: [{ verdict: [2] }] }, flows: ['b9', 'a10'] },
    { name: 'all, as the command line asks', request: { number: '18446744073709551615' }, flows: inOrder },
    { name: 'since', request: { since: { seconds: 1_700_000_008 } }, flows: ['a8', 'b9', 'a10'] },
  ])('$name', async ({ request, flows }) => {
    await startRelay(['a', 'b']);
    expect(await all(request)).toEqual(['connected a,b', ...flows]);
  });

  test('a node that is away is told of and blocks nothing', async () => {
    await startRelay(['a', 'b', 'gone']);
    const startedMs = Date.now();
    expect(await all({})).toEqual(['connected a,b', 'unavailable gone', ...inOrder]);
    expect(Date.now() - startedMs).toBeLessThan(2_000);
  });

  test('lost events are passed on, in their place', async () => {
    await startRelay(['a', 'b']);
    agents.get('a')!.served.observer.lost('PERF_EVENT_RING_BUFFER', 7);
    expect(await all({})).toEqual(['connected a,b', ...inOrder, 'lost 7']);
  });

  test('a question that no node understands is refused', async () => {
    await startRelay(['a', 'b']);
    await expect(all({ whitelist: [{ source_ip: ['x'] }] })).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT, details: expect.stringContaining('"x"') });
  });

  test('follow: a node dies, is told of, comes back and goes on where it was; another joins', async () => {
    await startRelay(['a', 'b']);
    const { got, call, ended } = getFlows({ follow: true, number: 1 });
    await until('the last ones came', () => got.includes('a10') && got.includes('b9'));
    agents.get('b')!.serving.close();
    agents.get('b')!.served.observer.record(flow('b', 11)); // while it cannot be reached
    await until('its end is told', () => got.includes('error b'));
    agents.get('a')!.served.observer.record(flow('a', 12));
    await until('the other one goes on', () => got.includes('a12'));
    await startAgent('b');
    await until('what was missed came', () => got.includes('b11'));
    agents.get('b')!.served.observer.record(flow('b', 13));
    await startAgent('c');
    nodes.set(peerOf('c'));
    await until('it is told', () => got.includes('connected c'));
    agents.get('c')!.served.observer.record(flow('c', 14));
    await until('the new one came', () => got.includes('c14') && got.includes('b13'));
    call.cancel();
    await ended;
    expect(got.filter((text) => /^[abc]\d/.test(text)).sort()).toEqual(['a10', 'a12', 'b11', 'b13', 'b9', 'c14']);
  });

  test('a client that does not read: offered = delivered + told as lost', async () => {
    const offered = 60_000;
    await startAgent('small', 1_000);
    await startRelay(['small']);
    const { path, requestSerialize, responseDeserialize } = observerService.GetFlows;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { follow: true }) as grpc.ClientReadableStream<GetFlowsResponse>;
    call.on('error', quiet);
    let flows = 0;
    let lost = 0;
    let last = '';
    call.on('data', (response: GetFlowsResponse) => {
      if (response.flow) flows += 1;
      if (response.lost_events) lost += Number(response.lost_events.num_events_lost);
      last = textOf(response);
      if (last === 'small10') call.pause();
    });
    await until('the stream is open', () => last === 'connected small');
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    const { observer } = agents.get('small')!.served;
    for (let n = 1; n <= offered; n += 1) {
      observer.record(flow('small', n, { source_names: ['x'.repeat(500)] }));
      if (n % 500 === 0) await new Promise(setImmediate);
    }
    call.resume();
    await until('everything is accounted for', () => flows + lost === offered);
    expect(lost).toBeGreaterThan(0);
    call.cancel();
  });
});

describe('the other calls', () => {
  test('status, nodes and namespaces of all nodes', async () => {
    for (const name of ['a', 'b']) await startAgent(name, 100);
    await startRelay(['a', 'b', 'gone']);
    for (const name of ['a', 'b']) agents.get(name)!.served.observer.record(flow(name, 1, { source: { namespace: `of-${name}` } }));
    const status = await unary<ServerStatusResponse>(observerService.ServerStatus);
    expect(JSON.parse(JSON.stringify(status))).toMatchObject({
      num_flows: '2', max_flows: '200', seen_flows: '2', num_connected_nodes: { value: 2 }, num_unavailable_nodes: { value: 1 }, unavailable_nodes: ['gone'], version: '0.1.0', flows_rate: 2,
    });
    const { nodes: rows } = JSON.parse(JSON.stringify(await unary<GetNodesResponse>(observerService.GetNodes))) as { nodes: { name: string; state: string }[] };
    expect(rows.map(({ name, state }) => `${name} ${state}`)).toEqual(['a NODE_CONNECTED', 'b NODE_CONNECTED', 'gone NODE_UNAVAILABLE']);
    const { namespaces } = await unary<GetNamespacesResponse>(observerService.GetNamespaces);
    expect(namespaces!.map(({ namespace }) => namespace)).toEqual(['of-a', 'of-b', 'shop']);
  });

  test('health follows the nodes', async () => {
    await startAgent('a');
    await startRelay(['a']);
    const { path, requestSerialize, responseDeserialize } = healthService.Watch;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service: 'observer.Observer' });
    const got: number[] = [];
    call.on('data', ({ status }: { status: number }) => { got.push(status); });
    call.on('error', quiet);
    await until('it serves', () => got.length === 1);
    agents.get('a')!.serving.close();
    await until('it does not', () => got.length === 2);
    expect(got).toEqual([1, 2]);
    call.cancel();
  });
});

describe('peers', () => {
  test.each([
    ['unix:///run/x.sock', { name: 'unix:///run/x.sock', address: 'unix:///run/x.sock' }],
    ['10.0.0.1:4244', { name: '10.0.0.1:4244', address: '10.0.0.1:4244' }],
    ['tls://host:1', { name: 'host:1', address: 'host:1', serverName: 'host' }],
    ['n.1=tls://10.0.0.1:4244', { name: 'n.1', address: '10.0.0.1:4244', serverName: 'n-1.default.hubble-grpc.cilium.io' }],
    ['east/n1=tls://[fd00::1]:4244', { name: 'east/n1', address: '[fd00::1]:4244', serverName: 'n1.east.hubble-grpc.cilium.io' }],
  ])('%s', (text, peer) => { expect(parsePeer(text)).toEqual(peer); });
  test.each(['', 'a b', 'tls://unix:///x', 'http://x:1', 'unix://x'])('refuses %j', (text) => { expect(() => parsePeer(text)).toThrow(/peer/); });

  test('of an agent that goes away and comes back', async () => {
    const agent = await startAgent('a');
    await startAgent('b');
    agent.served.peers.set([peerOf('a'), peerOf('b')]);
    await startRelay([]);
    undo.push(followPeers({ address: `unix://${socketOf('a')}` }, grpc.credentials.createInsecure(), nodes, 200, quiet));
    await until('both are known', () => nodes.list().filter(({ connected }) => connected).length === 2);
    agent.serving.close();
    await until('one is away', () => nodes.list().filter(({ connected }) => connected).length === 1);
    expect(nodes.list().map(({ peer }) => peer.name)).toEqual(['a', 'b']);
    agent.served.peers.set([peerOf('a')]);
    await startAgent('a');
    await until('the other one is gone', () => nodes.list().map(({ peer }) => peer.name).join() === 'a');
  });
});

test('TLS on both sides, by the name of the node; a node that wants TLS from a relay without it', async () => {
  const ca = new TestCa(folder);
  const served = servedOf(new Observer({ nodeName: 'n1', version: '0.1.0' }));
  const serving = await serveHubble(served, { socketPath: socketOf('n1'), listen: { address: '127.0.0.1:0', tls: ca.sign('n1', serverNameOf('n1')) }, log: quiet });
  undo.push(() => { serving.close(); });
  const certificates = new Certificates(ca.sign('relay', 'relay'), quiet);
  undo.push(() => { certificates.close(); });
  await startRelay([], certificates);
  nodes.set(parsePeer(`n1=tls://127.0.0.1:${serving.port}`));
  nodes.set(parsePeer(`n2=tls://127.0.0.1:${serving.port}`)); // another name than its certificate has
  served.observer.record(flow('n1', 1));
  await until('it is connected', () => nodes.list().some(({ connected }) => connected));
  expect(await all({})).toEqual(['connected n1', 'unavailable n2', 'n11']);
  // Who tells of the nodes is checked by its name too.
  served.peers.set([{ name: 'told', address: 'unix:///nowhere' }]);
  for (const [name, known] of [['n2', []], ['n1', ['told']]] as const) {
    const learnt = new Nodes({ retryMs: 200, log: quiet });
    const end = followPeers(parsePeer(`${name}=tls://127.0.0.1:${serving.port}`), certificates.client(), learnt, 200, quiet);
    undo.push(() => { end(); learnt.close(); });
    if (known.length > 0) await until('the peers are told', () => learnt.list().length > 0);
    else await new Promise((resolve) => { setTimeout(resolve, 500); });
    expect(learnt.list().map(({ peer }) => peer.name)).toEqual(known);
  }
  const without = new Nodes({ retryMs: 200, log: quiet });
  without.set(parsePeer(`n1=tls://127.0.0.1:${serving.port}`));
  expect(without.list()[0]!.trouble).toMatch(/no certificate/);
});
