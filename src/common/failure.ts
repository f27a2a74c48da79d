// Describes a failure to the user who ran the program, and chooses the exit code.
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, FileError, ServeError, UsageError } from './errors.ts';

/** Exit codes: 1 is a failure, 2 a wrong command line, 78 a wrong setting (EX_CONFIG of sysexits.h). */
export const EXIT = { ok: 0, failed: 1, usage: 2, config: 78 } as const;

/** The lines that a failed program prints, and its exit code. */
export interface Failure {
  readonly text: string;
  readonly exitCode: number;
}

/** Describes an error with one line per fault. Only a bug is shown with its stack. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof ConfigError) return toFailure(error.faults, EXIT.config);
  if (error instanceof UsageError) return toFailure([error.message], EXIT.usage);
  if (error instanceof FileError || error instanceof ServeError) {
    return toFailure([error.message], EXIT.failed);
  }
  const unwritable = describeUnwritable(error);
  if (unwritable) return unwritable;
  if (!(error instanceof Error)) return toFailure([String(error)], EXIT.failed);
  const { code, path: file }: NodeJS.ErrnoException = error;
  if (code === 'ENOENT' && file) return toFailure([`${file} does not exist`], EXIT.failed);
  // A system error's message is enough. Any other error is a bug, which needs its stack.
  const isSystem = 'code' in error;
  return toFailure([isSystem ? error.message : (error.stack ?? error.message)], EXIT.failed);
}

function toFailure(faults: readonly string[], exitCode: number): Failure {
  return { text: faults.map((fault) => `lorikeet: ${fault}\n`).join(''), exitCode };
}

const OTHER_FOLDER =
  'Set LORIKEET_HOME, or the option that names this folder, to a folder that can be written.';
const MORE_ROOM =
  'Free some space there, or set LORIKEET_HOME, or the option that names this folder, to a folder on another disk.';

/** The system's code → why a folder cannot be written, what to do, and the exit code. */
const UNWRITABLE: Readonly<Record<string, readonly [why: string, cure: string, exit: number]>> = {
  ENOSPC: ['the disk is full', MORE_ROOM, EXIT.failed],
  EDQUOT: ['the disk quota is used up', MORE_ROOM, EXIT.failed],
  EFBIG: [
    'the file would be larger than this process may write',
    'Raise its limit (ulimit -f, LimitFSIZE of systemd), or use a file system for larger files.',
    EXIT.failed,
  ],
  EROFS: ['the file system is read-only', OTHER_FOLDER, EXIT.config],
  EACCES: ['this user may not write there', OTHER_FOLDER, EXIT.config],
  EPERM: ['the system does not allow it', OTHER_FOLDER, EXIT.config],
  ENOENT: ['no folder can be created there', OTHER_FOLDER, EXIT.config],
  EEXIST: ['a file is in the way', OTHER_FOLDER, EXIT.config],
  ENOTDIR: ['a file is in the way', OTHER_FOLDER, EXIT.config],
  ENAMETOOLONG: ['a name is too long', OTHER_FOLDER, EXIT.config],
};

/** Codes that only writing gets. */
const WRITE_CODES: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS']);

function describeUnwritable(error: unknown): Failure | undefined {
  const { path: given, dest } = error as NodeJS.ErrnoException & { readonly dest?: string };
  const folder = dest ?? given ?? 'to the disk'; // a link's path is its content
  const known = reasonOfUnwritable(error);
  if (!known) return undefined;
  const { reason, cure, exitCode } = known;
  return toFailure([`Cannot write ${folder}: ${reason}. ${cure}`], exitCode);
}

/**
 * Returns why something cannot be written, without its path, and what to do. Undefined if the error is not about writing. ENOENT
 * is about writing if it comes from mkdir.
 */
export function reasonOfUnwritable(
  error: unknown,
): { readonly reason: string; readonly cure: string; readonly exitCode: number } | undefined {
  const { code: reported = '', path: folder, syscall } = error as NodeJS.ErrnoException;
  const isMissing = reported === 'ENOENT' && syscall === 'mkdir' && folder !== undefined;
  const code = (isMissing ? whyUnwritable(folder) : reported) ?? '';
  const row = WRITE_CODES.has(code) || syscall === 'mkdir' ? UNWRITABLE[code] : undefined;
  if (!row) return undefined;
  const [why, cure, exitCode] = row;
  return { reason: `${why} (${code})`, cure, exitCode };
}

/** Returns the code of why a folder cannot be made: a recursive mkdir always reports ENOENT, and the nearest existing folder shows it. */
export function whyUnwritable(folder: string): string | undefined {
  let existing = path.resolve(folder);
  while (!existsSync(existing)) existing = path.dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
    return 'ENOENT';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}
