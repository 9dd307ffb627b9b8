// State on disk: JSON files that are written whole or not at all, so that whoever reads after a kill -9 finds one version.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/** Undefined when there is none. */
export const readJson = (path: string): unknown => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined);

export function writeJson(path: string, value: unknown): void {
  const draft = `${path}.draft`;
  writeFileSync(draft, JSON.stringify(value), { mode: 0o600 });
  renameSync(draft, path);
}
