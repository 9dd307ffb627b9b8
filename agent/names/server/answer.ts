// One question -> its answer, from the zone alone. Pure: what others know is `forward`, an alias that leads out of the cluster `chase`.
import type { Answer, Question } from 'dns-packet';
import { addressOf, familyOf } from './reverse.ts';
import type { Records, Srv, Zone } from './zone.ts';

export type Code = 'NOERROR' | 'FORMERR' | 'SERVFAIL' | 'NXDOMAIN' | 'NOTIMP' | 'REFUSED';

export interface Reply { readonly kind: 'reply'; readonly code: Code; readonly own: boolean; readonly answers: readonly Answer[]; readonly authorities: readonly Answer[]; readonly additionals: readonly Answer[] }
export type Outcome = Reply | { readonly kind: 'forward' } | { readonly kind: 'chase'; readonly answers: readonly Answer[]; readonly target: string };

/** Short: names follow the workloads. */
export const ttl = 5;
const maxAliases = 8;
/** Of one answer; more would not fit a message over TCP. */
const maxRecords = 1_000;

export const reply = (code: Code, own: boolean, answers: readonly Answer[] = [], authorities: readonly Answer[] = [], additionals: readonly Answer[] = []): Reply =>
  ({ kind: 'reply', code, own, answers, authorities, additionals });

function soa({ domain, serial }: Zone): Answer {
  return { type: 'SOA', name: domain, ttl, data: { mname: `kube-dns.kube-system.svc.${domain}`, rname: `hostmaster.${domain}`, serial, refresh: 7200, retry: 1800, expire: 86400, minimum: ttl } };
}

/** The name exists, but not with this type. */
const nothing = (zone: Zone): Reply => reply('NOERROR', true, [], [soa(zone)]);

/** Another one first each time: clients take the first. */
function turned<One>(list: readonly One[], turn: number): One[] {
  const at = list.length === 0 ? 0 : turn % list.length;
  return [...list.slice(at), ...list.slice(0, at)].slice(0, maxRecords);
}

const addresses = (name: string, { a, aaaa }: Records, type: string, turn: number): Answer[] => {
  const of = (family: 'A' | 'AAAA', list: readonly string[]): Answer[] => turned(list, turn).map((data) => ({ type: family, name, ttl, data }));
  return [...(type === 'A' ? of('A', a) : []), ...(type === 'AAAA' ? of('AAAA', aaaa) : [])];
};

function services(zone: Zone, name: string, srv: readonly Srv[], turn: number): Reply {
  const answers = turned(srv, turn).map(({ target, port }): Answer => ({ type: 'SRV', name, ttl, data: { target, port, priority: 0, weight: Math.max(1, Math.floor(100 / srv.length)) } }));
  const targets = [...new Set(srv.slice(0, maxRecords).map(({ target }) => target))];
  const additionals = targets.flatMap((target) => {
    const found = zone.get(target);
    return found === undefined || found === 'empty' ? [] : [...addresses(target, found, 'A', 0), ...addresses(target, found, 'AAAA', 0)];
  });
  return reply('NOERROR', true, answers, [], additionals);
}

const inside = (name: string, domain: string): boolean => name === domain || name.endsWith(`.${domain}`);

function ofApex(zone: Zone, name: string, type: string): Reply {
  if (type === 'SOA') return reply('NOERROR', true, [{ ...soa(zone), name } as Answer]);
  if (type === 'NS') return reply('NOERROR', true, [{ type: 'NS', name, ttl, data: `kube-dns.kube-system.svc.${zone.domain}` }]);
  return nothing(zone);
}

function inCluster(zone: Zone, { name: asked, type }: Question, turn: number): Outcome {
  const answers: Answer[] = [];
  let name = asked;
  for (let step = 0; step < maxAliases; step += 1) {
    const lower = name.toLowerCase();
    if (!inside(lower, zone.domain)) return { kind: 'chase', answers, target: name };
    if (lower === zone.domain) return step === 0 ? ofApex(zone, name, type) : reply('NOERROR', true, answers, [soa(zone)]);
    const found = zone.get(lower);
    if (found === undefined) return reply('NXDOMAIN', true, answers, [soa(zone)]);
    if (found === 'empty') return reply('NOERROR', true, answers, [soa(zone)]);
    if (found.cname === undefined || type === 'CNAME') {
      if (found.cname !== undefined) return reply('NOERROR', true, [...answers, { type: 'CNAME', name, ttl, data: found.cname }]);
      if (type === 'SRV' && found.srv.length > 0) {
        const { answers: list, additionals } = services(zone, name, found.srv, turn);
        return reply('NOERROR', true, [...answers, ...list], [], additionals);
      }
      const list = addresses(name, found, type, turn);
      return list.length === 0 ? reply('NOERROR', true, answers, [soa(zone)]) : reply('NOERROR', true, [...answers, ...list]);
    }
    answers.push({ type: 'CNAME', name, ttl, data: found.cname });
    name = found.cname;
  }
  return reply('SERVFAIL', true, answers);
}

/** `ours`: the address is in a range of the cluster, so nobody else has a name for it. `turn`: grows with every question. */
export function answerTo(zone: Zone, question: Question, turn: number, ours: (address: string, family: 4 | 6) => boolean): Outcome {
  const { name, type } = question;
  if ((question.class ?? 'IN') !== 'IN') return reply('REFUSED', false);
  const lower = name.toLowerCase();
  // RFC 8482: a list of all types helps nobody but those who amplify.
  if (type as string === 'ANY') return reply('NOERROR', false, [{ type: 'HINFO', name, ttl, data: { cpu: 'RFC8482', os: '' } }]);
  if (type === 'AXFR' || type === 'IXFR') return reply('REFUSED', false);
  if (inside(lower, zone.domain)) return inCluster(zone, question, turn);
  const address = addressOf(lower);
  if (address === undefined || !ours(address, familyOf(address))) return { kind: 'forward' };
  const names = zone.reverse(lower);
  if (names.length === 0) return reply('NXDOMAIN', true, [], [soa(zone)]);
  return type === 'PTR' ? reply('NOERROR', true, turned(names, turn).map((data): Answer => ({ type: 'PTR', name, ttl, data }))) : nothing(zone);
}
