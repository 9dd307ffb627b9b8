// Filters by IP address or CIDR.
import ipaddr from 'ipaddr.js';
import { RequestError } from '../errors.ts';
import type { Flow } from '../types.ts';
import type { FieldCompilers } from './compile.ts';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

const by = (field: string, addressOf: (flow: Flow) => string | undefined) => (values: readonly string[]) => {
  const exact = new Set<string>();
  const prefixes: [Address, number][] = [];
  for (const value of values) {
    if (value.includes('/') && ipaddr.isValidCIDR(value)) prefixes.push(ipaddr.parseCIDR(value));
    else if (isAddress(value)) exact.add(ipaddr.parse(value).toString());
    else throw new RequestError(`invalid ${field} filter: ${JSON.stringify(value)} is neither an IP address nor a CIDR`);
  }
  return (flow: Flow): boolean => {
    const text = addressOf(flow);
    if (text === undefined || text === '') return false;
    if (exact.has(text)) return true;
    if (!isAddress(text)) return false;
    const address = ipaddr.parse(text);
    return exact.has(address.toString())
      || prefixes.some(([prefix, length]) => prefix.kind() === address.kind() && address.match(prefix, length));
  };
};

/** Short forms such as "10.1" are no addresses here. */
export const isAddress = (text: string): boolean =>
  ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(':') && ipaddr.IPv6.isValid(text));

export const addressFields: FieldCompilers = {
  source_ip: by('source_ip', (flow) => flow.IP?.source),
  destination_ip: by('destination_ip', (flow) => flow.IP?.destination),
  source_ip_xlated: by('source_ip_xlated', (flow) => flow.IP?.source_xlated),
};
