// Compiles bpf/weir.c and bpf/sockmap.c with the machine's clang into build/*.o. Run by the set-up; a no-op when nothing changed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
export const objectPath = join(here, '..', 'build', 'weir.o');
/** Loaded on the maps of the other, where it is asked for. */
export const sockmapPath = join(here, '..', 'build', 'sockmap.o');

/** The newest clang on the PATH: Debian names them clang-14, clang-19 ... and installs plain `clang` only on request. */
export function findClang(path: string = process.env['PATH'] ?? ''): string | undefined {
  const found = path.split(':').filter((folder) => folder !== '' && existsSync(folder)).flatMap((folder) =>
    readdirSync(folder).filter((name) => /^clang(-\d+)?$/.test(name)).map((name) => join(folder, name)));
  const version = (file: string): number => Number(/-(\d+)$/.exec(file)?.[1] ?? 0);
  return found.sort((a, b) => version(b) - version(a))[0];
}

const sources = (): string[] => [here, join(here, 'lib')].flatMap((folder) =>
  readdirSync(folder).filter((name) => /\.[ch]$/.test(name)).map((name) => join(folder, name)));

/** The instruction set: v3 has 32-bit arithmetic, which the verifier of 5.12 and newer follows. */
export function cpuVersion(kernel: string): 'v2' | 'v3' {
  const [major = 0, minor = 0] = kernel.split('.').map(Number);
  return major > 5 || (major === 5 && minor >= 12) ? 'v3' : 'v2';
}

/** For the kernel named; throws with clang's own words when the source does not compile. */
export function compileBpf(path: string, kernel: string, source = 'weir.c'): void {
  const clang = findClang();
  if (clang === undefined) throw new Error('no clang on the PATH: apt-get install clang');
  mkdirSync(dirname(path), { recursive: true });
  const include = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const draft = `${path}.${process.pid}`;
  const flags = ['-O2', '-g', '-target', 'bpf', `-mcpu=${cpuVersion(kernel)}`, '-Wall', '-Wextra', '-Werror', '-I', include];
  execFileSync(clang, [...flags, '-c', join(here, source), '-o', draft], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(draft, path);
}

export function buildBpf(): void {
  const newest = Math.max(...sources().map((file) => statSync(file).mtimeMs));
  for (const [path, source] of [[objectPath, 'weir.c'], [sockmapPath, 'sockmap.c']] as const) {
    if (!existsSync(path) || statSync(path).mtimeMs <= newest) compileBpf(path, release(), source);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildBpf();
