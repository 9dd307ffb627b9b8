// DNS rules by packets: which queries pass, what answers teach, and what comes of it for connections. Policies go the whole way from YAML to
// the maps; both families.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { textOf } from '../agent/ipcache/address.ts';
import { Bench, here, ticksAgo } from './testing/bench.ts';
import { egress, ends, families, imageOf, prefixes, type Family } from './testing/dns-world.ts';
import { address, answer, dnsOf, dnsType, query, record, toQuestion, wireName, type Message } from './testing/dns.ts';
import { cut, join } from './testing/fragments.ts';
import { checksumsHold, fieldsOf, frame } from './testing/packet.ts';
import { dns_counter, drop_reason, dns_limit } from './types.gen.ts';

let bench: Bench;
let policy: PolicyReconciler;
const apply = async (text = egress): Promise<void> => { await policy.apply(imageOf(text), prefixes, ends); };
beforeAll(() => { bench = new Bench(); });
afterAll(() => { bench.close(); });
beforeEach(async () => {
  policy = policy ?? new PolicyReconciler(bench.datapath);
  for (const [key] of bench.datapath.dns.addresses.entries()) bench.datapath.dns.addresses.delete(key);
  for (const [key] of bench.datapath.conntrack.entries()) bench.datapath.conntrack.delete(key);
  for (let id = 0; id < 8; id += 1) {
    bench.datapath.dns.usages.setUint32(id * 16, 0, true);
    bench.datapath.dns.usages.setUint32(id * 16 + 4, 100, true);
  }
  await apply();
});

let port = 20_000;
const ask = (f: Family, of: Message, options: { to?: string; dport?: number } = {}) => {
  port += 1;
  return { port, ...bench.run('from_workload', frame().ip(f.own, options.to ?? f.dns).udp(port, options.dport ?? 53, query(of)).bytes()) };
};
const tell = (f: Family, to: number, of: Message | Uint8Array, options: { from?: string; sport?: number } = {}) =>
  bench.run('to_workload', frame().ip(options.from ?? f.dns, f.own).udp(options.sport ?? 53, to, of instanceof Uint8Array ? of : answer(of)).bytes());
const learned = (): string[] => bench.datapath.dns.addresses.entries().map(([key]) => `${key.endpoint} ${textOf(key.addr.word)}`).sort();
const connect = (f: Family, dport: number, to: string = f.target): { event: string; reason: number | undefined } => {
  port += 1;
  const { verdict, records } = bench.run('from_workload', frame().ip(f.own, to).tcp(port, dport, 'S').bytes());
  return { event: verdict === 'drop' && [drop_reason.DROP_POLICY_DENIED, drop_reason.DROP_POLICY_DENY].includes(records.at(-1)!.reason as 133) ? 'denied' : 'allowed', reason: records[0]?.egress.action };
};
const counted = (which: keyof typeof dns_counter, work: () => void): number => {
  const before = bench.datapath.dns.counter(dns_counter[which]);
  work();
  return Number(bench.datapath.dns.counter(dns_counter[which]) - before);
};

