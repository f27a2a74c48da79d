// A run folder that came from another machine, or from another home: the paths of its job are made this machine's. What
// a run is does not depend on paths.
import { existsSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { parseShallowJson } from '../common/shallow-json.ts';
import type { TrainerJob } from './runner.ts';

const JOB_FILE = 'job.json';
const PATH_KEYS = ['model', 'data', 'validation', 'initAdapter'] as const;

/** Whether the folder holds a run that the trainer can go on with. */
export function holdsRun(runDir: string): boolean {
  return existsSync(path.join(runDir, JOB_FILE));
}

/** @param job whose paths are this machine's */
export async function relocateRun(runDir: string, job: TrainerJob): Promise<void> {
  const file = path.join(runDir, JOB_FILE);
  const bytes = await loadRegular(file, SMALL_FILE_BYTES);
  const settled = parseShallowJson(bytes) as Record<string, unknown>;
  for (const key of PATH_KEYS) if (key in settled) settled[key] = job[key];
  await writeFile(`${file}.tmp`, `${JSON.stringify(settled, null, 2)}\n`, { flush: true });
  await rename(`${file}.tmp`, file);
}
