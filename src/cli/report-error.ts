// What a program says when it fails, and its exit code.
import { ConfigError, FileError, ServeError, UsageError } from '../errors.ts';

/** Exit codes: 1 failed, 2 wrong command line, 78 wrong setting (EX_CONFIG of sysexits.h). */
export const EXIT = { ok: 0, failed: 1, usage: 2, config: 78 } as const;

export interface Terminal {
  out(text: string): void;
  error(text: string): void;
}

/** Writes one line per fault; a stack only where the fault is ours. Returns the exit code. */
export function reportError(error: unknown, terminal: Terminal): number {
  if (error instanceof ConfigError) {
    for (const fault of error.faults) terminal.error(`lorikeet: ${fault}\n`);
    return EXIT.config;
  }
  const isExpected = error instanceof FileError || error instanceof ServeError;
  if (error instanceof UsageError || isExpected) {
    terminal.error(`lorikeet: ${error.message}\n`);
    return isExpected ? EXIT.failed : EXIT.usage;
  }
  // Anything else is either the system's (its message is enough) or ours (its stack is needed).
  const isSystem = error instanceof Error && 'code' in error;
  const text = error instanceof Error ? (isSystem ? error.message : error.stack) : String(error);
  terminal.error(`lorikeet: ${text}\n`);
  return EXIT.failed;
}
