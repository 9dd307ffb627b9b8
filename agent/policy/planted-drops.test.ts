// Drops that are planted in random policy sets: the explanation names what decided, and its policy opens that flow and no other.
import { describe, expect, test } from '@jest/globals';
import { explain, type Explanation } from './explain.ts';
import { protocolNumber } from './icmp.ts';
import type { Direction } from './image.ts';
import { endpointOf, identityOf, judge, makeWorld, partyOf, type CaseFlow, type CaseParty, type PolicyCase, type World } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { check } from './validate.ts';
import { isAllowed } from './verdict.ts';

const DROPS = 200;
const ENTITIES = ['host', 'remote-node', 'kube-apiserver', 'health', 'ingress', 'init', 'unmanaged'];
const PORTS = [0, 1, 52, 53, 54, 80, 81, 443, 4242, 8080, 9000, 65535];

interface Drop { readonly seed: number; readonly one: PolicyCase; readonly world: World; readonly flow: CaseFlow; readonly side: Direction }

/** Denied flows of random cases, as many by deny rules as by default. */
function plant(count: number): Drop[] {
  const drops = { deny: [] as Drop[], 'default-deny': [] as Drop[] };
  for (let seed = 7_000; Math.min(drops.deny.length, drops['default-deny'].length) < count / 2; seed += 1) {
    const one = { ...randomCase(makeRandom(seed), `drop-${seed}`), ipv6: true };
    const world = makeWorld(one);
    for (const flow of one.flows) {
      const side = (['ingress', 'egress'] as const).find((direction) => flow.direction === direction || flow.direction === 'both')!;
      const peer = side === 'ingress' ? flow.from : flow.to;
      // All addresses of a family have no policy of their own that is exact; the text says so then.
      // Nor can a policy name port 0 alone.
      if ((typeof peer !== 'string' && 'entity' in peer && peer.entity.startsWith('world')) || flow.port === 0) continue;
      const { action } = judge(world, flow, side);
      if ((action === 'deny' || action === 'default-deny') && drops[action].length < count / 2 && drops[action].at(-1)?.seed !== seed) drops[action].push({ seed, one, world, flow, side });
    }
  }
  return [...drops.deny, ...drops['default-deny']];
}

function explainDrop({ world, flow, side }: Drop): Explanation {
  return explain({
    direction: side, from: partyOf(world, flow.from), to: partyOf(world, flow.to), protocol: protocolNumber(flow.protocol)!, port: flow.port ?? flow.icmpType!,
    rules: world.rules, identities: world.identities, endpoints: world.endpoints, endpoint: endpointOf(world, side === 'ingress' ? flow.to : flow.from), ipv6: world.ipv6,
  });
}

const drops = plant(DROPS);
const text = (drop: Drop) => ({ seed: drop.seed, flow: drop.flow, side: drop.side });

describe(`${DROPS} planted drops`, () => {
  test('are half by deny rules, half by default', () => {
    const verdicts = drops.map((drop) => explainDrop(drop).verdict);
    expect(['deny', 'default-deny'].map((kind) => verdicts.filter((one) => one === kind).length)).toEqual([DROPS / 2, DROPS / 2]);
  });

  test('each explanation names the rules that deny, or the policies that deny by default', () => {
    const wrong = drops.filter((drop) => {
      const { verdict, decidedBy, policies } = explainDrop(drop);
      const decided = judge(drop.world, drop.flow, drop.side);
      if (verdict !== decided.action) return true;
      const subject = endpointOf(drop.world, drop.side === 'ingress' ? drop.flow.to : drop.flow.from)!;
      const merged = drop.world.image.policies.get(drop.world.image.ofEndpoint.get(subject.id)![drop.side]!)!;
      const keys = (refs: readonly object[]): string => [...new Set(refs.map((ref) => JSON.stringify(ref)))].sort().join();
      if (verdict === 'default-deny') return keys(policies.filter(({ defaultDeny }) => defaultDeny).map(({ policy }) => policy)) !== keys(merged.enforcedBy);
      return decidedBy.length === 0 || !decided.rules.every((rule) => decidedBy.includes(rule)) || decidedBy.some((rule) => rule.action !== 'deny');
    });
    expect(wrong.map(text)).toEqual([]);
  });

  test('without the rules that it names a denied flow is denied by them no more', () => {
    const wrong = drops.filter((drop) => {
      const { verdict, decidedBy } = explainDrop(drop);
      if (verdict !== 'deny') return false;
      const named = new Set(decidedBy);
      const without = makeWorld({ ...drop.one, policies: [] });
      const groups = drop.world.rules.map((group) => ({ ...group, rules: group.rules.filter((rule) => !named.has(rule.ref)) }));
      return explainDrop({ ...drop, world: { ...without, rules: groups } }).verdict === 'deny';
    });
    expect(wrong.map(text)).toEqual([]);
  });

  test('each suggestion is valid, opens its flow and, over all pairs and ports, nothing else', () => {
    let suggested = 0;
    for (const drop of drops) {
      const { verdict, suggestion } = explainDrop(drop);
      if (verdict === 'deny') continue;
      suggested += 1;
      // All nodes of one kind are one identity.
      expect([drop.seed, check(suggestion!.object).problems, suggestion!.widens ?? 'every node of this kind']).toEqual([drop.seed, [], 'every node of this kind']);
      const after = makeWorld({ ...drop.one, policies: [...drop.one.policies, suggestion!.object] });
      expect([text(drop), judge(after, drop.flow, drop.side).action]).toEqual([text(drop), 'allow']);
      expect([text(drop), opened(drop, after)]).toEqual([text(drop), []]);
    }
    expect(suggested).toBe(DROPS / 2);
  });
});

/** Every other pair of identities, and the same pair on other ports, that got through only with the suggestion. */
function opened({ world, flow, side }: Drop, after: World): CaseFlow[] {
  const pods: CaseParty[] = [...world.pods.keys()];
  const addresses = ['10.1.2.3', '10.1.2.4', '10.1.9.9', '10.9.9.9', '11.0.0.1', '192.0.2.1', '2001:db8::1', '2001:db8:1::5', '2001:db9::1'].map((ip) => ({ ip }));
  const peers: CaseParty[] = [...pods, ...ENTITIES.map((entity) => ({ entity })), ...addresses];
  const nameOf = (party: CaseParty): string => (typeof party === 'string' || 'entity' in party ? String(identityOf(world, party)) : party.ip);
  const same = (other: CaseFlow): boolean => nameOf(other.from) === nameOf(flow.from) && nameOf(other.to) === nameOf(flow.to);
  const services = [...['TCP', 'UDP', 'SCTP'].flatMap((protocol) => PORTS.map((port) => ({ protocol, port }))), ...['ICMP', 'ICMPv6'].flatMap((protocol) => [0, 3, 8, 128].map((icmpType) => ({ protocol, icmpType })))];
  const found: CaseFlow[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    for (const subject of pods) {
      for (const peer of peers) {
        const ends = direction === 'ingress' ? { from: peer, to: subject } : { from: subject, to: peer };
        for (const service of services) {
          const other: CaseFlow = { direction, ...ends, ...service };
          const isIt = direction === side && same(other) && service.protocol === flow.protocol && (other.port ?? other.icmpType) === (flow.port ?? flow.icmpType);
          if (!isIt && !isAllowed(judge(world, other, direction)) && isAllowed(judge(after, other, direction))) found.push(other);
        }
      }
    }
  }
  return found;
}
