// The steps of a seed for dns-streams.ts: queries of all kinds in one stream, cut anywhere, answers from the corpus, changed in a few places, and
// ends that go at any time.
import { makeRandom } from '../../agent/policy/random-cases.ts';
import { framed } from '../../agent/names/server/upstream.ts';
import { answersOf } from './dns-fuzz.ts';
import { address, answer, query, type Message } from './dns.ts';
import type { Step } from './dns-streams.ts';

const name = 'www.example.test';
const asked: readonly Message[] = [
  { name }, { name }, { name }, { name: 'wWw.eXample.TEST' }, { name: 'exact.test', type: 28 }, { name: 'www.example.org' }, { name: '' }, { name, questions: 2 }, { name, flags: 0x8180 },
  { name, flags: 0x2800 }, { name, tail: Buffer.from('0000291000000000000000', 'hex') }, { name: Buffer.from([60, 97, 98]) }, { name, tail: Buffer.alloc(1_400) },
];
const lengths = [0, 1, 11, 12, 16, 17, 1_535, 1_536, 1_537, 3_000, 4_096, 20_000, 65_535];

type Random = ReturnType<typeof makeRandom>;

function frameOf({ below }: Random): Buffer {
  const message = Buffer.from(query({ id: below(65_536), ...asked[below(asked.length)]! }));
  switch (below(12)) {
    case 0: message[below(message.length)] = below(256); break;
    case 1: return framed(Buffer.concat([message, Buffer.alloc(lengths[below(lengths.length)]!)]).subarray(0, lengths[below(lengths.length)]!));
    case 2: {
      const wrong = framed(message);
      wrong.writeUInt16BE(below(4) === 0 ? below(65_536) : Math.max(0, message.length + below(9) - 4), 0);
      return wrong;
    }
  }
  return framed(message);
}

/** In pieces: one, a few, or each byte. */
function* piecesOf(bytes: Buffer, { below }: Random): Generator<Buffer> {
  const most = [bytes.length, 1 + below(40), 1 + below(bytes.length)][below(3)]!;
  for (let at = 0; at < bytes.length && most > 0;) {
    const size = Math.max(1 + below(most), Math.ceil(bytes.length / 200));
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function wellFormed({ below }: Random): Buffer {
  const count = [1, 1, 2, 4, 24, 25, 120][below(7)]!;
  return answer({ name, answers: Array.from({ length: count }, (_, index) => address(`203.0.${index >> 8}.${index & 255}`)) });
}

export function stepsOf(seed: number): Step[] {
  const random = makeRandom(seed);
  const { below } = random;
  const answers = [...answersOf(seed, 4)];
  const many = below(10) === 0 ? 40 + below(300) : 1 + below(6);
  const stream = Buffer.concat(Array.from({ length: many }, () => (many > 6 && below(50) > 0 ? framed(query({ id: below(65_536), name: below(3) === 0 ? 'www.example.org' : name })) : frameOf(random))));
  const steps: Step[] = [];
  const between = (): void => {
    for (let times = below(4); times > 0; times -= 1) {
      const message = below(2) === 0 ? wellFormed(random) : answers[below(answers.length)]!;
      switch (below(16)) {
        case 0: steps.push({ kind: 'server', bytes: framed(message).subarray(below(8)).toString('hex') }); break;
        case 1: steps.push({ kind: (['server ends', 'server goes', 'client reads', 'client reads'] as const)[below(4)]! }); break;
        case 2: if (below(8) === 0) steps.push({ kind: (['client ends', 'client goes', 'no way there'] as const)[below(3)]! }); break;
        default: steps.push({ kind: 'answer', of: below(many), bytes: message.toString('hex'), cut: below(message.length + 2) });
      }
    }
  };
  for (const piece of piecesOf(stream, random)) {
    steps.push({ kind: 'client', bytes: piece.toString('hex') });
    between();
  }
  if (below(2) === 0) steps.push({ kind: 'client ends' });
  for (let times = below(3); times > 0; times -= 1) between();
  return steps;
}
