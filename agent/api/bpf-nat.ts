// Masquerading as the kernel has it: which address and port stands for which, each connection once.
import { direction as directions } from '../../bpf/types.gen.ts';
import type { Agent } from '../agent.ts';
import { textOf } from '../ipcache/address.ts';
import { protocolName } from '../policy/icmp.ts';

/** A connection has two rows; the one towards the outside tells both. */
const rowsEach = 2;

export const listNat = ({ datapath }: Agent, most: number) => datapath.nat.entries(most * rowsEach).filter(([key]) => key.direction === directions.DIRECTION_EGRESS).slice(0, most)
  .map(([key, value]) => ({
    protocol: protocolName(key.protocol), source: textOf(key.local.word), sourcePort: key.local_port, destination: textOf(key.remote.word), destinationPort: key.remote_port,
    translated: textOf(value.addr.word), translatedPort: value.port,
  }));
