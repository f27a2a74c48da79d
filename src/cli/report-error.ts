// What a program says when it fails, and its exit code.
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, FileError, ServeError, UsageError } from '../common/errors.ts';

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
  const unwritable = describeUnwritable(error);
  if (unwritable) {
    terminal.error(`lorikeet: ${unwritable.text}\n`);
    return unwritable.exit;
  }
  // Anything else is either the system's (its message is enough) or ours (its stack is needed).
  const isSystem = error instanceof Error && 'code' in error;
  const text = error instanceof Error ? (isSystem ? error.message : error.stack) : String(error);
  terminal.error(`lorikeet: ${text}\n`);
  return EXIT.failed;
}

const OTHER_FOLDER =
  'Set LORIKEET_HOME, or the option that names this folder, to one that can be written.';
const MORE_ROOM = 'Free some space there, or set LORIKEET_HOME to a folder on another disk.';

/** The system's code → why a folder cannot be written, what to do, and the exit code. */
const UNWRITABLE: Readonly<Record<string, readonly [why: string, cure: string, exit: number]>> = {
  ENOSPC: ['the disk is full', MORE_ROOM, EXIT.failed],
  EDQUOT: ['the quota of the disk is used up', MORE_ROOM, EXIT.failed],
  EROFS: ['the file system is read-only', OTHER_FOLDER, EXIT.config],
  EACCES: ['this user may not write there', OTHER_FOLDER, EXIT.config],
  EPERM: ['the system does not allow it', OTHER_FOLDER, EXIT.config],
  ENOENT: ['no folder can be made there', OTHER_FOLDER, EXIT.config],
};

/** Undefined if the error is something else. Of a missing file only its making is a matter of where things are written. */
function describeUnwritable(error: unknown): { text: string; exit: number } | undefined {
  const { code: said = '', path: folder, syscall } = error as NodeJS.ErrnoException;
  const isAbsent = said === 'ENOENT' && syscall === 'mkdir' && folder !== undefined;
  const code = (isAbsent ? whyUnwritable(folder) : said) ?? '';
  const isWriting = !['ENOENT', 'EACCES', 'EPERM'].includes(code) || syscall === 'mkdir';
  const found = isWriting ? UNWRITABLE[code] : undefined;
  if (!found) return undefined;
  const [why, cure, exit] = found;
  return { text: `Cannot write ${folder ?? 'to the disk'}: ${why} (${code}). ${cure}`, exit };
}

/** Node says ENOENT of every folder that it cannot make with its parents; the nearest folder that exists says why. */
function whyUnwritable(folder: string): string | undefined {
  let existing = path.resolve(folder);
  while (!existsSync(existing)) existing = path.dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
    return 'ENOENT';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}