const queries: readonly { name: string; of: Message; to?: 'dns' | 'also'; dport?: number; becomes: 'sent' | 'refused' | 'dropped' }[] = [
  { name: 'a name that a pattern allows', of: { name: 'www.example.test' }, becomes: 'sent' },
  { name: 'in mixed case (0x20)', of: { name: 'wWw.ExAmPlE.tEsT' }, becomes: 'sent' },
  { name: 'an exact name', of: { name: 'exact.test', type: dnsType.aaaa }, becomes: 'sent' },
  { name: 'with EDNS', of: { name: 'a.example.test', tail: Buffer.from('0000291000000000000000', 'hex') }, becomes: 'sent' },
  { name: 'another name', of: { name: 'www.example.org' }, becomes: 'refused' },
  { name: 'a label more than the star', of: { name: 'a.b.example.test' }, becomes: 'refused' },
  { name: 'behind an exact name', of: { name: 'x.exact.test' }, becomes: 'refused' },
  { name: 'the root', of: { name: '' }, becomes: 'refused' },
  { name: 'letters that no rule has', of: { name: 'a b.example.test' }, becomes: 'refused' },
  { name: 'a dot inside a label', of: { name: Buffer.concat([Buffer.from([3]), Buffer.from('a.b'), wireName('example.test')]) }, becomes: 'refused' },
  { name: 'a length that looks like a letter', of: { name: `${'x'.repeat(45)}.example.test` }, becomes: 'sent' },
  { name: 'a plain allow beside a DNS rule: every name', of: { name: 'any.thing' }, to: 'also', becomes: 'sent' },
  { name: 'two questions', of: { name: 'a.example.test', questions: 2 }, becomes: 'dropped' },
  { name: 'no question', of: { name: 'a.example.test', questions: 0 }, becomes: 'dropped' },
  { name: 'an answer in the other direction', of: { name: 'a.example.test', flags: 0x8180 }, becomes: 'dropped' },
  { name: 'an update (opcode 5)', of: { name: 'a.example.test', flags: 0x2800 }, becomes: 'dropped' },
  { name: 'a pointer for a name', of: { name: toQuestion }, becomes: 'dropped' },
  { name: 'a label of 64', of: { name: `${'x'.repeat(64)}.example.test` }, becomes: 'dropped' },
  { name: '300 labels', of: { name: `${'x.'.repeat(300)}example.test` }, becomes: 'dropped' },
  { name: 'a name cut short', of: { name: Buffer.from([60, 97, 98]) }, becomes: 'dropped' },
];

