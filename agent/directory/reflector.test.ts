// A real directory: what is written there is in the table within 50 ms, and no mistake takes away what ran before.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { ConfigError } from '../errors.ts';
import { reflectDirectory, type DirectoryReflector } from './reflector.ts';
import { manifestTable, problemTable } from './tables.ts';
import { checkTrusted } from './trust.ts';

const trust = { uid: undefined, privateGroup: undefined };
const pod = (name: string, label = 'x'): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, labels: {app: ${label}}}\n`;

let dir: string;
let manifests = manifestTable();
let problems = problemTable();
let reflector: DirectoryReflector | undefined;

const start = (): void => { reflector = reflectDirectory({ dir, manifests, problems, trust, pollMs: 50 }); };
const put = (name: string, text: string): void => { writeFileSync(join(dir, name), text, { mode: 0o644 }); };
const keys = (): string[] => manifests.rows().map(({ key }) => key).sort();
const messages = (): string[] => problems.rows().map(({ source, field, message }) => `${source.file.slice(dir.length + 1)}:${source.line}:${field}: ${message}`);

async function until(what: () => boolean, limitMs = 2000): Promise<number> {
  const since = performance.now();
  while (!what()) {
    if (performance.now() - since > limitMs) throw new Error(`not within ${limitMs} ms; keys ${keys().join()}; problems ${messages().join()}`);
    await new Promise((resolve) => { setTimeout(resolve, 2); });
  }
  return performance.now() - since;
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'weir-directory-'));
  manifests = manifestTable();
  problems = problemTable();
});

afterEach(() => {
  reflector?.close();
  rmSync(dir, { recursive: true, force: true });
});

describe('reflectDirectory', () => {
  test('reads files and folders at the start; hidden and other files are skipped', () => {
    mkdirSync(join(dir, 'sub/.git'), { recursive: true });
    for (const name of ['a.yaml', 'sub/b.yml', 'sub/c.json', '.d.yaml', 'sub/.git/e.yaml', 'readme.md']) put(name, pod(name.replace(/\W/g, '')));
    start();
    expect(manifests.synced).toBe(true);
    expect(keys()).toEqual(['Pod/default/ayaml', 'Pod/default/subbyml', 'Pod/default/subcjson']);
    expect(problems.size).toBe(0);
  });

  test('a write, a change and a deletion are in the table within 50 ms', async () => {
    start();
    const times: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      put('a.yaml', pod('a', `v${round}`));
      times.push(await until(() => JSON.stringify(manifests.rows()).includes(`v${round}`)));
    }
    unlinkSync(join(dir, 'a.yaml'));
    times.push(await until(() => manifests.size === 0));
    expect(times.sort((a, b) => a - b)[5]!).toBeLessThan(50);
  });

  test('a rename over the file, as editors do', async () => {
    put('a.yaml', pod('a'));
    start();
    put('.a.tmp', pod('b'));
    renameSync(join(dir, '.a.tmp'), join(dir, 'a.yaml'));
    await until(() => keys().join() === 'Pod/default/b');
  });

  test('new folders are watched, with what was in them already', async () => {
    start();
    mkdirSync(join(dir, 'x/y'), { recursive: true });
    put('x/y/a.yaml', pod('a'));
    await until(() => keys().join() === 'Pod/default/a');
    put('x/y/b.yaml', pod('b'));
    await until(() => manifests.size === 2);
    rmSync(join(dir, 'x'), { recursive: true });
    await until(() => manifests.size === 0);
  });

  test('a file with an error keeps its last good version, and says where', async () => {
    put('a.yaml', `${pod('a')}---\n${pod('b')}`);
    start();
    put('a.yaml', `${pod('a', 'new')}---\napiVersion: v1\nkind: Pod\nmetadata: {name: B!}\n`);
    await until(() => problems.size === 1);
    expect(messages()[0]).toMatch(/^a\.yaml:7:metadata\.name: /);
    expect(keys()).toEqual(['Pod/default/a', 'Pod/default/b']);
    expect(JSON.stringify(manifests.get('Pod/default/a')!.object)).toContain('"x"');
    put('a.yaml', pod('a', 'new'));
    await until(() => problems.size === 0);
    expect(keys()).toEqual(['Pod/default/a']);
  });

  test('an object in two files: both are named, the first stays until its file goes', async () => {
    put('b.yaml', pod('a', 'first'));
    start();
    put('a.yaml', pod('a', 'second'));
    await until(() => problems.size === 1);
    expect(messages()[0]).toBe(`a.yaml:3:metadata.name: Pod default/a is already defined in ${join(dir, 'b.yaml')}:1; that one stays`);
    expect(JSON.stringify(manifests.get('Pod/default/a')!.object)).toContain('first');
    unlinkSync(join(dir, 'b.yaml'));
    await until(() => JSON.stringify(manifests.get('Pod/default/a')!.object).includes('second'));
    expect(problems.size).toBe(0);
  });

  test('links, pipes, large files and files that others may write are refused by name', async () => {
    put('big.yaml', `# ${'x'.repeat(1024 * 1024)}`);
    put('open.yaml', pod('open'));
    chmodSync(join(dir, 'open.yaml'), 0o666);
    put('theirs.yaml', pod('theirs'));
    chownSync(join(dir, 'theirs.yaml'), 12345, 0);
    put('binary.yaml', '');
    writeFileSync(join(dir, 'binary.yaml'), Buffer.from([0xff, 0xfe, 0x80]));
    symlinkSync('/etc/passwd', join(dir, 'link.yaml'));
    spawnSync('mkfifo', [join(dir, 'pipe.yaml')]);
    put('good.yaml', pod('good'));
    start();
    await until(() => manifests.size === 1);
    expect(messages().map((text) => text.replaceAll(dir, 'D')).sort()).toEqual([
      'big.yaml:1:: larger than 1048576 bytes; split it',
      'binary.yaml:1:: the text is not UTF-8',
      'link.yaml:1:: symbolic links are not followed',
      'open.yaml:1:: D/open.yaml can be written by everyone, who could then run anything here',
      'pipe.yaml:1:: is no regular file',
      'theirs.yaml:1:: D/theirs.yaml belongs to uid 12345, not to root',
    ]);
  });

  test('the directory vanishes: what ran keeps running, and its return is seen', async () => {
    put('a.yaml', pod('a'));
    start();
    renameSync(dir, `${dir}.away`);
    await until(() => problems.size === 1);
    expect(messages()[0]).toMatch(/ENOENT.*keeps running/);
    expect(keys()).toEqual(['Pod/default/a']);
    renameSync(`${dir}.away`, dir);
    put('b.yaml', pod('b'));
    await until(() => manifests.size === 2 && problems.size === 0);
  });

  test('a file that is touched is no change', async () => {
    put('a.yaml', pod('a'));
    start();
    const { revision } = manifests;
    put('a.yaml', pod('a'));
    reflector!.refresh();
    expect(manifests.revision).toBe(revision);
  });
});

