// Creates folders one level at a time: a recursive mkdir of Node's never returns below /proc.
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** Creates a folder and its parents. A folder that exists is left as it is. Rejects with the system's error. */
export async function makeFolder(folder: string): Promise<void> {
  const isMissing = await stat(folder).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
  const parent = path.dirname(path.resolve(folder));
  if (isMissing && parent !== folder) await makeFolder(parent);
  try {
    await mkdir(folder);
  } catch (error) {
    const isThere = await stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!isThere) throw error;
  }
}
