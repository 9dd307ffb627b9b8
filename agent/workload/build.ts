// Compiles the shim (agent/workload/shim) with the machine's clang into build/weir-shim. Run by the set-up; a no-op when
// nothing changed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findClang } from '../../bpf/build.ts';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'shim');
export const shimPath = join(folder, '..', '..', '..', 'build', 'weir-shim');

/** Throws with clang's own words when the source does not compile. */
export const buildShim = (): void => { compileProgram(folder, shimPath); };

/** All of a folder's C into one program. */
export function compileProgram(sourceFolder: string, path: string): void {
  const files = readdirSync(sourceFolder).filter((name) => /\.[ch]$/.test(name)).map((name) => join(sourceFolder, name));
  const newest = Math.max(...files.map((file) => statSync(file).mtimeMs));
  if (existsSync(path) && statSync(path).mtimeMs > newest) return;
  const clang = findClang();
  if (clang === undefined) throw new Error('no clang on the PATH: apt-get install clang');
  mkdirSync(dirname(path), { recursive: true });
  // What runs keeps the old file: it is replaced, never written to.
  const draft = `${path}.${process.pid}`;
  const sources = files.filter((file) => file.endsWith('.c'));
  execFileSync(clang, ['-O2', '-Wall', '-Wextra', '-Werror', '-o', draft, ...sources], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(draft, path);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildShim();
