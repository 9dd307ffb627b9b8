// Files of cases: read, answered, printed one JSON line each.
import { ConfigError, messageOf } from '../agent/errors.ts';
import { readCases } from '../agent/policy/cases.ts';

/** A file that is no list of cases is the user's to mend. */
export function answers<Case>(file: string, answer: (one: Case) => readonly object[]): object[] {
  try {
    return readCases<Case>(file).flatMap(answer);
  } catch (error) {
    throw new ConfigError(`cases of ${file}: ${messageOf(error)}`, 'one JSON object a line, as in agent/policy/testdata');
  }
}

export const printLines = (lines: readonly object[]): void => {
  process.stdout.write(lines.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
};
