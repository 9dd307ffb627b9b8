// The way through Envoy with real sockets: a small transparent proxy in its place, policies by hand.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { a, b, ProxyWorld, proxyPort } from './proxy-world.ts';

const families = [{ family: 'IPv4', key: 'ipv4' }, { family: 'IPv6', key: 'ipv6' }] as const;

let world: ProxyWorld;
beforeAll(async () => {
  world = await ProxyWorld.start();
  await world.at.b.run(`servers = [server(one, port) for one in (${JSON.stringify(b.ipv4)}, ${JSON.stringify(b.ipv6)}) for port in (80, 81, 8080)]`);
  await world.listen();
});
afterAll(async () => { await world.close(); });

describe.each(families)('$family', ({ key }) => {
  test('from a workload to another, egress', async () => {
    expect(world.steering.listening(proxyPort.egress)).toEqual({ ipv4: true, ipv6: true });
    world.judge('a', { egress: 'proxied' });
    const answer = await world.at.a.run(`result = ask(${JSON.stringify(b[key])}, 80)`);
    expect(answer).toMatch(new RegExp(`^via ${proxyPort.egress} ${a[key]} \\d+ hello$`));
  });
});
