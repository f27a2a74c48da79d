// Opens regular files only, and reads them within a bound. Opening a pipe would wait for a writer that never comes, and
// a device may never end.
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { FileError } from './errors.ts';

/** Without effect on a regular file; Windows has no such flag. */
const NONBLOCK = constants.O_NONBLOCK ?? 0;

/** For files of settings and notes: the largest, the layout of a model of 126 layers, has 300 KB. */
export const SMALL_FILE_BYTES = 4 * 2 ** 20;

/** Opens a file for reading; the caller closes the descriptor. Throws `FileError` if it is a pipe, a device or a folder. */
export function openRegular(file: string): number {
  const fd = openSync(file, constants.O_RDONLY | NONBLOCK);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notRegular(file);
}

/** Reads a whole file. Throws as `openRegular`, and `FileError` if it has more than `maxBytes`. */
export function readRegular(file: string, maxBytes: number): Buffer {
  const fd = openRegular(file);
  try {
    checkSize(file, fstatSync(fd), maxBytes);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The same without blocking the event loop. */
export async function loadRegular(file: string, maxBytes: number): Promise<Buffer> {
  const handle = await open(file, constants.O_RDONLY | NONBLOCK);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw notRegular(file);
    checkSize(file, stats, maxBytes);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** For a file that a library opens. Throws as `openRegular`. */
export function checkRegular(file: string): void {
  closeSync(openRegular(file));
}

function notRegular(file: string): FileError {
  return new FileError(path.basename(file), 'is not a regular file');
}

function checkSize(file: string, { size }: Stats, maxBytes: number): void {
  if (size > maxBytes) throw new FileError(path.basename(file), `${size} bytes, limit ${maxBytes}`);
}
