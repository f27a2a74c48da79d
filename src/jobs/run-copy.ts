// Copies a run folder while its trainer writes to it, and prepares a copied folder so that a trainer on this machine can resume
// it.

import { existsSync } from 'node:fs';
import { copyFile, link, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { makeFolder } from '../common/folders.ts';
import { parseShallowJson } from '../common/json-scan.ts';
import { loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { isWholeCheckpoint, listSteps, RUN_FILES, stepFolder } from '../contracts/run-folder.ts';
import type { TrainerJob } from './runner.ts';

const JOB_PATH_KEYS = ['model', 'data', 'validation', 'initAdapter'] as const;
/** The job, metrics and events, without the lock, plots and unfinished files. */
const COPIED_FILE = /^[\w-]+\.(?:json|jsonl|csv)$/;
/** How long the trainer takes to replace the adapter. */
const REPLACING_MS = 20;
const MAX_ADAPTER_TRIES = 10;

/** Whether the folder holds a run that the trainer can continue. */
export function holdsRun(runDir: string): boolean {
  return existsSync(path.join(runDir, RUN_FILES.job));
}

/** Replaces the paths in a run folder from another machine. The result of a run does not depend on paths. */
export async function relocateRun(runDir: string, job: TrainerJob): Promise<void> {
  const file = path.join(runDir, RUN_FILES.job);
  const bytes = await loadRegular(file, SMALL_FILE_BYTES);
  const stored = parseShallowJson(bytes) as Record<string, unknown>;
  for (const key of JOB_PATH_KEYS) if (key in stored) stored[key] = job[key];
  await writeFile(`${file}.tmp`, `${JSON.stringify(stored, null, 2)}\n`, { flush: true });
  await rename(`${file}.tmp`, file);
}

/**
 * Copies what is needed to continue the run into `target`, while its trainer runs. Copies the checkpoint first: a resumed run
 * rewrites everything that the trainer wrote after it. A resumed run does not repeat earlier snapshots, so unpublished ones are
 * copied as well.
 * @param publishedStep the newest published snapshot's
 * @returns the checkpoint's step, or undefined if there is no checkpoint
 */
export async function copyRun(
  runDir: string,
  target: string,
  publishedStep: number,
): Promise<number | undefined> {
  for (const step of (await listSteps(path.join(runDir, RUN_FILES.checkpoints))).reverse()) {
    const folder = stepFolder(RUN_FILES.checkpoints, step);
    if (!(await copyCheckpoint(path.join(runDir, folder), path.join(target, folder)))) continue;
    for (const name of await readdir(runDir)) {
      if (COPIED_FILE.test(name)) await copyFile(path.join(runDir, name), path.join(target, name));
    }
    await copyAdapter(runDir, target);
    for (const snapshotStep of await listSteps(path.join(runDir, RUN_FILES.snapshots))) {
      if (snapshotStep <= publishedStep || snapshotStep > step) continue;
      const snapshot = stepFolder(RUN_FILES.snapshots, snapshotStep);
      // The trainer may be removing it because newer ones exist. Then it is no longer needed.
      await linkFolder(path.join(runDir, snapshot), path.join(target, snapshot));
    }
    return step;
  }
  return undefined;
}

/** Returns whether the copy is complete. The trainer may be removing the checkpoint because newer ones exist. */
async function copyCheckpoint(from: string, to: string): Promise<boolean> {
  if (!(await linkFolder(from, to))) return false;
  if (await isWholeCheckpoint(to)) return true;
  await rm(to, { recursive: true, force: true });
  return false;
}

/** Copies the best adapter so far, if there is one. It is missing briefly while the trainer replaces it. */
async function copyAdapter(runDir: string, to: string): Promise<void> {
  const target = path.join(to, RUN_FILES.adapter);
  for (let attempt = 1; attempt <= MAX_ADAPTER_TRIES; attempt++) {
    const names = await readdir(runDir);
    if (!names.some((name) => name.startsWith(RUN_FILES.adapter))) return;
    if (await linkFolder(path.join(runDir, RUN_FILES.adapter), target)) return;
    await setTimeout(REPLACING_MS);
  }
}

/**
 * Links the files of a folder, which suffices because the trainer replaces folders and never changes their files. Returns false,
 * and leaves nothing, if one is missing.
 */
async function linkFolder(from: string, to: string): Promise<boolean> {
  await makeFolder(to);
  try {
    for (const name of await readdir(from)) {
      const [file, linked] = [path.join(from, name), path.join(to, name)];
      await link(file, linked).catch((error) => {
        if (isMissing(error)) throw error;
        return copyFile(file, linked); // some file systems do not support links
      });
    }
    return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
    await rm(to, { recursive: true, force: true });
    return false;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
