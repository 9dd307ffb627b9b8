// The last word of a flow: "TCP Flags: SYN", "ICMPv4 EchoRequest", "UDP". Names of ICMP types as Hubble's users know them.
import type { Icmp, Layer4, TcpFlags } from './types.ts';

const flagOrder = ['SYN', 'ACK', 'RST', 'FIN', 'PSH', 'URG', 'ECE', 'CWR', 'NS'] as const satisfies readonly (keyof TcpFlags)[];

/** IANA, ICMP Type Numbers. */
const icmp4Types: Readonly<Record<number, string>> = {
  0: 'EchoReply', 3: 'DestinationUnreachable', 4: 'SourceQuench', 5: 'Redirect', 8: 'EchoRequest', 9: 'RouterAdvertisement',
  10: 'RouterSolicitation', 11: 'TimeExceeded', 12: 'ParameterProblem', 13: 'TimestampRequest', 14: 'TimestampReply',
};
const icmp4Codes: Readonly<Record<number, readonly string[]>> = {
  3: ['Net', 'Host', 'Protocol', 'Port', 'FragmentationNeeded', 'SourceRoutingFailed', 'NetUnknown', 'HostUnknown', 'SourceIsolated',
    'NetAdminProhibited', 'HostAdminProhibited', 'NetTOS', 'HostTOS', 'CommAdminProhibited', 'HostPrecedence', 'PrecedenceCutoff'],
  5: ['Net', 'Host', 'TOS+Net', 'TOS+Host'],
  11: ['TTLExceeded', 'FragmentReassemblyTimeExceeded'],
};
/** IANA, ICMPv6 Parameters. */
const icmp6Types: Readonly<Record<number, string>> = {
  1: 'DestinationUnreachable', 2: 'PacketTooBig', 3: 'TimeExceeded', 4: 'ParameterProblem', 128: 'EchoRequest', 129: 'EchoReply',
  133: 'RouterSolicitation', 134: 'RouterAdvertisement', 135: 'NeighborSolicitation', 136: 'NeighborAdvertisement', 137: 'Redirect',
};
const icmp6Codes: Readonly<Record<number, readonly string[]>> = {
  1: ['NoRouteToDst', 'AdminProhibited', 'BeyondScopeOfSrc', 'AddressUnreachable', 'PortUnreachable', 'SrcAddressFailedPolicy', 'RejectRouteToDst'],
  3: ['HopLimitExceeded', 'FragmentReassemblyTimeExceeded'],
};

function icmpText({ type = 0, code = 0 }: Icmp, types: Readonly<Record<number, string>>, codes: Readonly<Record<number, readonly string[]>>): string {
  const name = types[type];
  if (name === undefined) return `${type}(${code})`;
  const detail = codes[type]?.[code];
  return detail === undefined ? name : `${name}(${detail})`;
}

/** "EchoRequest", "DestinationUnreachable(Port)". */
export const icmp4Text = (icmp: Icmp): string => icmpText(icmp, icmp4Types, icmp4Codes);
export const icmp6Text = (icmp: Icmp): string => icmpText(icmp, icmp6Types, icmp6Codes);

export function summarize(l4: Layer4): string {
  if (l4.TCP) {
    const flags = l4.TCP.flags ?? {};
    return `TCP Flags: ${flagOrder.filter((name) => flags[name]).join(', ')}`;
  }
  if (l4.UDP) return 'UDP';
  if (l4.SCTP) return 'SCTP';
  if (l4.ICMPv4) return `ICMPv4 ${icmp4Text(l4.ICMPv4)}`;
  if (l4.ICMPv6) return `ICMPv6 ${icmp6Text(l4.ICMPv6)}`;
  return '';
}
