// The one error for what a user can mend: bad files, flags, machines. Bugs assert and crash instead.

export class ConfigError extends Error {
  /** What to do about it: a sentence or a command. */
  readonly mend: string | undefined;

  constructor(message: string, mend?: string) {
    super(message);
    this.name = 'ConfigError';
    this.mend = mend;
  }
}

/** Errors read outside-in: what was being done, then why it failed. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
