// The shape of a label selector: keys with their sources, values, expressions.
import { choice, fail, isObject, list, map, object, text, type Path, type Report, type Shape } from './check.ts';
import { labelKey, labelValue } from './formats.ts';
import { selectorForm } from './mend.ts';
import { LABEL_SOURCES, parseSelectorKey } from './selector.ts';

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];
const value = text('a label value', { max: 63, test: labelValue });

/** `source` is the one that a key without a source gets. */
export function labelSelector(source: string): Shape {
  const shape = object('a label selector', {
    matchLabels: map('matchLabels', value, (key) => labelKey(key, source)),
    matchExpressions: list('matchExpressions', object('an expression', {
      key: text('key'), operator: choice('operator', OPERATORS), values: list('values', value),
    }, { required: ['key', 'operator'] })),
  }, { form: 'write {matchLabels: {app: NAME}}' });
  return (given, path, report) => {
    shape(given, path, (problem) => report(withForm(problem.path, path, given) ? { ...problem, mend: problem.mend ?? selectorForm(given) } : problem));
    if (!isObject(given)) return;
    if (isObject(given['matchLabels'])) for (const key of Object.keys(given['matchLabels'])) warnSource(key, [...path, 'matchLabels', key], report);
    const expressions = given['matchExpressions'];
    if (Array.isArray(expressions)) expressions.forEach((one, index) => checkExpression(one, source, [...path, 'matchExpressions', index], report));
  };
}

/** Labels straight under the selector: every unknown field with a plain value is one. */
const withForm = (problem: Path, path: Path, given: unknown): boolean =>
  problem.length === path.length + 1 && isObject(given) && Object.values(given).every((one) => typeof one !== 'object');

function checkExpression(one: unknown, source: string, path: Path, report: Report): void {
  if (!isObject(one) || typeof one['key'] !== 'string') return;
  const wrong = labelKey(one['key'], source);
  if (wrong !== undefined) fail(report, [...path, 'key'], wrong);
  else warnSource(one['key'], [...path, 'key'], report);
  const operator = String(one['operator']);
  const count = Array.isArray(one['values']) ? one['values'].length : 0;
  if ((operator === 'In' || operator === 'NotIn') && count === 0) {
    fail(report, path, `operator ${operator} needs at least one item in \`values\``, 'to ask for the key alone use Exists or DoesNotExist');
  }
  if ((operator === 'Exists' || operator === 'DoesNotExist') && count > 0) {
    fail(report, [...path, 'values'], `operator ${operator} takes no values; found ${count}`, `use ${operator === 'Exists' ? 'In' : 'NotIn'}, or leave \`values\` out`);
  }
}

function warnSource(key: string, path: Path, report: Report): void {
  const { source } = parseSelectorKey(key);
  if (LABEL_SOURCES.has(source)) return;
  report({
    path, severity: 'warning', name: 'selects-nothing',
    message: `label source \`${source}\` is unknown: this selects nothing; sources are ${[...LABEL_SOURCES].join(', ')}`,
  });
}
