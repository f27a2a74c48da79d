// Folders that are named after the step they belong to: `step-N`.
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';

export function stepFolder(dir: string, step: number): string {
  return path.join(dir, `step-${step}`);
}

/** Ascending. */
export async function listSteps(dir: string): Promise<number[]> {
  const names = await readdir(dir).catch(() => []);
  return names
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Removes all but these, also what a killed process left half written. */
export async function keepSteps(dir: string, steps: readonly number[]): Promise<void> {
  const kept = new Set(steps.map((step) => `step-${step}`));
  for (const name of await readdir(dir)) {
    if (!kept.has(name)) await rm(path.join(dir, name), { recursive: true });
  }
}
