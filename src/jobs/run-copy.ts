// Copies a run folder while its trainer writes to it, and prepares a copied folder so that a trainer on this machine can
// resume it. Knows no store.
import { existsSync } from 'node:fs';
import { copyFile, link, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { makeFolder } from '../common/folders.ts';
import { hashFile, loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { parseShallowJson } from '../common/shallow-json.ts';
import type { TrainerJob } from './runner.ts';

const JOB_FILE = 'job.json';
const JOB_PATH_KEYS = ['model', 'data', 'validation', 'initAdapter'] as const;
const ADAPTER_DIR = 'adapter';
const CHECKPOINTS_DIR = 'checkpoints';
const SNAPSHOTS_DIR = 'snapshots';
/** A checkpoint's tensors, and their SHA-256 in hex. */
const STATE_FILE = 'state.safetensors';
const STATE_HASH_FILE = 'state.sha256';
/** The job, metrics and events, but not the lock, plots and unfinished files. */
const COPIED_FILE = /^[\w-]+\.(?:json|jsonl|csv)$/;
/** The trainer replaces the adapter with two renames. */
const REPLACING_MS = 20;
const MAX_ADAPTER_TRIES = 10;

/** Whether the folder holds a run that the trainer can continue. */
export function holdsRun(runDir: string): boolean {
  return existsSync(path.join(runDir, JOB_FILE));
}

/** Replaces the paths in a run folder that another machine wrote. The result of a run does not depend on paths. */
export async function relocateRun(runDir: string, job: TrainerJob): Promise<void> {
  const file = path.join(runDir, JOB_FILE);
  const bytes = await loadRegular(file, SMALL_FILE_BYTES);
  const stored = parseShallowJson(bytes) as Record<string, unknown>;
  for (const key of JOB_PATH_KEYS) if (key in stored) stored[key] = job[key];
  await writeFile(`${file}.tmp`, `${JSON.stringify(stored, null, 2)}\n`, { flush: true });
  await rename(`${file}.tmp`, file);
}

/**
 * Copies what is needed to continue the run into `target`, while its trainer works. The checkpoint comes first: a resumed
 * run rewrites everything that the trainer wrote after it. It does not make the snapshots before it again, so those that are
 * not published come along.
 * @param publishedStep of the newest published snapshot
 * @returns the checkpoint's step, or undefined if there is no checkpoint
 */
export async function copyRun(
  runDir: string,
  target: string,
  publishedStep: number,
): Promise<number | undefined> {
  for (const step of await listSteps(path.join(runDir, CHECKPOINTS_DIR))) {
    const folder = path.join(CHECKPOINTS_DIR, `step-${step}`);
    if (!(await copyCheckpoint(path.join(runDir, folder), path.join(target, folder)))) continue;
    for (const name of await readdir(runDir)) {
      if (COPIED_FILE.test(name)) await copyFile(path.join(runDir, name), path.join(target, name));
    }
    await copyAdapter(runDir, target);
    for (const made of await listSteps(path.join(runDir, SNAPSHOTS_DIR))) {
      if (made <= publishedStep || made > step) continue;
      const snapshot = path.join(SNAPSHOTS_DIR, `step-${made}`);
      await copySnapshot(path.join(runDir, snapshot), path.join(target, snapshot));
    }
    return step;
  }
  return undefined;
}

/** The trainer may be removing it because newer ones exist: then nobody will ask for it. */
async function copySnapshot(from: string, to: string): Promise<void> {
  try {
    await linkFiles(from, to);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await rm(to, { recursive: true, force: true });
  }
}

/** Lists the steps of the folders of checkpoints or snapshots, newest first. */
async function listSteps(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => []);
  const steps = names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a);
}

/** Returns whether the copy is complete. The trainer may be removing the checkpoint because newer ones exist. */
async function copyCheckpoint(from: string, to: string): Promise<boolean> {
  try {
    await linkFiles(from, to);
    const expected = await loadRegular(path.join(to, STATE_HASH_FILE), SMALL_FILE_BYTES);
    if ((await hashFile(path.join(to, STATE_FILE))).sha256 === expected.toString().trim())
      return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  await rm(to, { recursive: true, force: true });
  return false;
}

/** Copies the best adapter so far, if there is one. It is missing for a moment when the trainer replaces it. */
async function copyAdapter(runDir: string, to: string): Promise<void> {
  const target = path.join(to, ADAPTER_DIR);
  for (let attempt = 1; attempt <= MAX_ADAPTER_TRIES; attempt++) {
    const names = await readdir(runDir);
    if (!names.some((name) => name.startsWith(ADAPTER_DIR))) return;
    try {
      return await linkFiles(path.join(runDir, ADAPTER_DIR), target);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await rm(target, { recursive: true, force: true });
      await setTimeout(REPLACING_MS);
    }
  }
}

/** Links are enough, because the trainer replaces folders and never changes their files. */
async function linkFiles(from: string, to: string): Promise<void> {
  await makeFolder(to);
  for (const name of await readdir(from)) {
    const [file, linked] = [path.join(from, name), path.join(to, name)];
    await link(file, linked).catch((error) => {
      if (isMissing(error)) throw error;
      return copyFile(file, linked); // some file systems have no links
    });
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
