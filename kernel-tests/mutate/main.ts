// `npm run mutate`: plants one seeded bug at a time in a copy of the tree and shows the test that catches it. A bug that no
// test catches, and one that can no longer be planted, is a failure.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../agent/errors.ts';
import { mutations, type Mutation } from './mutations.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kept = ['agent', 'bpf', 'hubble', 'cli', 'proto', 'kernel-tests', 'build', 'package.json', 'jest.config.js', 'jest.transform.js', 'tsconfig.json', 'weir'];

interface Outcome { readonly caught: boolean; readonly by: string }

/** A tree of its own: what the tests of this one see stays as it is. */
function copyTree(): string {
  const folder = mkdtempSync(join(tmpdir(), 'weir-mutate-'));
  for (const name of kept) cpSync(join(root, name), join(folder, name), { recursive: true, filter: (path) => !/\/build\/(vm|vng|cache)$/.test(path) });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** The file with the bug; throws when the place is not there, or not alone. */
function plant(text: string, { file, find, plant: bug }: Mutation): string {
  const parts = text.split(find);
  if (parts.length !== 2) throw new Error(`${file}: ${JSON.stringify(find)} stands there ${parts.length - 1} times, expected once: bring the mutation up to date`);
  return parts.join(bug);
}

/** The first test of the pattern that fails. */
function firstFailure(folder: string, { tests: pattern, names }: Mutation): string | undefined {
  const results = join(folder, 'results.json');
  rmSync(results, { force: true });
  const built = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', 'bpf/build.ts'], { cwd: folder, encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the programs do not compile: ${/error: .*/.exec(built.stderr)?.[0] ?? built.stderr}`);
  spawnSync(process.execPath, ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', join(root, 'node_modules/jest/bin/jest.js'), '--runInBand', '--json', `--outputFile=${results}`, ...(names === undefined ? [] : ['--testNamePattern', names]), pattern],
    // What is set shortens the fuzzing: it goes on after its first difference.
    { cwd: folder, stdio: 'ignore', timeout: 300_000, env: { ...process.env, WEIR_SLOWNESS: '1' } });
  const { testResults } = JSON.parse(readFileSync(results, 'utf8')) as { testResults: { message: string; assertionResults: { status: string; fullName: string }[] }[] };
  const failed = testResults.flatMap((suite) => suite.assertionResults).find((one) => one.status === 'failed')?.fullName;
  const broken = testResults.find((suite) => suite.assertionResults.length === 0)?.message;
  if (failed === undefined && broken !== undefined) throw new Error(`the tests did not run: ${broken.slice(0, 2_000)}`);
  return failed;
}

function tryOne(folder: string, mutation: Mutation): Outcome {
  const path = join(folder, mutation.file);
  const good = readFileSync(path, 'utf8');
  try {
    writeFileSync(path, plant(good, mutation));
    const by = firstFailure(folder, mutation);
    return { caught: by !== undefined, by: by ?? `nothing in ${mutation.tests}` };
  } catch (error) {
    return { caught: false, by: `nothing: ${messageOf(error)}` };
  } finally {
    writeFileSync(path, good);
  }
}

function main(): void {
  const chosen = mutations.filter(({ name }) => name.includes(process.argv[2] ?? ''));
  const folder = copyTree();
  let missed = 0;
  try {
    for (const mutation of chosen) {
      const { caught, by } = tryOne(folder, mutation);
      if (!caught) missed += 1;
      console.log(`${caught ? 'caught' : 'MISSED'}  ${mutation.name}\n        by: ${by}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  console.log(`mutations: ${chosen.length - missed} caught, ${missed} missed`);
  process.exitCode = missed === 0 && chosen.length > 0 ? 0 : 1;
}

main();
