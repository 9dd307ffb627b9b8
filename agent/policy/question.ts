// What a user asks of a flow, in words: its two ends, protocol and port. The offline verbs and the running agent read it alike.
import { RESERVED, isReservedName, type ReservedName } from '../identity/reserved.ts';
import { ConfigError } from '../errors.ts';
import { ENTITIES } from './entities.ts';
import { ICMP, ICMPV6, icmpType, protocolName, protocolNumber } from './icmp.ts';
import type { EndpointInput } from './image.ts';
import { nearest } from './mend.ts';
import { namedPortsOf } from './named-ports.ts';
import { parsePrefix, type Prefix } from './prefix.ts';
import type { L7Request } from './request.ts';

export interface Question { readonly from: string; readonly to: string; readonly port?: string; readonly protocol: string; readonly request?: L7Request }

export type PartyText =
  | { readonly kind: 'workload'; readonly namespace?: string; readonly name: string }
  | { readonly kind: 'address'; readonly text: string; readonly prefix: Prefix }
  | { readonly kind: 'entity'; readonly name: ReservedName };

const FORM = 'write NAMESPACE/NAME, an IP address, or an entity such as host or world';

/** `shop/web`, `web`, `192.0.2.1`, `2001:db8::1`, `host` */
export function readPartyText(text: string): PartyText {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) {
    const full = prefix.family === 4 ? 32 : 128;
    if (prefix.length === full) return { kind: 'address', text: prefix.text.split('/')[0]!, prefix };
    throw new ConfigError(`${text} is many addresses`, 'ask for one of them');
  }
  // All outside has an address of one family.
  const entity = text.replace(/^reserved:/, '');
  if (entity === 'world') return { kind: 'entity', name: 'world-ipv4' };
  if (isReservedName(entity)) return { kind: 'entity', name: entity };
  if (ENTITIES.includes(text)) throw new ConfigError(`the entity ${text} is many`, `ask for one of them: ${Object.keys(RESERVED).join(', ')}, or a workload`);
  const parts = text.split('/');
  if (parts.length > 2 || parts.some((part) => !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(part))) throw new ConfigError(`${JSON.stringify(text)} names no end of a flow`, FORM);
  return parts.length === 2 ? { kind: 'workload', namespace: parts[0]!, name: parts[1]! } : { kind: 'workload', name: parts[0]! };
}

/** The one workload of `keys` (`namespace/name`) that is meant; else an error that tells which there are. */
export function pickWorkload({ namespace, name }: Extract<PartyText, { kind: 'workload' }>, keys: readonly string[], where: string): string {
  const found = keys.filter((key) => (namespace === undefined ? key.endsWith(`/${name}`) : key === `${namespace}/${name}`));
  if (found.length === 1) return found[0]!;
  const text = namespace === undefined ? name : `${namespace}/${name}`;
  if (found.length > 1) throw new ConfigError(`${text} is in several namespaces`, `one of: ${found.join(', ')}`);
  const near = nearest(text, keys) ?? nearest(text, keys.map((key) => key.split('/')[1]!));
  const some = keys.slice(0, 10).join(', ');
  throw new ConfigError(`no workload ${text} ${where}`, near !== undefined ? `did you mean ${near}?` : keys.length === 0 ? 'give the files of the workloads too, or ask by IP address' : `there are: ${some}${keys.length > 10 ? ', ...' : ''}`);
}

/** Port and protocol as numbers. `receiver` has the port's name; ICMP and ICMPv6 have types, an echo request when none is given. */
export function readService({ port, protocol }: Pick<Question, 'port' | 'protocol'>, receiver: Pick<EndpointInput, 'namedPorts'> | undefined): { protocol: number; port: number } {
  const number = protocolNumber(protocol);
  if (number === undefined) throw new ConfigError(`unknown protocol ${protocol}`, 'one of: TCP, UDP, SCTP, ICMP, ICMPv6');
  if (number === ICMP || number === ICMPV6) {
    const family = number === ICMP ? 'IPv4' : 'IPv6';
    const type = icmpType(family, port ?? 'EchoRequest');
    if (type === undefined) throw new ConfigError(`${protocolName(number)} has no type ${port}`, 'write --port TYPE, for example --port EchoRequest or --port 8');
    return { protocol: number, port: type };
  }
  if (port === undefined) throw new ConfigError(`${protocolName(number)} has ports`, 'add --port NUMBER');
  if (/^\d{1,5}$/.test(port) && Number(port) <= 65535) return { protocol: number, port: Number(port) };
  const named = receiver === undefined ? undefined : namedPortsOf(receiver).get(port.toLowerCase(), number);
  if (named !== undefined) return { protocol: number, port: named };
  const names = receiver?.namedPorts.map(({ name, protocol: of }) => `${name}/${of}`) ?? [];
  throw new ConfigError(`no port ${JSON.stringify(port)} at the receiver`, names.length > 0 ? `it has ${names.join(', ')}` : 'write a number from 0 to 65535');
}
