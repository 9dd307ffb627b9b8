// The objects of the manifest directory as they stand, and what is wrong with the files.
import { Table } from '../store/table.ts';

export interface Source {
  /** Path as the user would type it (relative to where `up` was called, or absolute). */
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One Kubernetes object, as it was last read without an error. */
export interface ManifestRow {
  /** `Kind/namespace/name`; namespace empty for cluster-scoped kinds. */
  readonly key: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** The whole object as plain JSON values. */
  readonly object: Readonly<Record<string, unknown>>;
  readonly source: Source;
  /** Position of a field by its path (`['spec', 'ingress', 0, 'toPorts']`); of the nearest parent when absent. */
  readonly locate: (path: readonly (string | number)[]) => Source;
}

/** Something that a user has to mend in a file; one bad object never harms another. */
export interface ProblemRow {
  /** Unique: file, position and message. */
  readonly key: string;
  readonly severity: 'error' | 'warning';
  readonly source: Source;
  /** `spec.ingress[0].toPorts`; empty when it is about the whole file or object. */
  readonly field: string;
  readonly message: string;
  readonly mend?: string;
}

/** A Secret as it may be shown: which items it has. */
function withoutValues(object: ManifestRow['object']): ManifestRow['object'] {
  const items = ['data', 'stringData'].filter((field) => object[field] !== undefined).map((field) => [field, Object.keys(object[field] as object)]);
  return { ...object, ...Object.fromEntries(items) };
}

export const manifestTable = (): Table<ManifestRow> => new Table({
  name: 'manifests',
  key: (row) => row.key,
  indexes: { kind: (row) => [row.kind] },
  show: ({ locate: _, ...row }) => (row.kind === 'Secret' ? { ...row, object: withoutValues(row.object) } : row),
});

export const problemTable = (): Table<ProblemRow> => new Table({ name: 'problems', key: (row) => row.key });
