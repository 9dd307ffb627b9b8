// Delta ADS: the resources as they should be, and each connected Envoy brought to them. One resource per message, so that what is
// refused is known by name and stands in nobody's way; what Envoy has already, also from an agent before, is not sent again.
import { createHash } from 'node:crypto';
import type { Call } from '../../hubble/grpc/call.ts';
import type { GrpcServer, Messages } from '../../hubble/grpc/server.ts';
import { encode, messageType, typeUrl, type AnyName, type Message } from './messages.ts';

export type ResourceType = Extract<AnyName, 'Listener' | 'RouteConfiguration' | 'Secret'>;
const resourceTypes: readonly ResourceType[] = ['Secret', 'RouteConfiguration', 'Listener'];

interface Resource { readonly version: string; readonly value: Buffer }
interface DeltaRequest {
  readonly node?: { readonly id?: string };
  readonly type_url: string;
  readonly resource_names_subscribe: readonly string[];
  readonly resource_names_unsubscribe: readonly string[];
  readonly initial_resource_versions: Readonly<Record<string, string>>;
  readonly response_nonce: string;
  readonly error_detail?: { readonly message?: string } | null;
}

/** Sent and not yet answered; the rest waits. */
const mostUnanswered = 64;
const mostReasonLength = 500;

const method = {
  path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources', requestStream: true, responseStream: true,
  requestDeserialize: (data: Buffer): DeltaRequest => messageType('DeltaDiscoveryRequest').decode(data) as unknown as DeltaRequest,
  responseSerialize: (message: Message | Buffer): Buffer => (Buffer.isBuffer(message) ? message : encode('DeltaDiscoveryResponse', message)),
};

export type Outcome = 'waiting' | 'accepted' | { readonly refused: string };

export class Ads {
  readonly #resources = new Map<ResourceType, Map<string, Resource>>(resourceTypes.map((type) => [type, new Map()]));
  readonly #streams = new Set<Stream>();
  readonly #changed: () => void;
  #begun = false;

