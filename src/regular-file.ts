// Opens regular files only. Opening a pipe would wait for a writer that never comes, and a device may never end.
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { FileError } from './errors.ts';

/** Without effect on a regular file; Windows has no such flag. */
const NONBLOCK = constants.O_NONBLOCK ?? 0;

/** Opens a file for reading; the caller closes the descriptor. Throws `FileError` if it is a pipe, a device or a folder. */
export function openRegular(file: string): number {
  const fd = openSync(file, constants.O_RDONLY | NONBLOCK);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new FileError(path.basename(file), 'is not a regular file');
}

/** Reads a whole file. Throws as `openRegular`, and `FileError` if it has more than `maxBytes`. */
export function readRegular(file: string, maxBytes = Number.POSITIVE_INFINITY): Buffer {
  const fd = openRegular(file);
  try {
    const { size } = fstatSync(fd);
    if (size > maxBytes)
      throw new FileError(path.basename(file), `${size} bytes, limit ${maxBytes}`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** For a file that a library opens. Throws as `openRegular`. */
export function checkRegular(file: string): void {
  closeSync(openRegular(file));
}
