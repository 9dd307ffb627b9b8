// The Service at one end of a record, as bytes of its flow: remembered by address, port and protocol until Services change.
import type { Lookups } from './flow.ts';
import { Parts } from './parts.ts';
import { encode, flowMessage } from './proto.ts';
import { field } from './record.ts';
import type { Ring } from './ring.ts';
import { mayBeService, places, serviceOf, type Side } from './services.ts';

const nothing = new Uint8Array(0);
/** Both ports stand in one word, the protocol is the first byte of its own. */
const portMask = { source: 0x0000_ffff, destination: 0xffff_0000 } as const;
const [all, protocolMask] = [~0, 0xff];

export class EncodedService {
  readonly #ring: Ring;
  readonly #lookups: Lookups;
  readonly #side: Side;
  readonly #parts: Parts<Uint8Array>;

  constructor(ring: Ring, lookups: Lookups, side: Side) {
    this.#ring = ring;
    this.#lookups = lookups;
    this.#side = side;
    const { address } = places[side];
    this.#parts = new Parts([address, address + 4, address + 8, address + 12, field.sport, field.protocol], (at) => {
      const service = serviceOf(ring.bytes, at, side, lookups);
      return service === undefined ? nothing : encode(flowMessage, { [`${side}_service`]: service });
    }, [all, all, all, all, portMask[side], protocolMask]);
  }

  /** Of the record at `at`; empty where none is known. */
  of(at: number): Uint8Array {
    const { bytes, words } = this.#ring;
    const { services } = this.#lookups;
    if (services === undefined || !mayBeService(bytes, at, this.#side, services)) return nothing;
    return this.#parts.of(words, at, services.revision, true);
  }
}
