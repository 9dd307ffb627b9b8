// GET /metrics for Prometheus, on the address that was asked for. Nothing else is answered.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RequestError } from '../errors.ts';
import { splitAddress } from '../listen.ts';
import type { Registry } from './registry.ts';

export interface MetricsServer { readonly port: number; readonly close: () => void }

const timeoutMs = 10_000;
const maxConnections = 32;

/** Throws RequestError when it cannot listen there. */
export async function serveMetrics(registry: Registry, address: string): Promise<MetricsServer> {
  const { host, port } = splitAddress(address);
  const server = createServer({ requestTimeout: timeoutMs, headersTimeout: timeoutMs, connectionsCheckingInterval: timeoutMs }, (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n');
      return;
    }
    const openMetrics = /application\/openmetrics-text/.test(request.headers.accept ?? '');
    response.writeHead(200, { 'content-type': openMetrics ? 'application/openmetrics-text; version=1.0.0; charset=utf-8' : 'text/plain; version=0.0.4; charset=utf-8' }).end(registry.text(openMetrics));
  });
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => { reject(new RequestError(`listen on ${address}: ${error.message}`)); });
    server.listen(port, host === '' ? '::' : host.replace(/^\[(.*)\]$/, '$1'), resolve);
  });
  return { port: (server.address() as AddressInfo).port, close: () => { server.close(); server.closeAllConnections(); } };
}
