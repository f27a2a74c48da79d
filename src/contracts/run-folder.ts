// The folder of a training run, which the trainer writes and a server copies while it is written: the names in it, and which of
// its checkpoints are whole.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { hashFile, loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';

/** The names of files and folders of a run. */
export const RUN_FILES = {
  job: 'job.json',
  /** The best adapter so far, which the trainer replaces with two renames. */
  adapter: 'adapter',
  checkpoints: 'checkpoints',
  snapshots: 'snapshots',
} as const;

/** A checkpoint's tensors, and their SHA-256 in hex. */
export const CHECKPOINT_FILES = { tensors: 'state.safetensors', hash: 'state.sha256' } as const;

/** Returns the path of a checkpoint or snapshot, `dir/step-N`. */
export function stepFolder(dir: string, step: number): string {
  return path.join(dir, `step-${step}`);
}

/** Lists the steps that have a folder, in ascending order. */
export async function listSteps(dir: string): Promise<number[]> {
  const names = await readdir(dir).catch(() => []);
  const steps = names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => a - b);
}

/** Whether a checkpoint is intact. */
export async function isWholeCheckpoint(folder: string): Promise<boolean> {
  const [tensors, hash] = [CHECKPOINT_FILES.tensors, CHECKPOINT_FILES.hash];
  try {
    const expected = await loadRegular(path.join(folder, hash), SMALL_FILE_BYTES);
    return (await hashFile(path.join(folder, tensors))).sha256 === expected.toString().trim();
  } catch {
    return false;
  }
}
