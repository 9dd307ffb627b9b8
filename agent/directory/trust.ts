// Who may change what runs here as root's children: nobody but root and the user who called sudo may write to the manifest
// directory, its parents, its folders and files.
import { lstatSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { ConfigError, messageOf } from '../errors.ts';

export interface Trust {
  /** SUDO_UID of the caller, if any. */
  readonly uid: number | undefined;
  /** Groups that only root and that user are in (user-private groups, the rule on Ubuntu). */
  readonly privateGroup: number | undefined;
}

const maxLinks = 16;
const stickyBit = 0o1000;

export function trustOf(env: Readonly<Record<string, string | undefined>> = process.env): Trust {
  const uid = env['SUDO_UID'] !== undefined && /^\d{1,9}$/.test(env['SUDO_UID']) ? Number(env['SUDO_UID']) : undefined;
  return { uid, privateGroup: uid === undefined ? undefined : privateGroupOf(uid) };
}

/** Throws a ConfigError that names the first component of the path that somebody else could change. */
export function checkTrusted(dir: string, trust: Trust = trustOf(), links = 0): void {
  const path = resolve(dir);
  if (links > maxLinks) throw new ConfigError(`${dir}: too many symbolic links`);
  let at: string = sep;
  checkComponent(at, stat(at), trust, path === at);
  for (const name of path.split(sep).filter((part) => part !== '')) {
    at = join(at, name);
    const found = stat(at);
    checkComponent(at, found, trust, at === path);
    if (found.isSymbolicLink()) {
      const target = readlinkSync(at);
      checkTrusted(join(isAbsolute(target) ? target : join(dirname(at), target), path.slice(at.length)), trust, links + 1);
      return;
    }
  }
}

/** What is wrong with an object that was found below a trusted directory; undefined when nothing is. */
export function distrust(path: string, found: Pick<Stats, 'uid' | 'gid' | 'mode'>, trust: Trust): { message: string; mend: string } | undefined {
  if (found.uid !== 0 && found.uid !== trust.uid) {
    const owner = trust.uid ?? 0;
    return { message: `${path} belongs to uid ${found.uid}, not to root${trust.uid === undefined ? '' : ` or uid ${trust.uid}`}`, mend: `chown ${owner} ${quote(path)}` };
  }
  const groupTrusted = found.gid === 0 || found.gid === trust.privateGroup;
  const wrong = [...((found.mode & 0o020) !== 0 && !groupTrusted ? ['g'] : []), ...((found.mode & 0o002) !== 0 ? ['o'] : [])];
  if (wrong.length === 0) return undefined;
  const who = wrong.includes('o') ? 'everyone' : `group ${found.gid}`;
  return { message: `${path} can be written by ${who}, who could then run anything here`, mend: `chmod ${wrong.join('')}-w ${quote(path)}` };
}

function checkComponent(path: string, found: Stats, trust: Trust, last: boolean): void {
  if (last && !found.isDirectory() && !found.isSymbolicLink()) throw new ConfigError(`${path} is no directory`);
  // A link's own mode means nothing; in a sticky folder (/tmp) others can add names but not replace ours.
  const mode = found.isSymbolicLink() || (!last && (found.mode & stickyBit) !== 0) ? 0 : found.mode;
  const wrong = distrust(path, { uid: found.uid, gid: found.gid, mode }, trust);
  if (wrong !== undefined) throw new ConfigError(`manifest directory: ${wrong.message}`, wrong.mend);
}

function stat(path: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    throw new ConfigError(`manifest directory: ${messageOf(error)}`, `mkdir -p ${quote(path)}`);
  }
}

const quote = (path: string): string => (/^[\w./@:+-]+$/.test(path) ? path : `'${path.replaceAll('\'', '\'\\\'\'')}'`);

/** The group of that uid, when nobody else is in it. */
function privateGroupOf(uid: number): number | undefined {
  const users = records('/etc/passwd');
  const user = users.find((fields) => Number(fields[2]) === uid);
  if (user === undefined) return undefined;
  const gid = user[3];
  const group = records('/etc/group').find((fields) => fields[2] === gid);
  const members = (group?.[3] ?? '').split(',').filter((name) => name !== '' && name !== user[0]);
  const shared = users.some((other) => other !== user && other[3] === gid);
  return members.length === 0 && !shared ? Number(gid) : undefined;
}

function records(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8').split('\n').map((line) => line.split(':'));
  } catch {
    return []; // no such list: then no group is known to be private
  }
}
