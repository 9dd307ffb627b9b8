// Compiles what the benches need beside the agent into build/: the traffic programs (peer.c, http.c, dns.c, abuse.c) and the object for verdicts (judge.c).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildKeeper } from '../agent/envoy/build.ts';
import { buildShim } from '../agent/workload/build.ts';
import { buildBpf, findClang, objectPath } from '../bpf/build.ts';

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, '..', 'build');
export const peerPath = join(build, 'weir-peer');
export const abusePath = join(build, 'weir-abuse');
export const httpPath = join(build, 'weir-http');
export const dnsPath = join(build, 'weir-dns');
/** Programs of others that weir is measured against. */
export const peerFolder = join(build, 'peers');
export const judgePath = join(build, 'weir-judge.o');

function compile(source: string, target: string, flags: readonly string[], after = 0): void {
  const file = join(here, source);
  if (existsSync(target) && statSync(target).mtimeMs > Math.max(statSync(file).mtimeMs, after)) return;
  const clang = findClang();
  if (clang === undefined) throw new Error('no clang on the PATH: apt-get install clang');
  const draft = `${target}.${process.pid}`;
  execFileSync(clang, ['-O2', '-Wall', '-Wextra', '-Werror', ...flags, '-o', draft, file], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(draft, target);
}

/** Everything that a bench runs, as the set-up builds it. */
export function buildAll(): void {
  mkdirSync(build, { recursive: true });
  buildBpf();
  buildShim();
  buildKeeper();
  compile('peer.c', peerPath, []);
  compile('http.c', httpPath, ['-D_GNU_SOURCE']);
  compile('dns.c', dnsPath, ['-D_GNU_SOURCE']);
  compile('abuse.c', abusePath, ['-D_GNU_SOURCE']);
  const include = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  compile('judge.c', judgePath, ['-g', '-target', 'bpf', '-mcpu=v3', '-I', include, '-c'], statSync(objectPath).mtimeMs);
}
