// The way through Envoy with real sockets: a small transparent proxy in its place, policies by hand. Rows are run in both families.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { counter, drop_reason, frontend_scope } from '../bpf/types.gen.ts';
import { Services } from '../bpf/testing/services.ts';
import { a, b, far, node, outside, ProxyWorld, proxyPort, type Python } from './proxy-world.ts';

const families = [{ family: 'IPv4', key: 'ipv4' }, { family: 'IPv6', key: 'ipv6' }] as const;
const nodePort = 30_080;

let world: ProxyWorld;
let port = 40_000;
beforeAll(async () => {
  world = await ProxyWorld.start();
  const serve = async (at: Python, ...addresses: string[]): Promise<unknown> =>
    at.run(`servers = [server(one, port) for one in ${JSON.stringify(addresses)} for port in (80, 81, 8080)]`);
  await serve(world.at.b, b.ipv4, b.ipv6);
  await serve(world.at.outside, outside.ipv4, outside.ipv6, far.ipv4, far.ipv6);
  await world.listen();
}, 120_000);
afterAll(async () => { await world.close(); });
beforeEach(() => { port += 1; });
afterEach(() => {
  world.judge('a', {});
  world.judge('b', {});
});

const text = JSON.stringify;
const ask = async (from: Python, address: string, to = 80, source?: string): Promise<string> =>
  await from.run(`result = ask(${text(address)}, ${to}${source === undefined ? '' : `, (${text(source)}, ${port})`})`) as string;
/** What the server says of its client. */
const seen = (by: readonly number[], client: string): RegExp => new RegExp(`^${by.map((one) => `via ${one} `).join('')}${client.replace(/\./g, '\\.')} \\d+ hello$`);
const { egress, ingress } = proxyPort;
const resets = (): bigint => world.bench.datapath.counter(counter.COUNTER_PROXY_RESETS);
/** Reasons of what was dropped during `work`, each once. */
async function reasons(work: () => Promise<unknown>): Promise<number[]> {
  world.bench.records();
  await work();
  return [...new Set(world.bench.records().map(({ reason }) => reason).filter((reason) => reason !== 0))];
}

