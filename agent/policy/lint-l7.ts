// L7 rules that do not do what they say: every request passes all the same (`open-l7`), connections are refused because they would have to be read
// in two ways at once (`mixed-l7`), or one HTTP rule has all of another (`duplicate`).
import { isDeepStrictEqual } from 'node:util';
import { parsePath } from './check.ts';
import { formatRule } from './explain-text.ts';
import type { HttpRule } from './image.ts';
import { holds, touch, wider, type Locate } from './lint-overlap.ts';
import type { LintWorld } from './lint-world.ts';
import type { LintWarning } from './lint.ts';
import { isConflict, together } from './rule-set.ts';
import type { Rule, RuleGroup } from './rule.ts';

interface Entry { readonly group: RuleGroup; readonly rule: Rule }

const asking = (world: LintWorld): Entry[] => world.groups.flatMap((group) => group.rules.filter(({ l7 }) => l7 !== undefined).map((rule) => ({ group, rule })));

export function openL7(world: LintWorld, at: Locate): LintWarning[] {
  return asking(world).flatMap(({ group, rule }): LintWarning[] => {
    const { l7: _, ...plain } = rule;
    const open = wider(world, group).flatMap(({ rules }) => rules).find((other) => other.l7 === undefined && other.dns === undefined && holds(world, other, plain));
    const warning = { name: 'open-l7' as const, policy: group.policy, path: parsePath(rule.ref.path) };
    if (open !== undefined) {
      return [{ ...warning, message: `every request passes: ${formatRule(open.ref)}${at(open.ref)} allows the same peers there and asks nothing of requests`, mend: 'remove or narrow that rule' }];
    }
    const subjects = world.subjects(group);
    const enforced = subjects.some((subject) => world.groupsAt(subject).some(({ defaultDeny }) => defaultDeny[rule.direction]));
    return enforced || subjects.length === 0 ? [] : [{ ...warning, message: 'every request passes: no policy denies by default here, so that what no rule asks for is allowed', mend: 'leave enableDefaultDeny out' }];
  });
}

export function mixedL7(world: LintWorld, at: Locate): LintWarning[] {
  const entries = asking(world);
  return entries.flatMap(({ group, rule }, index): LintWarning[] => {
    const other = entries.slice(0, index).find((one) => meets(world, one, { group, rule }));
    if (other === undefined) return [];
    const found = together([other.rule, rule].map(({ ref, l7 }) => ({ ref, l7: l7! })), rule.direction, true);
    return isConflict(found) ? [{
      name: 'mixed-l7', policy: group.policy, path: parsePath(rule.ref.path),
      message: `connections are refused that both this and ${formatRule(other.rule.ref)}${at(other.rule.ref)} are about: ${found.message}`, mend: 'give each a port of its own, or read both in the same way',
    }] : [];
  });
}

/** Both are about some peer of some workload on some port, and cannot be served together. */
function meets(world: LintWorld, one: Entry, other: Entry): boolean {
  if (one.rule.direction !== other.rule.direction || !touch(world.ranges(one.rule), world.ranges(other.rule))) return false;
  if (!isConflict(together([one.rule, other.rule].map(({ ref, l7 }) => ({ ref, l7: l7! })), one.rule.direction, true))) return false;
  const [subjects, peers] = [new Set(world.subjects(one.group)), new Set(world.peers(one.rule))];
  return world.subjects(other.group).some((subject) => subjects.has(subject)) && world.peers(other.rule).some((peer) => peers.has(peer));
}

export function duplicateHttp(world: LintWorld): LintWarning[] {
  return asking(world).flatMap(({ group, rule }) => (rule.l7?.http ?? []).flatMap((http, index, all): LintWarning[] => {
    const twin = all.findIndex((other, at) => at !== index && covers(other, http) && (at < index || !covers(http, other)));
    return twin < 0 ? [] : [{
      name: 'duplicate', policy: group.policy, path: [...parsePath(rule.ref.path), 'rules', 'http', index], message: `http[${twin}] beside it allows all of this already`, mend: 'remove one of them',
    }];
  }));
}

/** By what is written; regular expressions are not compared. */
const covers = (outer: HttpRule, inner: HttpRule): boolean => (['method', 'path', 'host'] as const).every((field) => outer[field] === undefined || outer[field] === inner[field])
  && outer.headers.every((header) => inner.headers.some((other) => isDeepStrictEqual(header, other) || (header.value === undefined && header.name === other.name)))
  && isDeepStrictEqual(outer.mismatches, inner.mismatches);
