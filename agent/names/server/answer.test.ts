// What each question is answered, from rows alone.
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { Answer } from 'dns-packet';
import { answerTo, type Outcome } from './answer.ts';
import { addressOf, reverseName } from './reverse.ts';
import type { NameRow } from './rows.ts';
import { Zone } from './zone.ts';

const http = { name: 'http', protocol: 'TCP', port: 80 } as const;
const rows: readonly NameRow[] = [
  { key: 'shop/web', service: { clusterIps: ['10.96.0.20', 'fd00:96::20'], ports: [http, { name: 'dns', protocol: 'UDP', port: 53 }], endpoints: [] }, pod: ['10.1.0.9'] },
  { key: 'shop/plain', service: { clusterIps: ['10.96.0.21'], ports: [{ name: '', protocol: 'TCP', port: 7 }], endpoints: [] } },
  { key: 'shop/db', service: { clusterIps: [], ports: [], endpoints: [
    { addresses: ['10.1.0.2'], hostname: 'db-0', ports: [{ ...http, port: 5432 }] }, { addresses: ['10.1.0.3'], ports: [{ ...http, port: 5433 }] }, { addresses: ['fd00::2'], hostname: 'db-0', ports: [{ ...http, port: 5432 }] },
  ] } },
  { key: 'shop/empty', service: { clusterIps: [], ports: [], endpoints: [] } },
  { key: 'shop/outer', service: { clusterIps: [], externalName: 'Example.com.', ports: [], endpoints: [] } },
  { key: 'shop/inner', service: { clusterIps: [], externalName: 'web.shop.svc.cluster.local', ports: [], endpoints: [] } },
  { key: 'shop/ring', service: { clusterIps: [], externalName: 'ring.shop.svc.cluster.local', ports: [], endpoints: [] } },
  { key: 'shop/till', workloads: ['10.1.0.4', 'fd00::4'], pod: ['10.1.0.4', 'fd00::4'] },
  { key: 'other/many', workloads: ['10.1.0.5', '10.1.0.6'] },
];

let zone: Zone;
beforeAll(() => {
  zone = new Zone('cluster.local');
  for (const row of rows) zone.set(row);
});

const ours = (address: string): boolean => /^10\.|^fd00/.test(address);
const data = ({ type, data: value }: Answer & { data?: unknown }): string => {
  const srv = value as { port: number; target: string };
  return `${type} ${type === 'SRV' ? `${srv.port} ${srv.target}` : type === 'SOA' ? '' : String(value)}`.trim();
};
function told(outcome: Outcome): string {
  if (outcome.kind === 'forward') return 'forward';
  if (outcome.kind === 'chase') return [...outcome.answers.map(data as never), `chase ${outcome.target}`].join(', ');
  const part = (word: string, list: readonly Answer[]): string[] => (list.length === 0 ? [] : [`${word}${list.map(data as never).join(', ')}`]);
  return [outcome.code, ...part('', outcome.answers), ...part('authority ', outcome.authorities), ...part('also ', outcome.additionals)].join('; ');
}
const ask = (name: string, type: string, turn = 0, klass = 'IN'): string => told(answerTo(zone, { name, type: type as 'A', class: klass as 'IN' }, turn, ours));