describe('checkTrusted', () => {
  const cases: readonly { name: string; make: () => string; uid?: number; error?: RegExp; mend?: RegExp }[] = [
    { name: 'a folder of root below a sticky /tmp', make: () => dir },
    { name: 'a folder that everyone may write', make: () => { chmodSync(dir, 0o777); return dir; }, error: /written by everyone/, mend: /^chmod o-w / },
    { name: 'a sticky folder that everyone may write', make: () => { chmodSync(dir, 0o1777); return dir; }, error: /written by everyone/, mend: /^chmod o-w / },
    { name: 'a folder that a group may write', make: () => { chmodSync(dir, 0o770); chownSync(dir, 0, 777); return dir; }, error: /written by group 777/, mend: /^chmod g-w / },
    { name: 'a parent that everyone may write', make: () => { mkdirSync(join(dir, 'a/b'), { recursive: true }); chmodSync(join(dir, 'a'), 0o777); return join(dir, 'a/b'); }, error: /\/a can be written by everyone/ },
    { name: 'a folder of somebody else', make: () => { chownSync(dir, 777, 0); return dir; }, error: /belongs to uid 777/, mend: /^chown 0 / },
    { name: 'a folder of the user who called sudo', make: () => { chownSync(dir, 777, 0); return dir; }, uid: 777 },
    { name: 'a link of somebody else', make: () => { mkdirSync(join(dir, 'real')); symlinkSync('real', join(dir, 'link')); spawnSync('chown', ['-h', '777', join(dir, 'link')]); return join(dir, 'link'); }, error: /link belongs to uid 777/ },
    { name: 'a link to a folder that everyone may write', make: () => { mkdirSync(join(dir, 'real')); chmodSync(join(dir, 'real'), 0o777); symlinkSync('real', join(dir, 'link')); return join(dir, 'link'); }, error: /real can be written by everyone/ },
    { name: 'links in a circle', make: () => { symlinkSync('b', join(dir, 'a')); symlinkSync('a', join(dir, 'b')); return join(dir, 'a'); }, error: /too many symbolic links/ },
    { name: 'a file', make: () => { put('f', ''); return join(dir, 'f'); }, error: /is no directory/ },
    { name: 'nothing', make: () => join(dir, 'none'), error: /ENOENT/, mend: /^mkdir -p / },
  ];

  test.each(cases)('$name', ({ make, uid, error, mend }) => {
    let thrown: unknown;
    try {
      checkTrusted(make(), { uid, privateGroup: undefined });
    } catch (caught) {
      thrown = caught;
    }
    if (error === undefined) expect(thrown).toBeUndefined();
    else {
      expect(thrown).toBeInstanceOf(ConfigError);
      expect((thrown as ConfigError).message).toMatch(error);
      if (mend !== undefined) expect((thrown as ConfigError).mend).toMatch(mend);
    }
  });
});
