// Delta ADS: the resources as they should be, and each connected Envoy brought to them. What is refused among others is sent again one
// by one, so that it is known by name and stands in nobody's way; what Envoy has already, also from an agent before, is not sent again.
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

/** Messages sent and not yet answered; the rest waits. */
const mostUnanswered = 16;
/** Resources of one message: one by one, 1,000 of them take Envoy twice the time. */
const mostTogether = 64;
/** A Secret goes alone: Envoy keeps one that it has refused, and accepts it when it is sent again. */
const togetherOf = (type: ResourceType): number => (type === 'Secret' ? 1 : mostTogether);
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

  /** Whether the Envoy of that name is connected and has accepted or refused each resource. */
  hasAll(node: string): boolean {
    const stream = [...this.#streams].find((one) => one.node === node);
    return stream !== undefined && resourceTypes.every((type) => this.names(type).every((name) => stream.outcome(type, name) !== 'waiting'));
  }

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
    let outcome: Outcome = this.#streams.size > 0 ? 'accepted' : 'waiting';
    for (const stream of this.#streams) {
      const said = stream.outcome(type, name);
      if (typeof said === 'object') return said;
      if (said === 'waiting') outcome = said;
    }
    return outcome;
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
  /** To be sent alone: refused together with others. */
  readonly alone: Set<string>;
}

/** `version` undefined: taken away. */
interface Sent { readonly name: string; readonly version: string | undefined }

class Stream {
  readonly #call: Call<DeltaRequest, Message>;
  readonly #resources: ReadonlyMap<ResourceType, ReadonlyMap<string, Resource>>;
  readonly #begun: () => boolean;
  readonly #subscriptions = new Map<ResourceType, Subscription>();
  /** By nonce. */
  readonly #unanswered = new Map<string, { readonly type: ResourceType; readonly sent: readonly Sent[] }>();
  #nonce = 0;
  node = '';

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
    // Told once, with the first request.
    if (request.node?.id !== undefined && request.node.id !== '') this.node = request.node.id;
    const type = resourceTypes.find((one) => typeUrl(one) === request.type_url);
    if (type === undefined) return;
    this.#answered(request);
    let subscription = this.#subscriptions.get(type);
    if (subscription === undefined) {
      subscription = { all: request.resource_names_subscribe.length === 0, names: new Set(), accepted: new Map(Object.entries(request.initial_resource_versions)), refused: new Map(), pending: new Set(), alone: new Set() };
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
    const answered = this.#unanswered.get(nonce);
    if (answered === undefined) return;
    this.#unanswered.delete(nonce);
    const { type, sent } = answered;
    const { accepted, refused, alone, pending } = this.#subscriptions.get(type)!;
    for (const { name, version } of sent) {
      if (error != null && sent.length > 1) {
        alone.add(name);
        pending.add(name);
        continue;
      }
      alone.delete(name);
      refused.delete(name);
      if (error == null) {
        if (version === undefined) accepted.delete(name);
        else accepted.set(name, version);
      } else if (version !== undefined) refused.set(name, { version, reason: (error.message ?? 'refused').slice(0, mostReasonLength) });
    }
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
      while (subscription !== undefined && subscription.pending.size > 0 && this.#unanswered.size < mostUnanswered) this.#sendSome(type, subscription);
    }
  }

  #sendSome(type: ResourceType, subscription: Subscription): void {
    const sent: Sent[] = [];
    const resources: Message[] = [];
    for (const name of subscription.pending) {
      const isAlone = subscription.alone.has(name);
      if (isAlone && sent.length > 0) continue;
      subscription.pending.delete(name);
      const resource = this.#resources.get(type)!.get(name);
      if (has(subscription, name, resource)) continue;
      sent.push({ name, version: resource?.version });
      if (resource !== undefined) resources.push({ name, version: resource.version, resource: { type_url: typeUrl(type), value: resource.value } });
      if (isAlone || sent.length === togetherOf(type)) break;
    }
    if (sent.length === 0) return;
    this.#nonce += 1;
    const nonce = String(this.#nonce);
    this.#unanswered.set(nonce, { type, sent });
    this.#call.write({ type_url: typeUrl(type), nonce, resources, removed_resources: sent.filter(({ version }) => version === undefined).map(({ name }) => name) });
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

/** Whether there is nothing to say about it: Envoy has it, or has refused it as it is, or never had what is gone. */
function has({ all, accepted, refused }: Subscription, name: string, resource: Resource | undefined): boolean {
  if (resource === undefined) return !all || !accepted.has(name);
  return accepted.get(name) === resource.version || refused.get(name)?.version === resource.version;
}
