// BPF ring of DNS records -> whoever listens: the observer's flows, the names that were learned. A drain takes at most so many; what the
// kernel could not write, and what came faster than it can be told, is counted as lost.
import type { Datapath } from '../datapath/maps.ts';
import { openRing } from '../kernel/ring.ts';
import { dns_counter, dns_limit, type DnsRecord } from '../../bpf/types.gen.ts';

const drainMs = 50;
/** More are read and counted, and not told: each becomes a whole message. */
const mostTold = 1_000;
const addressBytes = 16;

export interface DnsSink {
  /** `addresses`: of the answer, 16 bytes each. */
  readonly record: (record: DnsRecord, addresses: readonly Uint8Array[]) => void;
  readonly lost: (count: number) => void;
  /** After those of one drain. */
  readonly drained: () => void;
}

export interface DnsRecords { /** Reads what is there, at once. */ readonly drain: () => void; readonly stop: () => void }

export function readDnsRecords(datapath: Pick<Datapath, 'dns'>, sink: DnsSink): DnsRecords {
  const { records, record: layout } = datapath.dns;
  const ring = openRing(records.fd, dns_limit.DNS_RING_BYTES);
  const head = layout.size - dns_limit.DNS_ANSWERS * addressBytes;
  // The layout ends with room for all addresses; an entry of the ring ends with its last one.
  const whole = new Uint8Array(layout.size);
  let known = datapath.dns.counter(dns_counter.DNS_COUNT_LOST);
  const drain = (): void => {
    let untold = 0;
    let told = 0;
    ring.drain((view, offset, length) => {
      told += 1;
      if (told > mostTold) {
        untold += 1;
        return;
      }
      whole.fill(0).set(new Uint8Array(view.buffer, view.byteOffset + offset, length));
      const addresses = Array.from({ length: (length - head) / addressBytes }, (_, index) => whole.slice(head + index * addressBytes, head + (index + 1) * addressBytes));
      sink.record(layout.decode(new DataView(whole.buffer), 0), addresses);
    }, Infinity);
    const lost = datapath.dns.counter(dns_counter.DNS_COUNT_LOST);
    if (untold > 0 || lost > known) sink.lost(untold + Number(lost - known));
    known = lost;
    sink.drained();
  };
  const timer = setInterval(drain, drainMs);
  return {
    drain,
    stop: () => {
      clearInterval(timer);
      ring.close();
    },
  };
}
