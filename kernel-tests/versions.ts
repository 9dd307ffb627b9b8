// Another version of the programs for a test: the sources with changed layouts, compiled, in the place of the object for as long as an
// agent starts with it.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildBpf, cpuVersion, findClang, objectPath } from '../bpf/build.ts';

export type Changes = readonly (readonly [from: string, to: string])[];

/** Compiles the sources with these changes to types.h and its parts; throws where one of them changes nothing. */
export function compileOther(changes: Changes): { readonly path: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'weir-version-'));
  cpSync(dirname(fileURLToPath(new URL('../bpf/build.ts', import.meta.url))), folder, { recursive: true });
  const headers = readdirSync(join(folder, 'lib')).filter((name) => name.endsWith('types.h')).map((name) => join(folder, 'lib', name));
  for (const [from, to] of changes) {
    const header = headers.find((path) => readFileSync(path, 'utf8').includes(from));
    if (header === undefined) throw new Error(`no layout has ${from}`);
    writeFileSync(header, readFileSync(header, 'utf8').replace(from, to));
  }
  const path = join(folder, 'other.o');
  const include = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  execFileSync(findClang()!, ['-O2', '-g', '-target', 'bpf', `-mcpu=${cpuVersion(release())}`, '-I', include, '-c', join(folder, 'weir.c'), '-o', path]);
  return { path, remove: () => { rmSync(folder, { recursive: true }); } };
}

/** Runs `work` with this object in the place of the checkout's. */
export async function withObject<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  buildBpf();
  const kept = `${objectPath}.kept`;
  renameSync(objectPath, kept);
  try {
    cpSync(path, objectPath);
    return await work();
  } finally {
    renameSync(kept, objectPath);
  }
}
