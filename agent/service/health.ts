// healthCheckNodePort: an HTTP server for each such Service, by which a load balancer outside finds the nodes that have backends of it. Answers as
// kube-proxy does (pkg/proxy/healthcheck/service_health.go).
import { createServer, type Server } from 'node:http';
import type { Table } from '../store/table.ts';
import type { ServiceRow, SliceRow } from './tables.ts';

interface Standing { readonly port: number; readonly server: Server }

const headersTimeoutMs = 5_000;
/** A load balancer asks every few seconds, with a connection each. */
const maxConnections = 256;

export class HealthChecks {
  readonly #services: Table<ServiceRow>;
  readonly #slices: Table<SliceRow>;
  readonly #node: string;
  readonly #log: (line: string) => void;
  readonly #standing = new Map<string, Standing>();
  readonly #stop: () => void;

  constructor(services: Table<ServiceRow>, slices: Table<SliceRow>, node: string, log: (line: string) => void) {
    this.#services = services;
    this.#slices = slices;
    this.#node = node;
    this.#log = log;
    this.#stop = services.subscribe((changes) => { for (const { key, row } of changes) this.#follow(key, row); });
    for (const row of services.rows()) this.#follow(row.key, row);
  }

  stop(): void {
    this.#stop();
    for (const key of [...this.#standing.keys()]) this.#close(key);
  }

  /** Endpoints of this node that are ready; a pod with two addresses is one. */
  localEndpoints(key: string): number {
    const found = this.#slices.by('service', key).flatMap(({ endpoints }) => endpoints).filter(({ node, ready, terminating }) => node === this.#node && ready && !terminating);
    return new Set(found.map(({ pod, addresses }) => pod ?? addresses[0])).size;
  }

  #follow(key: string, row: ServiceRow | undefined): void {
    const port = row?.healthCheckNodePort;
    if (this.#standing.get(key)?.port === port) return;
    this.#close(key);
    if (port !== undefined) this.#listen(key, port);
  }

  #listen(key: string, port: number): void {
    const server = createServer({ headersTimeout: headersTimeoutMs, requestTimeout: headersTimeoutMs }, (_, response) => {
      const service = this.#services.get(key);
      const localEndpoints = this.localEndpoints(key);
      response.writeHead(localEndpoints > 0 ? 200 : 503, { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff', 'X-Load-Balancing-Endpoint-Weight': String(localEndpoints), Connection: 'close' });
      response.end(`${JSON.stringify({ service: { namespace: service?.namespace, name: service?.name }, localEndpoints, serviceProxyHealthy: true }, null, '\t')}\n`);
    });
    server.maxConnections = maxConnections;
    server.on('error', (error) => { this.#log(`health check of Service ${key}: ${error.message}`); });
    server.listen({ port, host: '::' });
    server.unref();
    this.#standing.set(key, { port, server });
  }

  #close(key: string): void {
    const standing = this.#standing.get(key);
    this.#standing.delete(key);
    standing?.server.close();
    standing?.server.closeAllConnections();
  }
}
