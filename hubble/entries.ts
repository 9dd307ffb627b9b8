// What an entry of the ring says: its time, its flow with the names it had when it happened, its response. Made when somebody asks;
// as bytes it is made by encoded.ts.
import { toAccessFlow } from './access-flow.ts';
import { Encoded } from './encoded.ts';
import { toFlow, type Lookups } from './flow.ts';
import { decodeRecord, field } from './record.ts';
import type { Ring } from './ring.ts';
import { timestampOfNs } from './time.ts';
import type { Flow, GetFlowsResponse, Timestamp } from './types.ts';

export class Entries {
  readonly ring: Ring;
  readonly lookups: Lookups;
  #encoded: Encoded | undefined;

  constructor(ring: Ring, lookups: Lookups) {
    this.ring = ring;
    this.lookups = lookups;
  }

  isFlow(number: number): boolean { return this.ring.isRow(number) || this.ring.messageAt(number)!.flow !== undefined; }

  time(number: number): Timestamp | undefined {
    const at = Math.max(this.ring.recordAt(number), this.ring.accessAt(number));
    if (at < 0) return this.ring.messageAt(number)!.response.time;
    return timestampOfNs(this.lookups.toUnixNs(this.ring.view.getBigUint64(at + field.time, true)));
  }

  /** Undefined when the entry tells of lost events. */
  flow(number: number): Flow | undefined {
    const access = this.ring.accessAt(number);
    if (access >= 0) return toAccessFlow(this.ring, access, this.ring.detailOf(number), this.lookups, number);
    const at = this.ring.recordAt(number);
    return at < 0 ? this.ring.messageAt(number)!.flow : toFlow(decodeRecord(this.ring.view, at), this.lookups, number);
  }

  response(number: number): GetFlowsResponse {
    const message = this.ring.messageAt(number);
    if (message !== undefined) return message.response;
    const flow = this.flow(number)!;
    return { flow, node_name: this.lookups.nodeName, time: flow.time! };
  }

  /** Made when the first client comes. */
  get encoded(): Encoded { return (this.#encoded ??= new Encoded(this)); }
}
