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

const start = async (rescanMs = 2000): Promise<void> => { reflector = await reflectDirectory({ dir, display: 'shop', manifests, problems, trust, rescanMs }); };
const put = (name: string, text: string): void => { writeFileSync(join(dir, name), text, { mode: 0o644 }); };
const keys = (): string[] => manifests.rows().map(({ key }) => key).sort();
const messages = (): string[] => problems.rows().map(({ source, field, message }) => `${source.file.replace(/^shop\//, '')}:${source.line}:${field}: ${message}`);

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
  reflector?.stop();
  rmSync(dir, { recursive: true, force: true });
});

describe('reflectDirectory', () => {
  test('reads files and folders at the start; hidden and other files are skipped', async () => {
    mkdirSync(join(dir, 'sub/.git'), { recursive: true });
    for (const name of ['a.yaml', 'sub/b.yml', 'sub/c.json', '.d.yaml', 'sub/.git/e.yaml', 'readme.md']) put(name, pod(name.replace(/\W/g, '')));
    await start();
    expect(manifests.synced).toBe(true);
    expect(keys()).toEqual(['Pod/default/ayaml', 'Pod/default/subbyml', 'Pod/default/subcjson']);
    expect(problems.size).toBe(0);
  });

  test('a write, a change and a deletion are in the table within 50 ms', async () => {
    await start();
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
    await start();
    put('.a.tmp', pod('b'));
    renameSync(join(dir, '.a.tmp'), join(dir, 'a.yaml'));
    await until(() => keys().join() === 'Pod/default/b');
  });

  test('new folders are watched, with what was in them already', async () => {
    await start();
    mkdirSync(join(dir, 'x/y'), { recursive: true });
    put('x/y/a.yaml', pod('a'));
    await until(() => keys().join() === 'Pod/default/a');
    put('x/y/b.yaml', pod('b'));
    await until(() => manifests.size === 2);
    rmSync(join(dir, 'x'), { recursive: true });
    await until(() => manifests.size === 0);
  });

  const lastGood: readonly { name: string; text: string; messages: RegExp[]; labels: string }[] = [
    { name: 'an unparsable file: all of its objects stay', text: 'apiVersion: v1\nkind: [', messages: [/^a\.yaml:2:: Flow sequence/], labels: 'a=x b=x' },
    { name: 'half a file: what is whole changes, the rest stays', text: `${pod('a', 'new')}---\napiVersion: v1\nkind: Pod\nmetadata: {na`, messages: [/^a\.yaml:7:: Flow map/], labels: 'a=new b=x' },
    { name: 'an object with a bad label: only that one stays', text: `${pod('a', 'new')}---\n${pod('b', '[1]')}`, messages: [/^a\.yaml:7:metadata\.labels\.app: /], labels: 'a=new b=x' },
    { name: 'an object with another apiVersion: only that one stays', text: `${pod('a', 'new')}---\n${pod('b', 'new').replace('v1', 'v9')}`, messages: [/^a\.yaml:5:apiVersion: /], labels: 'a=new b=x' },
    { name: 'a bad name: the object that is missing stays', text: `${pod('a', 'new')}---\n${pod('B!', 'new')}`, messages: [/^a\.yaml:7:metadata\.name: /], labels: 'a=new b=x' },
    { name: 'an object is taken out beside a bad one: it goes', text: pod('b', '[1]'), messages: [/^a\.yaml:3:metadata\.labels\.app: /], labels: 'b=x' },
    { name: 'a new object beside a bad one: it comes', text: `${pod('b', '[1]')}---\n${pod('c', 'new')}`, messages: [/^a\.yaml:3:metadata\.labels\.app: /], labels: 'b=x c=new' },
    { name: 'an empty file: all of its objects stay', text: '', messages: [/^a\.yaml:1:: the file is empty/], labels: 'a=x b=x' },
    { name: 'a file too large: all of its objects stay', text: `# ${'x'.repeat(1024 * 1024)}`, messages: [/^a\.yaml:1:: larger than/], labels: 'a=x b=x' },
    { name: 'a comment alone: all of its objects go', text: '# nothing\n', messages: [], labels: '' },
  ];
  const labels = (): string => manifests.rows().map(({ name, object }) => `${name}=${(object as { metadata: { labels: { app: string } } }).metadata.labels.app}`).sort().join(' ');

  test.each(lastGood)('last good: $name', async ({ text, messages: expected, labels: standing }) => {
    put('a.yaml', `${pod('a')}---\n${pod('b')}`);
    await start();
    put('a.yaml', text);
    reflector!.refresh();
    expect(labels()).toBe(standing);
    expect(messages()).toEqual(expected.map((message): unknown => expect.stringMatching(message)));
    put('a.yaml', pod('a', 'mended'));
    await until(() => labels() === 'a=mended' && problems.size === 0);
    unlinkSync(join(dir, 'a.yaml'));
    await until(() => manifests.size === 0);
  });

  test('last good: a broken file that is deleted takes its objects and problems along', async () => {
    put('a.yaml', pod('a'));
    await start();
    put('a.yaml', 'kind: [');
    await until(() => problems.size === 1);
    expect(keys()).toEqual(['Pod/default/a']);
    unlinkSync(join(dir, 'a.yaml'));
    await until(() => manifests.size === 0 && problems.size === 0);
  });

  test('last good: a file that becomes a link, or open to others, is refused and its objects stay', async () => {
    put('a.yaml', pod('a'));
    put('sub.yaml', pod('b'));
    mkdirSync(join(dir, 'sub'));
    renameSync(join(dir, 'sub.yaml'), join(dir, 'sub/b.yaml'));
    await start();
    chmodSync(join(dir, 'a.yaml'), 0o666);
    chmodSync(join(dir, 'sub'), 0o777);
    await until(() => problems.size === 2);
    expect(keys()).toEqual(['Pod/default/a', 'Pod/default/b']);
  });

  test('an object that moves out of a broken file: its new place counts', async () => {
    put('a.yaml', `${pod('a')}---\n${pod('b')}`);
    await start();
    put('a.yaml', 'kind: [');
    put('b.yaml', pod('b', 'moved'));
    await until(() => labels() === 'a=x b=moved');
    expect(problems.size).toBe(1);
  });

  test('an object in two files: both are named, the first by path stays until its file goes', async () => {
    put('b.yaml', pod('a', 'second'));
    await start();
    put('a.yaml', pod('a', 'first'));
    await until(() => problems.size === 1);
    expect(messages()[0]).toBe('b.yaml:3:metadata.name: Pod default/a is already defined in shop/a.yaml:1; that one stays');
    expect(labels()).toBe('a=first');
    unlinkSync(join(dir, 'a.yaml'));
    await until(() => labels() === 'a=second');
    expect(problems.size).toBe(0);
  });

  test('rows of others in the tables are left alone', async () => {
    const source = { file: 'cli', line: 1, column: 1 };
    manifests.write([{ key: 'Pod/default/cli', apiVersion: 'v1', kind: 'Pod', namespace: 'default', name: 'cli', object: {}, source, locate: () => source }]);
    problems.write([{ key: 'cli', severity: 'error', source, field: '', message: 'x' }]);
    await start();
    expect([keys(), problems.size]).toEqual([['Pod/default/cli'], 1]);
  });

  test('a folder that is replaced by another of its name is watched', async () => {
    mkdirSync(join(dir, 'x'));
    await start();
    renameSync(join(dir, 'x'), `${dir}.old`);
    mkdirSync(join(dir, 'x'));
    await new Promise((resolve) => { setTimeout(resolve, 100); });
    put('x/a.yaml', pod('a'));
    expect(await until(() => manifests.size === 1)).toBeLessThan(1000);
    rmSync(`${dir}.old`, { recursive: true });
  });

  test('what no watch tells is found by the next look', async () => {
    await start(100);
    const table = manifests;
    mkdirSync(join(dir, 'x'));
    put('x/a.yaml', pod('a'));
    await until(() => table.size === 1);
    chmodSync(dir, 0o777);
    put('x/b.yaml', pod('b'));
    await until(() => problems.size === 1);
    expect(messages()[0]).toMatch(/written by everyone.*keeps standing/);
    expect(table.size).toBe(1);
    chmodSync(dir, 0o700);
    await until(() => table.size === 2 && problems.size === 0);
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
    await start();
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
    await start(50);
    renameSync(dir, `${dir}.away`);
    await until(() => problems.size === 1);
    expect(messages()[0]).toMatch(/ENOENT.*keeps standing/);
    expect(keys()).toEqual(['Pod/default/a']);
    renameSync(`${dir}.away`, dir);
    put('b.yaml', pod('b'));
    await until(() => manifests.size === 2 && problems.size === 0);
  });

  test('a file that is touched is no change', async () => {
    put('a.yaml', pod('a'));
    await start();
    const { revision } = manifests;
    put('a.yaml', pod('a'));
    reflector!.refresh();
    expect(manifests.revision).toBe(revision);
    put('a.yaml', `${pod('a')}# the end\n`);
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