  /** `changed`: an Envoy came, went or answered. */
  constructor(changed: () => void) { this.#changed = changed; }

  register(server: GrpcServer): void {
    server.stream<DeltaRequest, Message>(method, (call, messages) => {
      const stream = new Stream(call, messages, this.#resources, () => this.#begun, this.#changed);
      this.#streams.add(stream);
      call.whenOver(() => {
        this.#streams.delete(stream);
        this.#changed();
      });
      this.#changed();
    });
  }

  get connected(): number { return this.#streams.size; }

  /** Before, nobody is told anything: an agent that has just started does not know yet what there should be. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    for (const stream of this.#streams) stream.send();
  }

  set(type: ResourceType, name: string, message: Message): void {
    const value = encode(type, message);
    const version = createHash('sha256').update(value).digest('hex').slice(0, 16);
    const resources = this.#resources.get(type)!;
    if (resources.get(name)?.version === version) return;
    resources.set(name, { version, value });
    for (const stream of this.#streams) stream.want(type, name);
  }

  remove(type: ResourceType, name: string): void {
    if (this.#resources.get(type)!.delete(name)) for (const stream of this.#streams) stream.want(type, name);
  }

  names(type: ResourceType): string[] { return [...this.#resources.get(type)!.keys()]; }

  /** What every connected Envoy says to the resource as it is now. */
  outcome(type: ResourceType, name: string): Outcome {
    const outcomes = [...this.#streams].map((stream) => stream.outcome(type, name));
    return outcomes.find((one) => typeof one === 'object') ?? (outcomes.length > 0 && outcomes.every((one) => one === 'accepted') ? 'accepted' : 'waiting');
  }
}

/** What an Envoy asked for of one type, and what it has. */
interface Subscription {
  all: boolean;
  readonly names: Set<string>;
  readonly accepted: Map<string, string>;
  /** Name -> version and reason. */
  readonly refused: Map<string, { readonly version: string; readonly reason: string }>;
  /** To be compared with what there should be. */
  readonly pending: Set<string>;
}

class Stream {
  readonly #call: Call<DeltaRequest, Message>;
  readonly #resources: ReadonlyMap<ResourceType, ReadonlyMap<string, Resource>>;
  readonly #begun: () => boolean;
  readonly #subscriptions = new Map<ResourceType, Subscription>();
  /** By nonce; `version` undefined: taken away. */
  readonly #unanswered = new Map<string, { readonly type: ResourceType; readonly name: string; readonly version: string | undefined }>();
  #nonce = 0;

  constructor(call: Call<DeltaRequest, Message>, messages: Messages<DeltaRequest>, resources: ReadonlyMap<ResourceType, ReadonlyMap<string, Resource>>, begun: () => boolean, changed: () => void) {
    this.#call = call;
    this.#resources = resources;
    this.#begun = begun;
    messages.each = (request) => {
      this.#take(request);
      this.send();
      changed();
    };
    messages.ended = () => { call.end(); };
  }

  #take(request: DeltaRequest): void {
    const type = resourceTypes.find((one) => typeUrl(one) === request.type_url);
    if (type === undefined) return;
    this.#answered(request);
    let subscription = this.#subscriptions.get(type);
    if (subscription === undefined) {
      subscription = { all: request.resource_names_subscribe.length === 0, names: new Set(), accepted: new Map(Object.entries(request.initial_resource_versions)), refused: new Map(), pending: new Set() };
      this.#subscriptions.set(type, subscription);
      if (subscription.all) for (const name of [...subscription.accepted.keys(), ...this.#resources.get(type)!.keys()]) subscription.pending.add(name);
    }
    for (const name of request.resource_names_subscribe) {
      subscription.names.add(name);
      subscription.pending.add(name);
    }
    for (const name of request.resource_names_unsubscribe) {
      subscription.names.delete(name);
      subscription.accepted.delete(name);
      subscription.refused.delete(name);
    }
  }

  #answered({ response_nonce: nonce, error_detail: error }: DeltaRequest): void {
    const sent = this.#unanswered.get(nonce);
    if (sent === undefined) return;
    this.#unanswered.delete(nonce);
    const { accepted, refused } = this.#subscriptions.get(sent.type)!;
    if (error != null) {
      if (sent.version !== undefined) refused.set(sent.name, { version: sent.version, reason: (error.message ?? 'refused').slice(0, mostReasonLength) });
      return;
    }
    refused.delete(sent.name);
    if (sent.version === undefined) accepted.delete(sent.name);
    else accepted.set(sent.name, sent.version);
  }

  want(type: ResourceType, name: string): void {
    const subscription = this.#subscriptions.get(type);
    if (subscription === undefined || (!subscription.all && !subscription.names.has(name))) return;
    subscription.pending.add(name);
    this.send();
  }

  send(): void {
    if (!this.#begun()) return;
    for (const type of resourceTypes) {
      const subscription = this.#subscriptions.get(type);
      for (const name of subscription?.pending ?? []) {
        if (this.#unanswered.size >= mostUnanswered) return;
        subscription!.pending.delete(name);
        this.#sendOne(type, name, subscription!);
      }
    }
  }

  #sendOne(type: ResourceType, name: string, { accepted, refused, all }: Subscription): void {
    const resource = this.#resources.get(type)!.get(name);
    if (resource === undefined ? !all || !accepted.has(name) : accepted.get(name) === resource.version || refused.get(name)?.version === resource.version) return;
    this.#nonce += 1;
    const nonce = String(this.#nonce);
    this.#unanswered.set(nonce, { type, name, version: resource?.version });
    this.#call.write({
      type_url: typeUrl(type), nonce,
      ...(resource === undefined ? { removed_resources: [name] } : { resources: [{ name, version: resource.version, resource: { type_url: typeUrl(type), value: resource.value } }] }),
    });
  }

  outcome(type: ResourceType, name: string): Outcome {
    const resource = this.#resources.get(type)!.get(name);
    const subscription = this.#subscriptions.get(type);
    if (resource === undefined || subscription === undefined) return 'waiting';
    const refused = subscription.refused.get(name);
    if (refused?.version === resource.version) return { refused: refused.reason };
    return subscription.accepted.get(name) === resource.version ? 'accepted' : 'waiting';
  }
}
