// ICMP and ICMPv6 types by name (RFC 792, 4443 and the IANA registries), as policies write them.

export type Family = 'IPv4' | 'IPv6';

/** Protocol numbers. */
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;
export const SCTP = 132;

const TYPES: Readonly<Record<Family, Readonly<Record<string, number>>>> = {
  IPv4: {
    EchoReply: 0, DestinationUnreachable: 3, Redirect: 5, Echo: 8, EchoRequest: 8, RouterAdvertisement: 9, RouterSelection: 10,
    TimeExceeded: 11, ParameterProblem: 12, Timestamp: 13, TimestampReply: 14, Photuris: 40,
    ExtendedEchoRequest: 42, ExtendedEchoReply: 43,
  },
  IPv6: {
    DestinationUnreachable: 1, PacketTooBig: 2, TimeExceeded: 3, ParameterProblem: 4, EchoRequest: 128, EchoReply: 129,
    MulticastListenerQuery: 130, MulticastListenerReport: 131, MulticastListenerDone: 132, RouterSolicitation: 133,
    RouterAdvertisement: 134, NeighborSolicitation: 135, NeighborAdvertisement: 136, RedirectMessage: 137,
    RouterRenumbering: 138, ICMPNodeInformationQuery: 139, ICMPNodeInformationResponse: 140,
    InverseNeighborDiscoverySolicitation: 141, InverseNeighborDiscoveryAdvertisement: 142,
    HomeAgentAddressDiscoveryRequest: 144, HomeAgentAddressDiscoveryReply: 145, MobilePrefixSolicitation: 146,
    MobilePrefixAdvertisement: 147, DuplicateAddressRequestCodeSuffix: 157, DuplicateAddressConfirmationCodeSuffix: 158,
    ExtendedEchoRequest: 160, ExtendedEchoReply: 161,
  },
};

/** The custom resource's schema refuses this name although the engine knows it: its number works. */
export const REFUSED_TYPE_NAME = 'ExtendedEchoReply';

/** The number of a type given by number or name; undefined when the family has no such type. */
export function icmpType(family: Family, type: number | string): number | undefined {
  const number = typeof type === 'number' || /^[0-9]{1,3}$/.test(type) ? Number(type) : TYPES[family][type];
  return number !== undefined && Number.isInteger(number) && number >= 0 && number <= 255 ? number : undefined;
}

export const icmpTypeNames = (family: Family): string[] => Object.keys(TYPES[family]).filter((name) => name !== REFUSED_TYPE_NAME);

/** The first name of a number, for texts. */
export const icmpTypeName = (family: Family, type: number): string | undefined =>
  Object.entries(TYPES[family]).find(([, number]) => number === type)?.[0];

const PROTOCOL_NAMES: Readonly<Record<number, string>> = { [ICMP]: 'ICMP', [TCP]: 'TCP', [UDP]: 'UDP', [ICMPV6]: 'ICMPv6', [SCTP]: 'SCTP' };

export const protocolName = (protocol: number): string => PROTOCOL_NAMES[protocol] ?? `protocol ${protocol}`;

const PROTOCOL_NUMBERS = new Map(Object.entries(PROTOCOL_NAMES).map(([number, name]) => [name.toLowerCase(), Number(number)]));

export const protocolNumber = (name: string): number | undefined => PROTOCOL_NUMBERS.get(name.toLowerCase());
