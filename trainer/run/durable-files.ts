// Writes files and folders atomically: under a temporary name, synced, then renamed. Readers never see a part of one, even
// after a crash. Also lists and prunes the `step-N` folders of checkpoints and snapshots.
import { open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';

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
  await syncDirectory(path.dirname(file));
}

/** Replaces a folder with one that was built beside it. */
export async function replaceFolder(built: string, target: string): Promise<void> {
  const old = `${target}.old-${process.pid}`;
  await syncDirectory(built);
  const hadOne = await rename(target, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
  await rename(built, target);
  await syncDirectory(path.dirname(target));
  if (hadOne) await rm(old, { recursive: true });
}

async function syncDirectory(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Returns the folder of a step. */
export function stepFolder(dir: string, step: number): string {
  return path.join(dir, `step-${step}`);
}

/** Lists the steps that have a folder, in ascending order. */
export async function listSteps(dir: string): Promise<number[]> {
  const names = await readdir(dir).catch(() => []);
  return names
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Removes everything but the folders of these steps, including what a killed process left half-written. */
export async function keepSteps(dir: string, steps: readonly number[]): Promise<void> {
  const kept = new Set(steps.map((step) => `step-${step}`));
  for (const name of await readdir(dir)) {
    if (!kept.has(name)) await rm(path.join(dir, name), { recursive: true });
  }
}
