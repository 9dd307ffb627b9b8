// How far a policy goes, by an annotation of its own or of its namespace: enforced, only audited (what it would have done is told), or off.
import { choice, isAbsent, isObject, type Report } from './check.ts';

export const MODE = 'policy.weir.io/mode';
export const modes = ['enforce', 'audit', 'off'] as const;
export type Mode = typeof modes[number];

const shape = choice(`the annotation ${MODE}`, modes, { enforced: 'did you mean `enforce`?', audited: 'did you mean `audit`?', disabled: 'did you mean `off`?' });

const annotationOf = (object: unknown): unknown => {
  const metadata = isObject(object) ? object['metadata'] : undefined;
  const annotations = isObject(metadata) ? metadata['annotations'] : undefined;
  return isObject(annotations) ? annotations[MODE] : undefined;
};

/** Of a policy, or of a Namespace. */
export function checkMode(object: unknown, report: Report): void {
  const value = annotationOf(object);
  if (!isAbsent(value)) shape(value, ['metadata', 'annotations', MODE], report);
}

/** What it says itself; undefined: nothing, or nothing that is a mode. */
export const modeOf = (object: unknown): Mode | undefined => modes.find((mode) => mode === annotationOf(object));
