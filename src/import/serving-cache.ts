// Finds and checks an artifact's serving files in the cache folder. Checksums are recorded when the files are built. Every
// start checks a sample. A full check reads slowly enough not to disturb running streams.
import { createHash, hash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, readdirSync, readSync, statSync } from 'node:fs';
import { open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import {
  type HashOptions,
  hashFile,
  openRegular,
  readRegular,
  SMALL_FILE_BYTES,
} from '../common/regular-file.ts';
import type { RowPacking } from '../model/row-weights.ts';
import {
  LAYOUT_FILE,
  LAYOUT_VERSION,
  WEIGHTS_FILE,
  WEIGHTS_MODES,
  type WeightsMode,
} from '../model/serving-weights.ts';

/** Written last. A folder without it is incomplete, or comes from a version that recorded no checksums. */
const CHECKSUMS_FILE = 'checksums.json';

/** 1 MiB in total, evenly spaced. Takes a few milliseconds. */
const SAMPLE_COUNT = 128;
const SAMPLE_BYTES = 8 * 1024;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const checksumsSchema = z.object({
  /** SHA-256 of layout.json. */
  layout: sha256,
  weights: z.object({
    byteSize: z.number().int().nonnegative(),
    sha256,
    /** SHA-256 of a sample of blocks from the whole file. */
    sample: sha256,
  }),
});

type Checksums = z.infer<typeof checksumsSchema>;

/** The form of the weights, and the parent folder of all serving folders. */
export interface ServingCache {
  readonly weights: WeightsMode;
  readonly cacheDir: string;
  /** The order of the weights in per-token form. Undefined if they do not have it. */
  readonly packing?: RowPacking | undefined;
}

/** A damaged file in a serving folder, and how it was detected. */
export interface ServingFault {
  readonly file: string;
  readonly reason: string;
}

/** Returns the serving folder of a base, by its digest. The folder need not exist. */
export function servingFolder(
  digest: string,
  { weights, cacheDir, packing }: ServingCache,
): string {
  const form = packing ? `${weights}-${packing}` : weights;
  return path.join(cacheDir, `${digest.slice(0, 16)}-${form}-v${LAYOUT_VERSION}`);
}

/** Lists the complete serving folders of a base for this version, by its digest, in the order of the weights modes. */
export function builtFolders(
  digest: string,
  cacheDir: string,
): { readonly weights: WeightsMode; readonly folder: string }[] {
  const built = foldersOf(`${digest.slice(0, 16)}-`, cacheDir)
    .filter((name) => name.endsWith(`-v${LAYOUT_VERSION}`))
    .sort();
  return WEIGHTS_MODES.flatMap((weights) =>
    built
      .filter((name) => name.split('-')[1] === weights)
      .map((name) => ({ weights, folder: path.join(cacheDir, name) })),
  );
}

/** Returns why a folder is not built, as a sentence about the other folders of the same base. */
export function whyNotBuilt(folder: string): string {
  if (existsSync(folder)) return `${folder} is incomplete or damaged.`;
  const parent = path.dirname(folder);
  const [, form, base] = /^((.{16}-).*-v)\d+$/.exec(path.basename(folder))!;
  const others = foldersOf(base!, parent);
  const older = others.find((name) => name.startsWith(form!));
  if (older) return `${path.join(parent, older)} has the layout of another version.`;
  if (others.length > 0)
    return `${parent} has this base only in other forms: ${others.join(', ')}.`;
  return `${parent} has none of this base.`;
}

/** Lists the complete folders whose names begin like this. */
function foldersOf(base: string, cacheDir: string): string[] {
  const isFolder = statSync(cacheDir, { throwIfNoEntry: false })?.isDirectory();
  const names = isFolder ? readdirSync(cacheDir) : [];
  return names.filter((name) => name.startsWith(base) && isBuilt(path.join(cacheDir, name)));
}

/** Whether the folder exists and is complete. */
export function isBuilt(folder: string): boolean {
  return existsSync(path.join(folder, CHECKSUMS_FILE));
}

/**
 * Writes the weights file to the disk, reads the folder back and records its checksums.
 * @param written SHA-256 of the bytes written to the weights file
 * @throws Error if the file does not contain those bytes, and an `AbortError` once aborted
 */
export async function recordChecksums(
  dir: string,
  written: string,
  signal?: AbortSignal,
): Promise<void> {
  const file = path.join(dir, WEIGHTS_FILE);
  await using handle = await open(file, 'r+');
  await handle.sync();
  const { sha256, byteSize } = await hashFile(file, { ...(signal && { signal }) });
  if (sha256 !== written) {
    throw new Error(`${file}: the disk returned different bytes than written. Check the disk.`);
  }
  const weights = { byteSize, sha256, sample: hashSample(file).sample };
  const checksums: Checksums = { layout: hashLayout(dir), weights };
  await writeFile(path.join(dir, CHECKSUMS_FILE), JSON.stringify(checksums));
}

/** Checks the layout, the size of the weights and a sample of the weights. Takes a few milliseconds and never throws. */
export function findQuickFault(dir: string): ServingFault | undefined {
  let file = CHECKSUMS_FILE;
  try {
    const { layout, weights } = readChecksums(dir);
    file = LAYOUT_FILE;
    if (hashLayout(dir) !== layout) return { file, reason: 'its SHA-256 differs' };
    file = WEIGHTS_FILE;
    const { byteSize, sample } = hashSample(path.join(dir, file));
    if (byteSize !== weights.byteSize)
      return { file, reason: `it has ${byteSize} bytes instead of ${weights.byteSize}` };
    if (sample !== weights.sample) return { file, reason: 'the SHA-256 of a sample differs' };
    return undefined;
  } catch (error) {
    const isSystem = error instanceof Error && 'code' in error;
    return { file, reason: isSystem ? error.message : 'its content is invalid' };
  }
}

/** Checks the whole folder. Rejects only once `signal` is aborted. */
export async function findFault(
  dir: string,
  options: HashOptions = {},
): Promise<ServingFault | undefined> {
  const quick = findQuickFault(dir);
  if (quick) return quick;
  const { weights } = readChecksums(dir);
  try {
    const { sha256 } = await hashFile(path.join(dir, WEIGHTS_FILE), options);
    if (sha256 === weights.sha256) return undefined;
    return { file: WEIGHTS_FILE, reason: 'its SHA-256 differs' };
  } catch (error) {
    options.signal?.throwIfAborted();
    return { file: WEIGHTS_FILE, reason: (error as Error).message };
  }
}

/** Marks a folder as incomplete. The next start that needs it rebuilds it. */
export async function discardChecksums(dir: string): Promise<void> {
  await rm(path.join(dir, CHECKSUMS_FILE), { force: true });
}

/** Returns the recorded size of the weights. Throws if the checksums cannot be read. */
export function recordedByteSize(dir: string): number {
  return readChecksums(dir).weights.byteSize;
}

function readChecksums(dir: string): Checksums {
  const text = readRegular(path.join(dir, CHECKSUMS_FILE), SMALL_FILE_BYTES).toString();
  return checksumsSchema.parse(JSON.parse(text));
}

function hashLayout(dir: string): string {
  return hash('sha256', readRegular(path.join(dir, LAYOUT_FILE), SMALL_FILE_BYTES));
}

/** Hashes the first block, the last block, and evenly spaced blocks in between. A small file is hashed whole. */
function hashSample(file: string): { byteSize: number; sample: string } {
  const fd = openRegular(file);
  try {
    const byteSize = fstatSync(fd).size;
    const sample = createHash('sha256');
    const block = new Uint8Array(SAMPLE_BYTES);
    const lastStart = Math.max(0, byteSize - SAMPLE_BYTES);
    for (let i = 0; i < SAMPLE_COUNT; i++) {
      const start = Math.floor((lastStart * i) / (SAMPLE_COUNT - 1));
      const count = readSync(fd, block, 0, SAMPLE_BYTES, start);
      sample.update(block.subarray(0, count));
    }
    return { byteSize, sample: sample.digest('hex') };
  } finally {
    closeSync(fd);
  }
}
