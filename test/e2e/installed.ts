// Packages that a file pins, installed once and kept between runs.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { home } from './served.ts';

/**
 * Installs what a file pins into a new folder, unless an earlier run did.
 * @param kind the folder of all installations of this kind
 * @param pins a file with pinned versions; a changed one is installed again
 * @param install installs into the folder that it is given, whose parent exists
 * @returns the folder, or why it can't be had
 */
export async function installOnce(
  kind: string,
  pins: string,
  install: (building: string) => Promise<void>,
): Promise<{ folder: string } | { reason: string }> {
  const hash = createHash('sha256').update(readFileSync(pins)).digest('hex');
  const folder = path.join(home, kind, hash.slice(0, 16));
  if (existsSync(folder)) return { folder };
  const building = `${folder}.tmp-${process.pid}`;
  try {
    await mkdir(path.dirname(folder), { recursive: true });
    await install(building);
    await rename(building, folder);
    return { folder };
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    return { reason: `${path.basename(pins)} could not be installed: ${error}` };
  }
}
