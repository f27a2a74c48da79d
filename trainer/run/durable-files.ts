// Writes files and folders atomically: under a temporary name, synced, then renamed. Readers never see a partial one, even
// after a crash. Also prunes the `step-N` folders of checkpoints and snapshots.

import { open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder, syncFolder } from '../../src/common/folders.ts';

/** Replaces a file atomically. */
export async function writeFileDurably(file: string, data: string | Uint8Array): Promise<void> {
  const temporary = `${file}.tmp-${process.pid}`;
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncFolder(path.dirname(file));
}

/** Replaces a folder by one that `fill` fills. Once this resolves, it survives a crash if the files in it do. */
export async function writeFolderDurably(
  target: string,
  fill: (dir: string) => Promise<void>,
  building = `${target}.tmp-${process.pid}`,
): Promise<void> {
  await rm(building, { recursive: true, force: true });
  await makeFolder(building);
  await fill(building).catch(async (error) => {
    await rm(building, { recursive: true, force: true });
    throw error;
  });
  const old = `${target}.old-${process.pid}`;
  await syncFolder(building);
  const hadOne = await rename(target, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
  await rename(building, target);
  await syncFolder(path.dirname(target));
  if (hadOne) await rm(old, { recursive: true });
}

/** Removes everything except the folders of these steps, including half-written leftovers of a killed process. */
export async function keepSteps(dir: string, steps: readonly number[]): Promise<void> {
  const kept = new Set(steps.map((step) => `step-${step}`));
  for (const name of await readdir(dir)) {
    if (!kept.has(name)) await rm(path.join(dir, name), { recursive: true });
  }
}
