// Policy routing: rules by a packet's mark, and the tables that they lead to (ip-rule(8)).
import { decodeAttributes, encodeAttributes, flag, message, tolerate, type Attribute, type Netlink } from './netlink.ts';

const attribute = { input: 3, priority: 6, mark: 10, table: 15, mask: 16 } as const;
const route = { output: 4, table: 15 } as const;
const families = { 4: 2, 6: 10 } as const;
const toTable = 1; // FR_ACT_TO_TBL
const types = { unicast: 1, local: 2 } as const;
const scopes = { unicast: 253, local: 254 } as const; // link, host; IPv6 has none

export type Family = keyof typeof families;

export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
  /** Only for packets that come in there; `lo`: what this machine sends, or asks for the way back to. */
  readonly input?: string;
}

function ruleBody({ family, priority, mark, mask, table, input }: Rule): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt8(families[family], 0);
  head.writeUInt8(toTable, 7);
  const attributes: Attribute[] = [[attribute.priority, priority], [attribute.mark, mark], [attribute.mask, mask], [attribute.table, table]];
  if (input !== undefined) attributes.push([attribute.input, input]);
  return Buffer.concat([head, encodeAttributes(attributes)]);
}

const named = ({ mark }: Rule): string => `rule for mark 0x${mark.toString(16)}`;

/** One that is there already is fine. */
export function addRule(netlink: Netlink, rule: Rule): void {
  tolerate(['EEXIST'], () => { netlink.request(message.newRule, flag.create | flag.exclusive, ruleBody(rule), named(rule), 'RTM_NEWRULE'); });
}

/** An absent one is fine. */
export function deleteRule(netlink: Netlink, rule: Rule): void {
  tolerate(['ENOENT'], () => { netlink.request(message.deleteRule, 0, ruleBody(rule), named(rule), 'RTM_DELRULE'); });
}

/** Everything there is to `output`; `local`: up the stack. In a table of its own, which goes with its last route, or with the interface. */
export interface DefaultRoute { readonly family: Family; readonly table: number; readonly kind: keyof typeof types; readonly output: number }

const routeBody = ({ family, table, kind, output }: DefaultRoute): Buffer => Buffer.concat([
  Buffer.from([families[family], 0, 0, 0, 0, 4, family === 4 ? scopes[kind] : 0, types[kind], 0, 0, 0, 0]),
  encodeAttributes([[route.table, table], [route.output, output]]),
]);

export function addDefaultRoute(netlink: Netlink, to: DefaultRoute): void {
  netlink.request(message.newRoute, flag.create | flag.replace, routeBody(to), `default route of table ${to.table}`, 'RTM_NEWROUTE');
}

/** An absent one is fine. */
export function deleteDefaultRoute(netlink: Netlink, to: DefaultRoute): void {
  tolerate(['ESRCH', 'ENODEV'], () => { netlink.request(message.deleteRoute, 0, routeBody(to), `default route of table ${to.table}`, 'RTM_DELROUTE'); });
}

/** Interfaces that routes of a table lead to. */
export function outputsOf(netlink: Netlink, table: number): number[] {
  return netlink.dump(message.getRoute, Buffer.alloc(12), 'routes').flatMap(({ body }) => {
    const found = decodeAttributes(body.subarray(12));
    const output = found.get(route.output);
    return found.get(route.table)?.readUInt32LE(0) === table && output !== undefined ? [output.readUInt32LE(0)] : [];
  });
}