const svc = 'svc.cluster.local';
const table: readonly [name: string, type: string, answer: string][] = [
  [`web.shop.${svc}`, 'A', 'NOERROR; A 10.96.0.20'],
  [`WEB.Shop.${svc}`, 'A', 'NOERROR; A 10.96.0.20'],
  [`web.shop.${svc}`, 'AAAA', 'NOERROR; AAAA fd00:96::20'],
  [`plain.shop.${svc}`, 'AAAA', 'NOERROR; authority SOA'],
  [`web.shop.${svc}`, 'MX', 'NOERROR; authority SOA'],
  [`_http._tcp.web.shop.${svc}`, 'SRV', `NOERROR; SRV 80 web.shop.${svc}; also A 10.96.0.20, AAAA fd00:96::20`],
  [`_dns._udp.web.shop.${svc}`, 'SRV', `NOERROR; SRV 53 web.shop.${svc}; also A 10.96.0.20, AAAA fd00:96::20`],
  [`_http._udp.web.shop.${svc}`, 'SRV', 'NXDOMAIN; authority SOA'],
  [`_tcp.web.shop.${svc}`, 'SRV', 'NOERROR; authority SOA'],
  [`plain.shop.${svc}`, 'SRV', `NOERROR; SRV 7 plain.shop.${svc}; also A 10.96.0.21`],
  [`db.shop.${svc}`, 'A', 'NOERROR; A 10.1.0.2, A 10.1.0.3'],
  [`db.shop.${svc}`, 'AAAA', 'NOERROR; AAAA fd00::2'],
  [`db-0.db.shop.${svc}`, 'A', 'NOERROR; A 10.1.0.2'],
  [`10-1-0-3.db.shop.${svc}`, 'A', 'NOERROR; A 10.1.0.3'],
  [`_http._tcp.db.shop.${svc}`, 'SRV', `NOERROR; SRV 5432 db-0.db.shop.${svc}, SRV 5433 10-1-0-3.db.shop.${svc}; also A 10.1.0.2, AAAA fd00::2, A 10.1.0.3`],
  [`empty.shop.${svc}`, 'A', 'NOERROR; authority SOA'],
  [`outer.shop.${svc}`, 'A', 'CNAME example.com, chase example.com'],
  [`outer.shop.${svc}`, 'CNAME', 'NOERROR; CNAME example.com'],
  [`inner.shop.${svc}`, 'A', `NOERROR; CNAME web.shop.${svc}, A 10.96.0.20`],
  [`ring.shop.${svc}`, 'A', `SERVFAIL; ${Array.from({ length: 8 }, () => `CNAME ring.shop.${svc}`).join(', ')}`],
  [`till.shop.${svc}`, 'A', 'NOERROR; A 10.1.0.4'],
  [`till.shop.${svc}`, 'AAAA', 'NOERROR; AAAA fd00::4'],
  [`many.other.${svc}`, 'A', 'NOERROR; A 10.1.0.5, A 10.1.0.6'],
  ['10-1-0-4.shop.pod.cluster.local', 'A', 'NOERROR; A 10.1.0.4'],
  ['fd00--4.shop.pod.cluster.local', 'AAAA', 'NOERROR; AAAA fd00::4'],
  ['10-1-0-9.shop.pod.cluster.local', 'A', 'NOERROR; A 10.1.0.9'],
  ['10-1-0-4.other.pod.cluster.local', 'A', 'NXDOMAIN; authority SOA'],
  [`nobody.shop.${svc}`, 'A', 'NXDOMAIN; authority SOA'],
  [`web.nowhere.${svc}`, 'A', 'NXDOMAIN; authority SOA'],
  [`example.com.shop.${svc}`, 'A', 'NXDOMAIN; authority SOA'],
  [`shop.${svc}`, 'A', 'NOERROR; authority SOA'],
  [svc, 'A', 'NOERROR; authority SOA'],
  ['cluster.local', 'SOA', 'NOERROR; SOA'],
  ['cluster.local', 'NS', `NOERROR; NS kube-dns.kube-system.${svc}`],
  ['cluster.local', 'A', 'NOERROR; authority SOA'],
  ['20.0.96.10.in-addr.arpa', 'PTR', `NOERROR; PTR web.shop.${svc}`],
  ['2.0.1.10.in-addr.arpa', 'PTR', `NOERROR; PTR db-0.db.shop.${svc}`],
  ['4.0.1.10.in-addr.arpa', 'PTR', `NOERROR; PTR till.shop.${svc}`],
  [reverseName('fd00:96::20'), 'PTR', `NOERROR; PTR web.shop.${svc}`],
  ['20.0.96.10.in-addr.arpa', 'A', 'NOERROR; authority SOA'],
  ['200.0.96.10.in-addr.arpa', 'PTR', 'NXDOMAIN; authority SOA'],
  ['1.1.168.192.in-addr.arpa', 'PTR', 'forward'],
  ['10.in-addr.arpa', 'PTR', 'forward'],
  ['example.com', 'A', 'forward'],
  ['notcluster.local', 'A', 'forward'],
  ['.', 'NS', 'forward'],
  ['web', 'A', 'forward'],
  [`web.shop.${svc}`, 'AXFR', 'REFUSED'],
  ['example.com', 'ANY', 'NOERROR; HINFO [object Object]'],
];

describe('answers', () => {
  test.each(table)('%s %s', (name, type, answer) => { expect(ask(name, type)).toBe(answer); });

  test('another class is refused', () => { expect(ask('example.com', 'TXT', 0, 'CH')).toBe('REFUSED'); });

  test('another one first each time', () => {
    expect([0, 1, 2].map((turn) => ask(`many.other.${svc}`, 'A', turn))).toEqual(['NOERROR; A 10.1.0.5, A 10.1.0.6', 'NOERROR; A 10.1.0.6, A 10.1.0.5', 'NOERROR; A 10.1.0.5, A 10.1.0.6']);
  });
});

describe('a zone that changes', () => {
  const two = { key: 'a/x', workloads: ['10.0.0.1'], pod: ['10.0.0.1'] };
  test('a Service wins over the workloads of its name, and gives the name back', () => {
    const changing = new Zone('cluster.local');
    const a = (name: string): string => told(answerTo(changing, { name, type: 'A' }, 0, ours));
    changing.set(two);
    changing.set({ ...two, service: { clusterIps: ['10.96.0.1'], ports: [http], endpoints: [] } });
    expect([a(`x.a.${svc}`), a('10-0-0-1.a.pod.cluster.local')]).toEqual(['NOERROR; A 10.96.0.1', 'NOERROR; A 10.0.0.1']);
    changing.set(two);
    expect([a(`x.a.${svc}`), a(`_tcp.x.a.${svc}`)]).toEqual(['NOERROR; A 10.0.0.1', 'NXDOMAIN; authority SOA']);
    changing.delete('a/x');
    expect([a(`x.a.${svc}`), a(`a.${svc}`), a('10-0-0-1.a.pod.cluster.local'), changing.size]).toEqual([...Array.from({ length: 3 }, () => 'NXDOMAIN; authority SOA'), 0]);
    expect(told(answerTo(changing, { name: '1.0.0.10.in-addr.arpa', type: 'PTR' }, 0, ours))).toBe('NXDOMAIN; authority SOA');
  });

  test('an address that changes hands: the pod that had it takes no name away', () => {
    const changing = new Zone('cluster.local');
    changing.set(two);
    changing.set({ key: 'a/y', workloads: ['10.0.0.1'], pod: ['10.0.0.1'] });
    changing.delete('a/x');
    expect(told(answerTo(changing, { name: '10-0-0-1.a.pod.cluster.local', type: 'A' }, 0, ours))).toBe('NOERROR; A 10.0.0.1');
  });
});

test.each([
  ['10.1.2.3', '3.2.1.10.in-addr.arpa', '10.1.2.3'],
  ['fd00::a', `a.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`, 'fd00:0000:0000:0000:0000:0000:0000:000a'],
])('%s reversed and back', (address, name, back) => {
  expect(reverseName(address)).toBe(name);
  expect(addressOf(name)).toBe(back);
});
