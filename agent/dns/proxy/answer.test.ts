// Answers of any size -> pieces that the kernel reads.
import packet from 'dns-packet';
import { describe, expect, test } from '@jest/globals';
import { answer, address, dnsType, query, type Answer, type Message } from '../../../bpf/testing/dns.ts';
import { piecesOf } from './answer.ts';

const many = (count: number): Answer[] => Array.from({ length: count }, (_, index) => address(`203.0.${index >> 8}.${index & 255}`));
const svcb = (...parameters: readonly (readonly [key: number, value: string])[]): Buffer => Buffer.concat([Buffer.from('000100', 'hex'), ...parameters.map(([key, value]) => {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(key, 0);
  head.writeUInt16BE(value.length / 2, 2);
  return Buffer.concat([head, Buffer.from(value, 'hex')]);
})]);

interface Case { readonly name: string; readonly of: Message; readonly pieces: readonly number[]; readonly first?: string }
const cases: readonly Case[] = [
  { name: 'no record', of: { name: 'a.test' }, pieces: [0] },
  { name: 'as many as the kernel reads', of: { name: 'a.test', answers: many(24) }, pieces: [24], first: '203.0.0.0' },
  { name: 'one more', of: { name: 'a.test', answers: many(25) }, pieces: [24, 1], first: '203.0.0.0' },
  { name: 'as many as fit', of: { name: 'a.test', answers: many(4_000) }, pieces: [...Array.from({ length: 166 }, () => 24), 16], first: '203.0.0.0' },
  { name: 'IPv6', of: { name: 'a.test', answers: [address('2001:db8::1')] }, pieces: [1], first: '2001:db8::1' },
  { name: 'an error', of: { name: 'a.test', flags: 0x8183, answers: many(1) }, pieces: [0] },
  { name: 'cut short', of: { name: 'a.test', flags: 0x8380, answers: many(1) }, pieces: [0] },
  { name: 'another class', of: { name: 'a.test', answers: [address('203.0.113.1', { class: 3 })] }, pieces: [0] },
  { name: 'a class whose highest bit is set', of: { name: 'a.test', answers: [address('203.0.113.1', { class: 0x8001 })] }, pieces: [0] },
  { name: 'records of other types', of: { name: 'a.test', answers: [{ type: dnsType.txt, data: Buffer.from('\x03abc') }, ...many(1)] }, pieces: [1], first: '203.0.0.0' },
  { name: 'hints of HTTPS', of: { name: 'a.test', type: dnsType.https, answers: [{ type: dnsType.https, data: svcb([1, '0268320000'.slice(0, 6)], [4, 'cb007101cb007102'], [6, '20010db8000000000000000000000009']) }] }, pieces: [3], first: '203.0.113.1' },
  { name: 'hints that are cut short', of: { name: 'a.test', answers: [{ type: dnsType.https, data: svcb([4, 'cb007101cb0071']).subarray(0, -1) }] }, pieces: [0] },
  { name: 'half a hint', of: { name: 'a.test', answers: [{ type: dnsType.https, data: svcb([4, 'cb007101cb00']) }] }, pieces: [1], first: '203.0.113.1' },
];

describe('pieces', () => {
  test.each(cases)('$name', ({ of, pieces, first }) => {
    const asked = query({ name: 'A.Test', ...(of.type === undefined ? {} : { type: of.type }) });
    const found = piecesOf(asked, answer(of)).map((piece) => packet.decode(piece));
    expect(found.map(({ answers = [] }) => answers.length)).toEqual(pieces);
    for (const { questions } of found) expect(questions).toMatchObject([{ name: 'A.Test' }]);
    if (first !== undefined) expect(found[0]!.answers![0]).toMatchObject({ name: 'A.Test', class: 'IN', ttl: 300, data: first });
  });

  test('what the codec cannot read', () => {
    expect(() => piecesOf(query({ name: 'a.test' }), answer({ name: 'a.test', answers: many(1), count: 9 }))).toThrow();
  });
});
