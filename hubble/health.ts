// grpc.health.v1: whether a service of this server answers. Check says it once, Watch says it again whenever it changes.
import type { Call } from './grpc/call.ts';
import type { GrpcServer } from './grpc/server.ts';
import { status as grpcStatus, StatusError } from './grpc/status.ts';
import { healthService, type HealthCheckRequest, type HealthCheckResponse } from './proto.ts';

const status = { serving: 1, notServing: 2, serviceUnknown: 3 } as const;
type WatchCall = Call<HealthCheckRequest, HealthCheckResponse>;

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

  addTo(server: GrpcServer): void {
    server.unary(healthService.Check, ({ service = '' }) => {
      const known = this.#of(service);
      if (known === undefined) throw new StatusError(grpcStatus.notFound, `unknown service ${JSON.stringify(service)}`);
      return { status: known };
    });
    server.stream(healthService.Watch, (call) => {
      const known = this.#of(call.request.service ?? '');
      call.write({ status: known ?? status.serviceUnknown });
      // What is unknown stays unknown: services do not come later.
      if (known === undefined) return;
      this.#watching.add(call);
      call.whenOver(() => { this.#watching.delete(call); });
    });
  }

  #of(service: string): number | undefined {
    if (!this.#services.has(service)) return undefined;
    return this.#serving ? status.serving : status.notServing;
  }
}
