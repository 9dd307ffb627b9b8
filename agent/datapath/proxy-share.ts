// Each endpoint's share of Envoy (bpf/lib/proxy_share.h): what it may have while others want Envoy too, and what it has had, in the memory that
// the programs count in (struct proxy_use).
import { action, ct_flag, ct_service, ct_state, type ProxyShare } from '../../bpf/types.gen.ts';
import type { Batch } from '../kernel/bpf.ts';
import type { Btf } from '../kernel/btf.ts';
import type { BpfMap } from '../kernel/map.ts';

const rowBytes = 32;
const at = { spentNs: 8, dropped: 16, refused: 24, connections: 28 } as const;

/** As --l7-share and --l7-connections say it. */
export interface Share { readonly percent: number; /** Open at the same time. */ readonly connections: number }

/** No limit: workers keep workloads apart (agent/envoy/workers.ts). A sixth of the connections that Envoy takes in all (agent/envoy/bootstrap.ts). */
export const defaultShare: Share = { percent: 100, connections: 8_192 };
/** Of Envoy's time, what may come at once, such as the connections of a page: others may wait for so long. */
const burstNs = 2_000_000;

/** 100 percent: nobody is held back. `part`: of a core, that Envoy's workers get where they want one. */
export function setShare(shares: BpfMap<number, ProxyShare>, { percent, connections }: Share, part = 1): void {
  shares.set(0, { stretch: percent >= 100 ? 0 : Math.round(25_600 / percent / part), connections, burst_ns: BigInt(Math.round(burstNs * part)) });
}

/** `spentMs`: of Envoy's time, as the kernel estimates it. `dropped`: packets; `refused`: connections. */
export interface ProxyUsed { readonly connections: number; readonly spentMs: number; readonly dropped: number; readonly refused: number }

export const proxyUsed = (uses: DataView, id: number): ProxyUsed => ({
  connections: uses.getInt32(id * rowBytes + at.connections, true),
  spentMs: Number(uses.getBigUint64(id * rowBytes + at.spentNs, true)) / 1e6,
  dropped: Number(uses.getBigUint64(id * rowBytes + at.dropped, true)),
  refused: uses.getUint32(id * rowBytes + at.refused, true),
});

/** By endpoint, those that have any. */
type Held = ReadonlyMap<number, number>;

export function proxyHeld(uses: DataView): Held {
  const held = new Map<number, number>();
  for (let id = 0; id < uses.byteLength / rowBytes; id += 1) {
    const connections = uses.getInt32(id * rowBytes + at.connections, true);
    if (connections !== 0) held.set(id, connections);
  }
  return held;
}

/** Counts open connections of Envoy's in batches of the conntrack table, as the programs do (is_envoys). */
export function heldCounter(btf: Btf, rowBytesOfTable: number): { readonly add: (batch: Batch) => void; readonly held: Held } {
  const offsets = (name: string) => new Map(btf.struct(name).members.map((member) => [member.name, member.offset]));
  const [row, judgement] = [offsets('ct_entry'), offsets('judgement')];
  const [flags, service, state, owner, did] = [row.get('flags')!, row.get('service')!, row.get('state')!, row.get('owner')!, row.get('egress')! + judgement.get('action')!];
  const held = new Map<number, number>();
  const add = ({ values, count }: Batch): void => {
    const view = new DataView(values.buffer);
    for (let from = 0; from < count * rowBytesOfTable; from += rowBytesOfTable) {
      if ((values[from + flags]! & ct_flag.CT_SERVICE) === 0 || (values[from + service]! & ct_service.CT_PROXIED) === 0) continue;
      if (values[from + state] === ct_state.CT_CLOSING || values[from + did] === action.ACTION_DNS) continue;
      const id = view.getUint32(from + owner, true);
      held.set(id, (held.get(id) ?? 0) + 1);
    }
  };
  return { add, held };
}

/** While packets change the table, what was read may be away from what stands there by so many. */
const doubt = 64;

/** Puts right what the programs lost: two CPUs that close a connection at once, connections that a version before had opened. `before`: their
 * count before the table was read, `found`: what was there. They go on counting meanwhile. */
export function mendHeld(uses: DataView, before: Held, found: Held): void {
  const words = new Int32Array(uses.buffer);
  for (const id of new Set([...before.keys(), ...found.keys()])) {
    const word = (id * rowBytes + at.connections) / 4;
    const [was, is, there] = [before.get(id) ?? 0, Atomics.load(words, word), found.get(id) ?? 0];
    const slack = was === is ? 0 : doubt;
    const away = there - Math.min(Math.max(there, Math.min(was, is) - slack), Math.max(was, is) + slack);
    if (away !== 0) Atomics.add(words, word, away);
  }
}
