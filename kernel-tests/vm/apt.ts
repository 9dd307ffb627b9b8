// Gets a kernel package with apt into a folder: private sources, lists and state; nothing is installed and the machine's apt stays as it
// is. The archives are those that the machine's own apt configuration names.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, messageOf } from '../../agent/errors.ts';
import { cached, cacheFolder } from './cache.ts';
import { packageOf, type Kernel } from './kernels.ts';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
const timeoutMs = 300_000;

/** Where the machine gets Debian from: `.../debian` or `.../debian-security`. */
function archiveUri(archive: Kernel['archive']): string | undefined {
  const { stdout, status } = spawnSync('apt-get', ['indextargets', '--format', '$(REPO_URI)'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n').map((line) => line.replace(/\/$/, '')).find((uri) => uri.endsWith(`/${archive}`)) : undefined;
}

/** Why these kernels cannot be had on this machine; undefined: they can. */
export function whyNoKernels(wanted: readonly Kernel[]): string | undefined {
  if (process.arch !== 'x64') return 'the kernels are for x86-64 and share this machine\'s programs';
  const missing = wanted.filter((kernel) => !existsSync(join(cacheFolder, folderName(kernel)))).find((kernel) => archiveUri(kernel.archive) === undefined);
  return missing === undefined ? undefined : `no archive ${missing.archive} among this machine's apt sources, from where kernel ${missing.name} would come`;
}

const folderName = (kernel: Kernel): string => `kernel-${kernel.sha256.slice(0, 16)}`;

/** apt-get with its own state below the cache folder. */
function apt(kernel: Kernel, command: 'apt-get' | 'apt-cache', words: readonly string[], cwd: string): string {
  const root = join(cacheFolder, 'apt', kernel.suite);
  for (const folder of ['lists/partial', 'archives/partial']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'sources.list'), `deb [signed-by=${keyring}] ${archiveUri(kernel.archive)} ${kernel.suite} main\n`);
  const options = {
    'Dir::Etc::sourcelist': join(root, 'sources.list'), 'Dir::Etc::sourceparts': '/dev/null', 'Dir::State::lists': join(root, 'lists'),
    'Dir::Cache': root, 'Acquire::Languages': 'none', 'APT::Sandbox::User': 'root', 'APT::Architecture': 'amd64',
  };
  const flags = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  return execFileSync(command, [...flags, '-q', ...words], { cwd, encoding: 'utf8', timeout: timeoutMs, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** What the archive has now in place of a version that left it. */
function othersOf(kernel: Kernel, cwd: string): string {
  const series = kernel.name.replaceAll('.', '\\.');
  return apt(kernel, 'apt-cache', ['search', '--names-only', `^linux-image-${series}[.0-9].*-cloud-amd64$`], cwd).split('\n').map((line) => line.split(' ')[0]).filter(Boolean).join(', ');
}

/** apt's own lines of an error. */
const aptErrors = (error: unknown): string => (error as { stderr?: string }).stderr?.match(/^E: .*/gm)?.join(' ') ?? messageOf(error);

function download(kernel: Kernel, draft: string): void {
  const folder = `${draft}.d`;
  mkdirSync(folder);
  const name = packageOf(kernel);
  try {
    apt(kernel, 'apt-get', ['update'], folder);
    apt(kernel, 'apt-get', ['download', `${name}=${kernel.version}`], folder);
  } catch (error) {
    const others = othersOf(kernel, folder);
    throw new ConfigError(`kernel ${kernel.name}: apt-get download ${name}=${kernel.version}: ${aptErrors(error)}`,
      `the archive has: ${others === '' ? 'none of this series' : others}; put one into kernel-tests/vm/kernels.ts`);
  }
  const file = join(folder, readdirSync(folder).find((one) => one.endsWith('.deb'))!);
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (sha256 !== kernel.sha256) throw new ConfigError(`kernel ${kernel.name}: ${name} has the hash ${sha256}`, `kernel-tests/vm/kernels.ts expects ${kernel.sha256}: somebody changed the package`);
  copyFileSync(file, draft);
}

/** The unpacked package: boot/, and lib/modules/<release> with its dependencies computed. */
export function kernelFolder(kernel: Kernel): string {
  return cached(folderName(kernel), (draft) => {
    const file = cached(`${kernel.sha256}.deb`, (path) => { download(kernel, path); });
    execFileSync('dpkg-deb', ['-x', file, `${draft}.x`]);
    mkdirSync(draft);
    const usr = readdirSync(`${draft}.x`).includes('usr') && readdirSync(join(`${draft}.x`, 'usr')).includes('lib') ? 'usr/' : '';
    execFileSync('cp', ['-a', join(`${draft}.x`, 'boot'), join(`${draft}.x`, `${usr}lib`), draft]);
    execFileSync('busybox', ['depmod', '-b', draft, kernel.release], { stdio: 'ignore' });
  });
}
