// Filters by labels: which flows have an end whose labels a selector matches.
import type { Flow } from '../types.ts';
import type { FieldCompilers } from './compile.ts';
import { anySource, compileSelector, type Labels } from './selector.ts';

/** "k8s:app=a" is found as "k8s:app" and as "any:app". */
function readLabels(labels: readonly string[]): Labels {
  const read = new Map<string, string[]>();
  const add = (key: string, value: string): void => {
    const known = read.get(key);
    if (known === undefined) read.set(key, [value]);
    else known.push(value);
  };
  for (const label of labels) {
    const equals = label.indexOf('=');
    const key = equals < 0 ? label : label.slice(0, equals);
    const value = equals < 0 ? '' : label.slice(equals + 1);
    add(`${anySource}${key.slice(key.indexOf(':') + 1)}`, value);
    if (key.includes(':') && !key.startsWith(anySource)) add(key, value);
  }
  return read;
}

const by = (field: string, labelsOf: (flow: Flow) => readonly string[] | undefined) => (selectors: readonly string[]) => {
  const compiled = selectors.map((selector) => compileSelector(field, selector));
  return (flow: Flow): boolean => {
    const labels = readLabels(labelsOf(flow) ?? []);
    return compiled.some((matches) => matches(labels));
  };
};

export const labelFields: FieldCompilers = {
  source_label: by('source_label', (flow) => flow.source?.labels),
  destination_label: by('destination_label', (flow) => flow.destination?.labels),
  node_labels: by('node_labels', (flow) => flow.node_labels),
};
