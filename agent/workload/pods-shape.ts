// The pieces that the shapes of Pod and Deployment are made of, beside those of policy/check.ts.
import { fail, found, isObject, object, text, type ObjectRules, type Shape } from '../policy/check.ts';
import { nearest } from '../policy/mend.ts';
import { isDnsLabel } from '../directory/kinds.ts';
import { labelProblem } from '../directory/labels.ts';

export interface FieldRules {
  readonly required?: readonly string[];
  readonly form?: string;
  /** For a field that does not belong: where it stands, or what to write instead. */
  readonly hints?: Readonly<Record<string, string>>;
}

type Fields = Readonly<Record<string, Shape>>;

/** An object with the fields that weir acts on (`used`) and those that it knows but refuses, warns of or passes over (`known`). */
export function fieldsOf(name: string, used: Fields, known: Fields, { hints = {}, ...rules }: FieldRules & ObjectRules = {}): Shape {
  const all: Fields = { ...used, ...known };
  const shape = object(name, all, rules);
  return (value, path, report) => {
    if (!isObject(value)) {
      fail(report, path, `${name} must be an object with the fields ${Object.keys(used).join(', ')}; found ${found(value)}`, rules.form as string | undefined);
      return;
    }
    const there = Object.entries(value);
    for (const [field] of there.filter(([one]) => !Object.hasOwn(all, one))) {
      const near = nearest(field, Object.keys(all));
      const hint = Object.hasOwn(hints, field) ? hints[field] : near === undefined ? undefined : `did you mean \`${near}\`?`;
      fail(report, [...path, field], `unknown field \`${field}\`; ${name} has ${Object.keys(used).join(', ')}`, hint);
    }
    shape(Object.fromEntries(there.filter(([one]) => Object.hasOwn(all, one))), path, report);
  };
}

type Harmless = (value: unknown) => boolean;

/** Asks for nothing: `false`, an empty list or object. */
const asksNothing: Harmless = (value) =>
  value === false || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);

/** Refused by name with the reason. */
export const refused = (reason: string, mend?: string, harmless: Harmless = asksNothing): Shape =>
  (value, path, report) => { if (!harmless(value)) fail(report, path, reason, mend); };

export const warned = (message: string, harmless: Harmless = asksNothing): Shape =>
  (value, path, report) => { if (!harmless(value)) report({ path, message, severity: 'warning' }); };

export const dnsLabel = (what: string): Shape => text(what, {
  test: (name) => (isDnsLabel(name) ? undefined : 'must be a DNS label: a-z, 0-9 and `-`, at most 63'),
});

export const labels: Shape = (value, path, report) => {
  if (!isObject(value)) fail(report, path, `labels must be a map of text to text; found ${found(value)}`, 'for example {app: web}');
  else {
    for (const [key, one] of Object.entries(value)) {
      const wrong = labelProblem(key, one);
      if (wrong !== undefined) fail(report, [...path, key], wrong.message, wrong.mend);
    }
  }
};
