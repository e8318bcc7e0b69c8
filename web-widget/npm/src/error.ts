/** What went wrong. */
export class CodexError extends Error {
  /** The cause as a word for programs: lower-case ASCII and `_`, the same in every release. */
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CodexError';
    this.code = code;
  }
}
