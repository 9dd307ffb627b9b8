import { createServer, type AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { HealthChecks } from './health.ts';
import { serviceTable, sliceTable, type ServiceRow, type SliceEndpoint } from './tables.ts';

const freePort = async (): Promise<number> => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => { resolve(port); });
  });
});
const service = (healthCheckNodePort: number | undefined): ServiceRow => ({
  key: 'shop/web', namespace: 'shop', name: 'web', type: 'LoadBalancer', labels: {}, annotations: {}, headless: false, clusterIps: ['10.218.0.1'], externalIps: [], loadBalancerIps: [], ports: [], internalLocal: false, externalLocal: true,
  sourceRanges: [], publishNotReady: false, forwarding: {}, ...(healthCheckNodePort === undefined ? {} : { healthCheckNodePort }),
});
const end = (node: string, pod: string, more: Partial<SliceEndpoint> = {}): SliceEndpoint => ({ addresses: ['10.0.0.1'], ready: true, serving: true, terminating: false, node, pod, ...more });

const [services, slices] = [serviceTable(), sliceTable()];
const lines: string[] = [];
const checks = new HealthChecks(services, slices, 'n1', (line) => { lines.push(line); });
afterEach(() => { checks.stop(); });

test('says how many backends the node has, as long as the Service asks for it', async () => {
  const port = await freePort();
  const set = (...endpoints: SliceEndpoint[]): void => { slices.write([4, 6].map((family) => ({ key: `shop/web-${family}`, namespace: 'shop', service: 'web', family: family as 4 | 6, ports: [], endpoints }))); };
  const ask = async (): Promise<[number, unknown]> => {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    return [response.status, await response.json()];
  };
  services.write([service(port)]);
  const answer = (localEndpoints: number) => ({ service: { namespace: 'shop', name: 'web' }, localEndpoints, serviceProxyHealthy: true });
  expect(await ask()).toEqual([503, answer(0)]);
  set(end('n1', 'shop/a'), end('n1', 'shop/b'), end('n2', 'shop/c'));
  expect(await ask()).toEqual([200, answer(2)]);
  set(end('n1', 'shop/a', { ready: false }), end('n1', 'shop/b', { terminating: true }), end('n2', 'shop/c'));
  expect(await ask()).toEqual([503, answer(0)]);
  services.write([service(undefined)]);
  await expect(ask()).rejects.toThrow();
  expect(lines).toEqual([]);
});