describe.each(families)('$family', (f) => {
  test.each(queries)('query: $name: $becomes', ({ of, to, dport, becomes }) => {
    const { verdict, packet, records } = ask(f, of, { to: to === 'also' ? f.also : f.dns, ...(dport === undefined ? {} : { dport }) });
    expect(verdict).toBe(becomes === 'dropped' ? 'drop' : 'redirect');
    if (becomes === 'dropped') expect(records.at(-1)!.reason).toBe(drop_reason.DROP_INVALID_PACKET);
    const back = fieldsOf(packet);
    if (becomes === 'sent') expect(back.destination).toBe(to === 'also' ? f.also : f.dns);
    if (becomes !== 'refused') return;
    expect(back).toMatchObject({ source: f.dns, destination: f.own, sport: 53, dport: port, dmac: '020000000001', smac: '0200000000fe' });
    expect(dnsOf(packet)).toMatchObject({ id: 7, flags: 0x8185, rest: query(of).subarray(4) });
    expect(checksumsHold(packet)).toBe(true);
  });

  const chain = Buffer.concat([wireName('b.other')]);
  const pointer = (to: number): Buffer => Buffer.from([0xc0 | (to >> 8), to & 255]);
  /** Where the records of an answer about www.example.test stand, if the first has an owner of two bytes. */
  const first = 12 + 22;
  const second = (of: Family): number => first + 12 + (of.family === 'IPv4' ? 4 : 16);
  const answers: readonly { name: string; of: (f: Family) => Message | Uint8Array; learns: (f: Family) => readonly string[]; passes?: false }[] = [
    { name: 'one address', of: () => ({ name: 'www.example.test', answers: [address(f.target)] }), learns: () => [f.target] },
    { name: 'both families', of: () => ({ name: 'www.example.test', answers: [address('203.0.113.1'), address('2001:db8:9::1')] }), learns: () => ['2001:db8:9::1', '203.0.113.1'] },
    { name: 'a chain of CNAMEs, owners pointed to and written out', of: () => ({ name: 'www.example.test', answers: [{ type: dnsType.cname, data: chain }, address(f.target, { owner: chain })] }), learns: () => [f.target] },
    { name: 'CNAMEs out of order', of: () => ({ name: 'www.example.test', answers: [address(f.target, { owner: chain }), { type: dnsType.cname, data: chain }] }), learns: () => [f.target] },
    { name: '24 addresses', of: () => ({ name: 'www.example.test', answers: Array.from({ length: 24 }, (_, index) => address(`203.0.113.${index + 10}`)) }), learns: () => Array.from({ length: 24 }, (_, index) => `203.0.113.${index + 10}`) },
    { name: 'an error', of: () => ({ name: 'www.example.test', flags: 0x8183 }), learns: () => [] },
    { name: 'cut short (TC)', of: () => ({ name: 'www.example.test', flags: 0x8380, answers: [address(f.target)] }), learns: () => [] },
    { name: 'records of other types and classes', of: () => ({ name: 'www.example.test', answers: [{ type: dnsType.txt, data: Buffer.from('abcd') }, address(f.target, { class: 3 })] }), learns: () => [] },
    { name: 'an address of another size', of: () => ({ name: 'www.example.test', answers: [address(f.target), { type: dnsType.a, data: Buffer.alloc(5) }] }), learns: () => [], passes: false },
    { name: 'another opcode', of: () => ({ name: 'www.example.test', flags: 0x9180, answers: [address(f.target)] }), learns: () => [], passes: false },
    { name: 'an owner that points to itself', of: () => ({ name: 'www.example.test', answers: [address(f.target), address(f.target, { owner: pointer(second(f)) })] }), learns: () => [], passes: false },
    { name: 'owners that point to each other', of: () => ({ name: 'www.example.test', answers: [address(f.target, { owner: pointer(second(f)) }), address(f.target, { owner: pointer(first) })] }), learns: () => [], passes: false },
    { name: 'an owner longer than a name by what it points to', of: () => ({ name: 'www.example.test', answers: [address(f.target, { owner: Buffer.concat([...Array.from({ length: 4 }, () => Buffer.alloc(60, 59)), toQuestion]) })] }), learns: () => [], passes: false },
    { name: 'owners that point to owners', of: () => ({ name: 'www.example.test', answers: [address(f.target, { owner: Buffer.concat([Buffer.from([1, 97]), toQuestion]) }), address(f.target, { owner: Buffer.concat([Buffer.from([1, 98]), pointer(first)]) })] }), learns: () => [f.target] },
    { name: 'a CNAME that ends before its record', of: () => ({ name: 'www.example.test', answers: [{ type: dnsType.cname, data: Buffer.concat([toQuestion, Buffer.from([0])]) }, address(f.target)] }), learns: () => [], passes: false },
    { name: 'another id', of: () => ({ id: 8, name: 'www.example.test', answers: [address(f.target)] }), learns: () => [], passes: false },
    { name: 'another name', of: () => ({ name: 'wwx.example.test', answers: [address(f.target)] }), learns: () => [], passes: false },
    { name: 'another type', of: () => ({ name: 'www.example.test', type: dnsType.mx, answers: [address(f.target)] }), learns: () => [], passes: false },
    { name: 'a query for an answer', of: () => query({ name: 'www.example.test' }), learns: () => [], passes: false },
    { name: 'fewer records than it says', of: () => ({ name: 'www.example.test', answers: [address(f.target)], count: 2 }), learns: () => [], passes: false },
    { name: 'a record longer than the message', of: () => Buffer.concat([answer({ name: 'www.example.test', count: 1 }), record(address(f.target)).subarray(0, -1)]), learns: () => [], passes: false },
    { name: 'an owner that never ends', of: () => ({ name: 'www.example.test', answers: [address(f.target, { owner: Buffer.alloc(600, 1) })] }), learns: () => [], passes: false },
    { name: 'a host, a workload, loopback, link-local', of: () => ({ name: 'www.example.test', answers: ['192.0.2.1', '2001:db8::1', f.dns, '127.0.0.1', '::1', '169.254.169.254', 'fe80::1', 'ff02::1', '0.0.0.0'].map((one) => address(one)) }), learns: () => [] },
  ];
  test.each(answers)('answer: $name', ({ of, learns, passes = true }) => {
    const asked = ask(f, { name: 'wWw.example.test' });
    const { verdict } = tell(f, asked.port, of(f));
    expect([verdict, learned()]).toEqual([passes ? 'pass' : 'drop', learns(f).map((one) => `1 ${one}`).sort()]);
  });

  const addresses = (count: number) => Array.from({ length: count }, (_, index) => address(`203.0.113.${index + 10}`));
  const long = answer({ name: 'wWw.example.test', answers: addresses(100) });
  const inPieces = (to: number, at: number): Uint8Array[] => cut(frame().ip(f.dns, f.own).udp(53, to, long).bytes(), [at], to);
  const unreadable: readonly { name: string; bytes: (to: number) => Uint8Array; code?: number }[] = [
    { name: '25 addresses', bytes: (to) => frame().ip(f.dns, f.own).udp(53, to, answer({ name: 'wWw.example.test', answers: addresses(25) })).bytes() },
    { name: 'more than 1,536 bytes', bytes: (to) => frame().ip(f.dns, f.own).udp(53, to, long).bytes() },
    { name: 'more than 1,536 bytes, and an error', bytes: (to) => frame().ip(f.dns, f.own).udp(53, to, answer({ name: 'wWw.example.test', flags: 0x8183, tail: Buffer.alloc(1_600) })).bytes(), code: 3 },
    { name: 'the first piece of one', bytes: (to) => inPieces(to, 1_200)[0]! },
    { name: 'a piece that ends behind the question', bytes: (to) => inPieces(to, 48)[0]! },
  ];
  test.each(unreadable)('an answer that nobody reads is cut short: $name', ({ bytes, code = 0 }) => {
    const asked = ask(f, { name: 'wWw.example.test' });
    const shortened = counted('DNS_COUNT_CUT', () => {
      const { verdict, packet } = bench.run('to_workload', bytes(asked.port));
      expect(verdict).toBe('pass');
      const whole = packet[20] === 44 && f.family === 'IPv6' ? join([packet]) : packet;
      expect(checksumsHold(whole)).toBe(true);
      expect(fieldsOf(whole)).toMatchObject({ source: f.dns, destination: f.own, sport: 53, dport: asked.port });
      expect(dnsOf(whole)).toMatchObject({ id: 7, flags: 0x8380 | code, rest: answer({ name: 'wWw.example.test' }).subarray(4) });
    });
    expect([shortened, learned()]).toEqual([1, []]);
  });

  test('the pieces behind it are dropped; one that nobody asked for is not cut', () => {
    const asked = ask(f, { name: 'wWw.example.test' });
    expect(inPieces(asked.port, 1_200).map((bytes) => bench.run('to_workload', bytes).verdict)).toEqual(['pass', 'drop']);
    expect(counted('DNS_COUNT_CUT', () => { expect(tell(f, asked.port, long).verdict).toBe('drop'); })).toBe(0);
  });

  test.each([
    { name: 'another port of the client', forged: (to: number) => tell(f, to + 1_000, { name: 'www.example.test', answers: [address(f.target)] }) },
    { name: 'another server', forged: (to: number) => tell(f, to, { name: 'www.example.test', answers: [address(f.target)] }, { from: f.also }) },
    { name: 'another port of the server', forged: (to: number) => tell(f, to, { name: 'www.example.test', answers: [address(f.target)] }, { sport: 54 }) },
  ])('forged: $name: nothing is learned', ({ forged }) => {
    const asked = ask(f, { name: 'www.example.test' });
    forged(asked.port);
    expect(learned()).toEqual([]);
  });

  test('an answer from another port of the server, which the client has asked as well', async () => {
    await apply(`${egress}- toEndpoints: [{matchLabels: {app: dns}}]\n  toPorts: [{ports: [{port: "54", protocol: UDP}], rules: {dns: [{matchPattern: "*.example.test"}]}}]\n`);
    const asked = ask(f, { name: 'www.example.test' });
    bench.run('from_workload', frame().ip(f.own, f.dns).udp(asked.port, 54, query({ name: 'other.example.test' })).bytes());
    const of = { name: 'www.example.test', answers: [address(f.target)] };
    expect([tell(f, asked.port, of, { sport: 54 }).verdict, learned()]).toEqual(['drop', []]);
    expect([tell(f, asked.port, of).verdict, learned()]).toEqual(['pass', [`1 ${f.target}`]]);
  });

  test('an answer of a workload on this node goes the same way', () => {
    const { endpoints } = bench.datapath;
    const asked = ask(f, { name: 'www.example.test' });
    const row = endpoints.get(here)!;
    // `here` is where frames come in, so the server takes the client's place.
    endpoints.set(here, { ...endpoints.get(ends[1]!.ifindex)!, id: row.id });
    try {
      const run = (of: Message) => bench.run('from_workload', frame().mac(ends[1]!.mac).ip(f.dns, f.own).udp(53, asked.port, answer(of)).bytes()).verdict;
      expect([run({ name: 'www.example.org' }), learned()]).toEqual(['drop', []]);
      expect([run({ name: 'www.example.test', answers: [address(f.target)] }), learned()]).toEqual(['redirect', [`1 ${f.target}`]]);
    } finally {
      endpoints.set(here, row);
    }
  });

  test('an answer twice is learned once and passes once', () => {
    const asked = ask(f, { name: 'www.example.test' });
    const of = { name: 'www.example.test', answers: [address(f.target)] };
    expect([tell(f, asked.port, of).verdict, counted('DNS_COUNT_UNASKED', () => { expect(tell(f, asked.port, of).verdict).toBe('drop'); })]).toEqual(['pass', 1]);
  });

  test('an address may be reached on the ports of its name, at once, and by nobody else', () => {
    expect([connect(f, 443).event, connect(f, 80).event]).toEqual(['denied', 'denied']);
    tell(f, ask(f, { name: 'www.example.test' }).port, { name: 'www.example.test', answers: [address(f.target)] });
    expect([connect(f, 443).event, connect(f, 80).event]).toEqual(['allowed', 'denied']);
    tell(f, ask(f, { name: 'exact.test' }).port, { name: 'exact.test', answers: [address(f.target)] });
    expect([connect(f, 443).event, connect(f, 80).event]).toEqual(['allowed', 'allowed']);
  });

  test('an expired address begins no connection and cuts none', async () => {
    tell(f, ask(f, { name: 'www.example.test' }).port, { name: 'www.example.test', answers: [address(f.target)] });
    const syn = frame().ip(f.own, f.target).tcp(999, 443, 'S').bytes();
    bench.run('from_workload', syn);
    const { addresses } = bench.datapath.dns;
    for (const [key, value] of addresses.entries()) addresses.set(key, { source: value.source.map((one) => ({ ...one, expires: ticksAgo(1) })) });
    expect(connect(f, 443).event).toBe('denied');
    await apply(`${egress}- toCIDR: [192.0.2.99/32]\n`);
    const { records } = bench.run('from_workload', frame().ip(f.own, f.target).tcp(999, 443, 'A').bytes());
    expect(records.filter(({ reason }) => reason === drop_reason.DROP_POLICY_DENIED)).toEqual([]);
  });

  test('a policy without the name ends its connections, with it again an address is still known', async () => {
    tell(f, ask(f, { name: 'www.example.test' }).port, { name: 'www.example.test', answers: [address(f.target)] });
    expect(connect(f, 443).event).toBe('allowed');
    await apply(egress.replaceAll('443', '444'));
    expect([connect(f, 443).event, connect(f, 444).event]).toEqual(['denied', 'allowed']);
  });

  test('a TTL of 0 is held for the floor, the largest for the ceiling', () => {
    tell(f, ask(f, { name: 'www.example.test' }).port, { name: 'www.example.test', answers: [address('203.0.113.1', { ttl: 0 }), address('203.0.113.2', { ttl: 0x7fffffff }), address('203.0.113.3', { ttl: 0xffffffff })] });
    const left = bench.datapath.dns.addresses.entries().sort(([a], [b]) => a.addr.word[15]! - b.addr.word[15]!).map(([, { source }]) => Math.round(((source[0]!.expires - ticksAgo(0)) | 0) * 2 ** 20 / 1e9));
    expect(left).toEqual([dns_limit.DNS_TTL_FLOOR, dns_limit.DNS_TTL_CEILING, dns_limit.DNS_TTL_FLOOR]);
  });

  test('beyond its quota nothing is learned, and it is counted', () => {
    bench.datapath.dns.usages.setUint32(16 + 4, 2, true);
    const crowded = counted('DNS_COUNT_CROWDED', () => {
      tell(f, ask(f, { name: 'www.example.test' }).port, { name: 'www.example.test', answers: ['203.0.113.1', '203.0.113.2', '203.0.113.3'].map((one) => address(one)) });
    });
    expect([learned().length, crowded, bench.datapath.dns.usages.getBigUint64(16 + 8, true) > 0n]).toEqual([2, 1, true]);
  });
});
