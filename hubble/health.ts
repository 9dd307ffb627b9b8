// grpc.health.v1: whether a service of this server answers. Check says it once, Watch says it again whenever it changes.
import grpc from '@grpc/grpc-js';
import { healthService, type HealthCheckRequest, type HealthCheckResponse } from './proto.ts';

const status = { serving: 1, notServing: 2, serviceUnknown: 3 } as const;
type WatchCall = grpc.ServerWritableStream<HealthCheckRequest, HealthCheckResponse | Buffer>;

export class Health {
  readonly #services: ReadonlySet<string>;
  readonly #watching = new Set<WatchCall>();
  #serving = true;

  constructor(services: Iterable<string>) { this.#services = new Set(['', ...services]); }

  set serving(serving: boolean) {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const call of this.#watching) call.write({ status: this.#of(call.request.service ?? '')! });
  }

  addTo(server: grpc.Server): void {
    server.addService(healthService, {
      Check: (call: grpc.ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>, done: grpc.sendUnaryData<HealthCheckResponse>) => {
        const known = this.#of(call.request.service ?? '');
        if (known !== undefined) done(null, { status: known });
        else done({ code: grpc.status.NOT_FOUND, details: `unknown service ${JSON.stringify(call.request.service)}` });
      },
      Watch: (call: WatchCall) => {
        call.write({ status: this.#of(call.request.service ?? '') ?? status.serviceUnknown });
        // What is unknown stays unknown: services do not come later.
        if (this.#of(call.request.service ?? '') !== undefined) this.#watching.add(call);
        for (const event of ['cancelled', 'error', 'close']) call.on(event, () => { this.#watching.delete(call); });
      },
    });
  }

  #of(service: string): number | undefined {
    if (!this.#services.has(service)) return undefined;
    return this.#serving ? status.serving : status.notServing;
  }
}
