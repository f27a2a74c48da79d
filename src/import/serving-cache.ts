// Where an artifact's serving files lie in the cache folder, and whether they are there. Builds none.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { LAYOUT_VERSION, type WeightsMode } from '../model/serving-weights.ts';
import { CHECKSUMS_FILE } from './serving-checksums.ts';

export interface ServingCache {
  readonly weights: WeightsMode;
  readonly cacheDir: string;
}

/** By the base's digest. */
export function servingFolder(digest: string, { weights, cacheDir }: ServingCache): string {
  return path.join(cacheDir, `${digest.slice(0, 16)}-${weights}-v${LAYOUT_VERSION}`);
}

/** Whether the folder is complete: its checksums are written last, and the folder is renamed into place as a whole. */
export function isBuilt(folder: string): boolean {
  return existsSync(path.join(folder, CHECKSUMS_FILE));
}
