// Warnings about policies that are valid and may still not be what was meant. Each has a name, and a policy may say that it
// means it (ignored.ts).
import type { Path } from './check.ts';
import { ignored } from './ignored.ts';
import type { PolicyRef, RuleRef } from './image.ts';
import { duplicateHttp, mixedL7, openL7 } from './lint-l7.ts';
import { duplicates, shadowed } from './lint-overlap.ts';
import { allowsWorld, noDns, selectsNothing, unprotected } from './lint-reach.ts';
import { LintWorld } from './lint-world.ts';
import type { World } from './offline.ts';
import type { RuleGroup } from './rule.ts';

/** Beside them `not-enforced`, `octal-port` and `ignored-field`, which are found in one object alone. */
export type LintName = 'selects-nothing' | 'shadowed' | 'duplicate' | 'allows-world' | 'unprotected' | 'no-dns' | 'open-l7' | 'mixed-l7';

export interface LintWarning {
  readonly name: LintName;
  readonly policy: PolicyRef;
  readonly path: Path;
  readonly message: string;
  readonly mend: string;
}

export interface LintSources {
  readonly objectOf: (policy: PolicyRef) => Readonly<Record<string, unknown>>;
  /** ` (FILE:LINE)` */
  readonly at: (ref: RuleRef) => string;
}

export function lint(world: World, { objectOf, at }: LintSources): LintWarning[] {
  const judged = new LintWorld(world);
  const found = [
    ...selectsNothing(judged, (group: RuleGroup) => objectOf(group.policy)),
    ...shadowed(judged, at), ...duplicates(judged, at), ...allowsWorld(judged), ...unprotected(judged), ...noDns(judged),
    ...openL7(judged, at), ...mixedL7(judged, at), ...duplicateHttp(judged),
  ];
  return found.filter(({ name, policy }) => !ignored(objectOf(policy)).has(name));
}
