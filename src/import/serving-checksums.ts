// The checksums of a serving folder: recorded when it is built, compared before it is served. A sample is cheap enough
// for every start; the whole is read at a pace that leaves running streams alone.
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, readSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { type HashPace, hashFile } from '../common/hash-file.ts';
import { openRegular, readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { LAYOUT_FILE, WEIGHTS_FILE } from '../model/serving-weights.ts';

/** Written last: a folder without it is unfinished, or was built by a version that recorded no checksums. */
export const CHECKSUMS_FILE = 'checksums.json';

/** One MiB in all, evenly spaced: a few milliseconds. */
const SAMPLE_COUNT = 128;
const SAMPLE_BYTES = 8 * 1024;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const checksumsSchema = z.object({
  /** Of layout.json. */
  layout: sha256,
  weights: z.object({
    byteSize: z.number().int().nonnegative(),
    sha256,
    /** Of blocks all over the file. */
    sample: sha256,
  }),
});

type Checksums = z.infer<typeof checksumsSchema>;

/** A file of a serving folder that is not as it was built, and how that shows. */
export interface ServingFault {
  readonly file: string;
  readonly reason: string;
}

/**
 * Reads the folder back and records its checksums.
 * @param written SHA-256 of what was written to the weights file
 * @throws Error if the file that is read back differs
 */
export async function recordChecksums(dir: string, written: string): Promise<void> {
  const file = path.join(dir, WEIGHTS_FILE);
  const { sha256, byteSize } = await hashFile(file);
  if (sha256 !== written) throw new Error(`${file}: what was read back is not what was written`);
  const weights = { byteSize, sha256, sample: hashSample(file).sample };
  const checksums: Checksums = { layout: hashLayout(dir), weights };
  await writeFile(path.join(dir, CHECKSUMS_FILE), JSON.stringify(checksums));
}

/** Checks the layout, the size of the weights and a sample of them: a few milliseconds. Never throws. */
export function findQuickFault(dir: string): ServingFault | undefined {
  return explain(CHECKSUMS_FILE, () => {
    const { layout, weights } = readChecksums(dir);
    return (
      explain(LAYOUT_FILE, () =>
        hashLayout(dir) === layout ? undefined : fault(LAYOUT_FILE, 'its SHA-256 differs'),
      ) ??
      explain(WEIGHTS_FILE, () => {
        const { byteSize, sample } = hashSample(path.join(dir, WEIGHTS_FILE));
        if (byteSize !== weights.byteSize) {
          const reason = `it has ${byteSize} bytes instead of ${weights.byteSize}`;
          return fault(WEIGHTS_FILE, reason);
        }
        return sample === weights.sample
          ? undefined
          : fault(WEIGHTS_FILE, 'the SHA-256 of a sample differs');
      })
    );
  });
}

/** Checks all of the folder. Rejects only once `signal` is aborted. */
export async function findFault(
  dir: string,
  pace: HashPace = {},
): Promise<ServingFault | undefined> {
  const quick = findQuickFault(dir);
  if (quick) return quick;
  const { weights } = readChecksums(dir);
  try {
    const { sha256 } = await hashFile(path.join(dir, WEIGHTS_FILE), pace);
    return sha256 === weights.sha256 ? undefined : fault(WEIGHTS_FILE, 'its SHA-256 differs');
  } catch (error) {
    pace.signal?.throwIfAborted();
    return fault(WEIGHTS_FILE, (error as Error).message);
  }
}

/** Marks a folder as unfinished: the next start that needs it builds it again. */
export async function discardChecksums(dir: string): Promise<void> {
  await rm(path.join(dir, CHECKSUMS_FILE), { force: true });
}

/** The size of the weights as recorded. Throws if the folder's checksums cannot be read. */
export function recordedByteSize(dir: string): number {
  return readChecksums(dir).weights.byteSize;
}

function readChecksums(dir: string): Checksums {
  const text = readRegular(path.join(dir, CHECKSUMS_FILE), SMALL_FILE_BYTES).toString();
  return checksumsSchema.parse(JSON.parse(text));
}

function hashLayout(dir: string): string {
  const bytes = readRegular(path.join(dir, LAYOUT_FILE), SMALL_FILE_BYTES);
  return createHash('sha256').update(bytes).digest('hex');
}

/** The first block, the last, and others between them at equal distances; a small file whole. */
function hashSample(file: string): { byteSize: number; sample: string } {
  const fd = openRegular(file);
  try {
    const byteSize = fstatSync(fd).size;
    const hash = createHash('sha256');
    const block = new Uint8Array(SAMPLE_BYTES);
    const lastStart = Math.max(0, byteSize - SAMPLE_BYTES);
    for (let i = 0; i < SAMPLE_COUNT; i++) {
      const start = Math.floor((lastStart * i) / (SAMPLE_COUNT - 1));
      const count = readSync(fd, block, 0, SAMPLE_BYTES, start);
      hash.update(block.subarray(0, count));
    }
    return { byteSize, sample: hash.digest('hex') };
  } finally {
    closeSync(fd);
  }
}

function explain(file: string, check: () => ServingFault | undefined): ServingFault | undefined {
  try {
    return check();
  } catch (error) {
    const isSystem = error instanceof Error && 'code' in error;
    return fault(file, isSystem ? error.message : 'it cannot be understood');
  }
}

function fault(file: string, reason: string): ServingFault {
  return { file, reason };
}