describe.each(families)('$family', ({ key }) => {
  test('listeners are known by their family', () => {
    expect([egress, ingress, egress + 2].map((one) => world.steering.listening(one))).toEqual([{ ipv4: true, ipv6: true }, { ipv4: true, ipv6: true }, { ipv4: false, ipv6: false }]);
  });

  test.each([
    { name: 'what the source says', of: { egress: 'proxied' as const }, by: [egress] },
    { name: 'what the destination says', of: { ingress: 'proxied' as const }, by: [ingress] },
    { name: 'what both say, one after the other', of: { egress: 'proxied' as const, ingress: 'proxied' as const }, by: [egress, ingress] },
    { name: 'nobody says so', of: {}, by: [] },
  ])('from a workload to another: $name', async ({ of, by }) => {
    world.judge('a', { egress: of.egress ?? 'open' });
    world.judge('b', { ingress: of.ingress ?? 'open' });
    for (let time = 0; time < 3; time += 1) expect(await ask(world.at.a, b[key])).toMatch(seen(by, a[key]));
    expect(await ask(world.at.a, b[key], 81)).toMatch(seen([], a[key]));
  });

  test('to the outside, under the address of the node', async () => {
    world.judge('a', { egress: 'proxied' });
    for (let time = 0; time < 3; time += 1) expect(await ask(world.at.a, outside[key])).toMatch(seen([egress], node[key]));
  });

  test('from and to another node by plain routes, under the own address', async () => {
    world.route(key, 'plain');
    world.judge('a', { egress: 'proxied', ingress: 'proxied' });
    expect(await ask(world.at.a, far[key])).toMatch(seen([egress], a[key]));
    await world.at.a.run(`mine = [server(one, 80) for one in ${text([a[key]])}]`);
    expect(await world.at.outside.run(`result = ask(${text(a[key])}, 80, (${text(far[key])}, 0))`)).toMatch(seen([ingress], far[key]));
    await world.at.a.run('[one.close() for one in mine]');
  });

  test('from and to another node in VXLAN', async () => {
    world.route(key, 'vxlan');
    world.judge('a', { egress: 'proxied', ingress: 'proxied' });
    expect(await ask(world.at.a, far[key])).toMatch(seen([egress], a[key]));
    await world.at.a.run(`mine = [server(one, 80) for one in ${text([a[key]])}]`);
    expect(await world.at.outside.run(`result = ask(${text(a[key])}, 80, (${text(far[key])}, 0))`)).toMatch(seen([ingress], far[key]));
    await world.at.a.run('[one.close() for one in mine]');
    world.route(key, 'plain');
  });

  test('a client outside of a NodePort', async () => {
    new Services(world.bench).put({ address: node[key], port: nodePort, protocol: 6, scope: frontend_scope.SCOPE_EXTERNAL, backends: [{ address: b[key], port: 80 }] });
    world.judge('b', { ingress: 'proxied' });
    for (let time = 0; time < 3; time += 1) expect(await ask(world.at.outside, node[key], nodePort)).toMatch(seen([ingress], outside[key]));
  });

  test('a long answer, a megabyte each way', async () => {
    world.judge('a', { egress: 'proxied' });
    world.judge('b', { ingress: 'proxied' });
    const received = await world.at.a.run(`
c = connect(${text(b[key])}, 80)
sent = os.urandom(1 << 20)
threading.Thread(target=c.sendall, args=(sent,), daemon=True).start()
got = 0
while got < len(sent): got += len(c.recv(1 << 16))
c.close()
result = got`);
    expect(received).toBeGreaterThanOrEqual(1 << 20);
  });

  test.each([['1', '0', '0'], ['2', '0', '0'], ['1', '1', '0'], ['0', '0', '1']])('rp_filter %s, src_valid_mark %s, tcp_fwmark_accept %s', async (filter, mark, accept) => {
    world.sysctl('net/ipv4/conf/all/rp_filter', filter);
    world.sysctl('net/ipv4/conf/all/src_valid_mark', mark);
    world.sysctl('net/ipv4/tcp_fwmark_accept', accept);
    world.sysctl('net/ipv4/conf/all/forwarding', '0');
    world.forwardOwn();
    world.judge('a', { egress: 'proxied' });
    expect(await ask(world.at.a, b[key])).toMatch(seen([egress], a[key]));
    expect(await ask(world.at.a, outside[key])).toMatch(seen([egress], node[key]));
    for (const one of ['conf/all/rp_filter', 'conf/all/src_valid_mark', 'tcp_fwmark_accept']) world.sysctl(`net/ipv4/${one}`, '0');
  });

  test('the same port on both legs', async () => {
    await world.hangUp();
    await world.listen(true);
    world.judge('a', { egress: 'proxied' });
    expect(await ask(world.at.a, b[key], 80, a[key])).toBe(`via ${egress} ${a[key]} ${port} hello`);
    expect(await ask(world.at.a, outside[key], 80, a[key])).toMatch(seen([egress], node[key]));
    await world.hangUp();
    await world.listen();
  });

  test('TIME_WAIT at the proxy: its client takes the port again', async () => {
    world.judge('a', { egress: 'proxied' });
    const answers = await world.at.a.run(`
result = []
for time_ in range(3):
  c = connect(${text(b[key])}, 80, (${text(a[key])}, ${port}))
  result.append(say(c, b'hello'))
  c.sendall(b'close')
  assert c.recv(100) == b''
  c.close()`);
    expect(answers).toEqual([0, 1, 2].map(() => expect.stringMatching(seen([egress], a[key]))));
  });

  test('nobody comes to the port of the proxy by itself', async () => {
    const loopback = key === 'ipv4' ? '127.0.0.1' : '::1';
    expect(await ask(world.at.node, loopback, egress)).toBe('refused');
    expect(await ask(world.at.a, world.gateway[key], egress)).toBe('refused');
  });

  test('nobody listens: refused at once, and the other family is not taken for it', async () => {
    await world.hangUp();
    await world.at.node.run(`other = socket.socket(${key === 'ipv4' ? 'socket.AF_INET6' : 'socket.AF_INET'}); other.bind(('${key === 'ipv4' ? '::1' : '127.0.0.1'}', ${egress})); other.listen(1)`);
    expect(world.steering.listening(egress)).toEqual({ ipv4: key === 'ipv6', ipv6: key === 'ipv4' });
    world.judge('a', { egress: 'proxied' });
    const before = resets();
    let answer = '';
    expect(await reasons(async () => { answer = await ask(world.at.a, b[key]); })).toEqual([drop_reason.DROP_SOCKET_LOOKUP_FAILED]);
    expect([answer, resets() - before]).toEqual(['refused', 1n]);
    await world.at.node.run('other.close()');
    await world.listen();
    expect(await ask(world.at.a, b[key])).toMatch(seen([egress], a[key]));
  });

  test.each(['plain', 'vxlan'] as const)('nobody listens: refused where another node\'s workload is, %s', async (way) => {
    await world.hangUp();
    world.route(key, way);
    world.judge('a', { ingress: 'proxied' });
    expect(await world.at.outside.run(`result = ask(${text(a[key])}, 80, (${text(far[key])}, 0))`)).toBe('refused');
    world.route(key, 'plain');
    await world.listen();
  });

  test('from direct to the proxy: a client outside is told, by a packet whose checksum no device has made yet', async () => {
    for (const at of [world.at.node, world.at.outside]) await at.run("offload('eth0', 0)");
    await world.at.outside.run(`waiting = connect(${text(node[key])}, ${nodePort}); waiting.sendall(b'later')`);
    world.judge('b', { ingress: 'proxied' });
    expect(await world.at.outside.run(`
try: result = waiting.recv(100).decode()
except ConnectionResetError: result = 'reset'`)).toBe('reset');
    for (const at of [world.at.node, world.at.outside]) await at.run("offload('eth0', 1)");
  });

  test('from direct to the proxy: its opener is told, whoever speaks first, and the same port works again', async () => {
    await world.at.a.run(`c = connect(${text(b[key])}, 80, (${text(a[key])}, ${port})); result = say(c, b'hello')`);
    await world.at.a.run(`waiting = connect(${text(b[key])}, 80); waiting.sendall(b'later')`);
    world.judge('a', { egress: 'proxied' });
    expect(await world.at.a.run(`
try: result = say(c, b'hello')
except ConnectionResetError: result = 'reset'
c.close()`)).toBe('reset');
    expect(await world.at.a.run(`
try: result = waiting.recv(100).decode()
except ConnectionResetError: result = 'reset'`)).toBe('reset');
    expect(await ask(world.at.a, b[key], 80, a[key])).toMatch(seen([egress], a[key]));
  });

  test.each(['1', '0'])('from the proxy to direct: likewise, tcp_early_demux %s', async (demux) => {
    world.sysctl('net/ipv4/tcp_early_demux', demux);
    world.judge('a', { egress: 'proxied' });
    await world.at.a.run(`c = connect(${text(b[key])}, 80, (${text(a[key])}, ${port})); result = say(c, b'hello')`);
    await world.at.a.run(`waiting = connect(${text(b[key])}, 80); waiting.sendall(b'later')`);
    world.judge('a', { egress: 'direct' });
    expect(await world.at.a.run(`
try: result = say(c, b'hello')
except ConnectionResetError: result = 'reset'
c.close()`)).toBe('reset');
    expect(await world.at.a.run(`
try: result = waiting.recv(100).decode()
except ConnectionResetError: result = 'reset'`)).toBe('reset');
    expect(await ask(world.at.a, b[key], 80, a[key])).toBe(`${a[key]} ${port} hello`);
    world.sysctl('net/ipv4/tcp_early_demux', '1');
  });

  test('judged again with the same port: goes on; denied: silent; allowed again: goes on', async () => {
    world.judge('a', { egress: 'proxied' });
    await world.at.a.run(`c = connect(${text(b[key])}, 80); result = say(c, b'hello'); c.settimeout(0.5)`);
    world.judge('b', { ingress: 'direct' });
    expect(await world.at.a.run(`result = say(c, b'hello')`)).toMatch(seen([egress], a[key]));
    world.judge('a', { egress: 'denied' });
    expect(await world.at.a.run(`
try: result = say(c, b'hello')
except socket.timeout: result = 'timeout'`)).toBe('timeout');
    world.judge('a', { egress: 'proxied' });
    expect(await world.at.a.run('c.settimeout(5); result = c.recv(1000).decode()')).toMatch(seen([egress], a[key]));
    // The second leg is judged where the first was not.
    world.judge('b', { ingress: 'denied' });
    expect(await world.at.a.run(`
c.settimeout(0.5)
try: result = say(c, b'hello')
except socket.timeout: result = 'timeout'`)).toBe('timeout');
  });

  test('the proxy dies: its client is told', async () => {
    world.judge('a', { egress: 'proxied' });
    await world.at.a.run(`c = connect(${text(b[key])}, 80); result = say(c, b'hello')`);
    await world.restartNode();
    expect(await world.at.a.run(`
try: result = say(c, b'hello') or 'end'
except ConnectionError: result = 'end'`)).toBe('end');
    await world.listen();
    expect(await ask(world.at.a, b[key])).toMatch(seen([egress], a[key]));
  });
});

test('L7 rules without a port of the proxy: dropped, and told which row is missing', async () => {
  world.judge('a', { egress: 'proxied' });
  const row = { bits: 1n, policy: 1, interval: 3, class_id: b.classId };
  world.bench.datapath.proxyPorts.delete(row);
  world.bench.records();
  expect(await ask(world.at.a, b.ipv4, 8080)).toBe('timeout');
  expect(world.bench.records().find(({ reason }) => reason === drop_reason.DROP_SOCKET_ASSIGN_FAILED)).toMatchObject({ direction: 2, egress: { bits: row.bits, policy: row.policy, interval: row.interval } });
  world.bench.datapath.proxyPorts.set(row, egress);
});
