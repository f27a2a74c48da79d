// Sets aside what a run needs to go on, as it is at one moment, while its trainer works on. Knows the run folder as the
// trainer writes it, and no store.
import { copyFile, link, mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { hashFile, loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';

const ADAPTER_DIR = 'adapter';
const CHECKPOINTS_DIR = 'checkpoints';
/** Of the trainer's checkpoints: the file, and its SHA-256 in hex. */
const STATE_FILE = 'state.safetensors';
const STATE_HASH_FILE = 'state.sha256';
/** Job, metrics, events, and what else it notes; not its lock, its plots and what it is just writing. */
const NOTED_FILE = /^[\w-]+\.(?:json|jsonl|csv)$/;
/** Two renames and their way to the disk. */
const REPLACING_MS = 20;
/** Of an adapter that is being replaced at each of them. */
const MAX_TRIES = 10;

/**
 * Puts what a run needs beside it as it is now, while its trainer works on. The checkpoint comes first: what the trainer
 * writes after it, the run that goes on writes again.
 * @returns the checkpoint's step; undefined where there is none
 */
export async function stageRun(runDir: string, stage: string): Promise<number | undefined> {
  for (const step of await listSteps(runDir)) {
    const folder = path.join(CHECKPOINTS_DIR, `step-${step}`);
    if (!(await stageCheckpoint(path.join(runDir, folder), path.join(stage, folder)))) continue;
    for (const name of await readdir(runDir)) {
      if (NOTED_FILE.test(name)) await copyFile(path.join(runDir, name), path.join(stage, name));
    }
    await stageAdapter(runDir, stage);
    return step;
  }
  return undefined;
}

/** The newest first. */
async function listSteps(runDir: string): Promise<number[]> {
  const names = await readdir(path.join(runDir, CHECKPOINTS_DIR)).catch(() => []);
  const steps = names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a);
}

/** Whether it is whole. The trainer may be removing it, as one of the older ones. */
async function stageCheckpoint(from: string, to: string): Promise<boolean> {
  try {
    await stageFolder(from, to);
    const expected = await loadRegular(path.join(to, STATE_HASH_FILE), SMALL_FILE_BYTES);
    if ((await hashFile(path.join(to, STATE_FILE))).sha256 === expected.toString().trim())
      return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  await rm(to, { recursive: true, force: true });
  return false;
}

/** The best one so far, where there is one. For a moment it is away, when the trainer replaces it. */
async function stageAdapter(runDir: string, stage: string): Promise<void> {
  const target = path.join(stage, ADAPTER_DIR);
  for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
    const names = await readdir(runDir);
    if (!names.some((name) => name.startsWith(ADAPTER_DIR))) return;
    try {
      return await stageFolder(path.join(runDir, ADAPTER_DIR), target);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await rm(target, { recursive: true, force: true });
      await setTimeout(REPLACING_MS);
    }
  }
}

/** Its files do not change: the trainer replaces folders. */
async function stageFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const name of await readdir(from)) {
    const [file, staged] = [path.join(from, name), path.join(to, name)];
    await link(file, staged).catch((error) => {
      if (isMissing(error)) throw error;
      return copyFile(file, staged); // not every file system has links
    });
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
