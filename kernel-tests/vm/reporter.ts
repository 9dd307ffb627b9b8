// A reporter of jest for runs that somebody else reads: a line for each test as it ends, `TEST {...}`, their number at the end, and nothing for people.

export interface TestLine {
  readonly file: string;
  /** Empty: the file itself, which could not run. */
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  readonly ms: number;
  readonly why?: string;
}

interface Result { readonly fullName: string; readonly status: string; readonly duration?: number | null; readonly failureMessages: readonly string[] }
interface FileResult { readonly testResults: readonly Result[]; readonly testExecError?: { readonly message?: string; readonly stack?: string } | null }
interface File { readonly path: string; readonly context: { readonly config: { readonly rootDir: string } } }

const longestWhy = 4_000;
const plain = (text: string): string => text.replaceAll(/\u001b\[[0-9;]*m/g, '').slice(0, longestWhy);

/** Jest writes words of its own before the first line. */
export function parseLine(text: string): TestLine | undefined {
  const at = text.indexOf('TEST {');
  return at < 0 ? undefined : JSON.parse(text.slice(at + 5)) as TestLine;
}

/** How many tests there were, as told at the end: what a line that got lost is found by. */
export const parseCount = (text: string): number | undefined => (text.startsWith('TESTS ') ? Number(text.slice(6)) : undefined);

export default class Reporter {
  readonly #told = new Set<string>();

  #tell(file: File, line: Omit<TestLine, 'file'>): void {
    process.stdout.write(`TEST ${JSON.stringify({ file: file.path.slice(file.context.config.rootDir.length + 1), ...line })}\n`);
  }

  onTestCaseResult(file: File, result: Result): void {
    this.#told.add(`${file.path} ${result.fullName}`);
    const status = result.status === 'passed' || result.status === 'failed' ? result.status : 'skipped';
    this.#tell(file, { name: result.fullName, status, ms: result.duration ?? 0, ...(status === 'failed' ? { why: plain(result.failureMessages.join('\n')) } : {}) });
  }

  /** A file that threw before its first test, and tests that were skipped: they never end. */
  onTestFileResult(file: File, result: FileResult): void {
    for (const one of result.testResults) if (!this.#told.has(`${file.path} ${one.fullName}`)) this.onTestCaseResult(file, one);
    const error = result.testExecError;
    if (error != null) this.#tell(file, { name: '', status: 'failed', ms: 0, why: plain(error.stack ?? error.message ?? String(error)) });
  }

  onRunComplete(_contexts: unknown, results: { readonly numTotalTests: number }): void { process.stdout.write(`\nTESTS ${results.numTotalTests}\n`); }

  getLastError(): undefined { return undefined; }
}
