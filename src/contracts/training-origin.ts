// The origin of a trained adapter: the program and the data that made it. The trainer writes it into the adapter's folder, and
// publishing copies it to the manifest.
import { z } from 'zod';
import { SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { loadJsonFile } from '../common/schema-errors.ts';

/** The file in the adapter's folder. */
export const TRAINING_ORIGIN_FILE = 'training_origin.json';

const digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex');
const fileSchema = z.object({ sha256: digest, byteSize: z.int().positive() });

/** The schema of an origin. snake_case, because it is part of a manifest. */
export const trainingOriginSchema = z.object({
  /** The name and version of the program. */
  program: z.string().min(1).max(128),
  /** The training file in the form in which it was read. */
  data: fileSchema,
  /** The validation file. Absent: there was none, or the validation rows were taken from `data`. */
  validation: fileSchema.exactOptional(),
  /** The digest of the adapter that the run started from. */
  init_adapter: digest.exactOptional(),
});

/** The origin of a trained adapter. */
export type TrainingOrigin = Readonly<z.infer<typeof trainingOriginSchema>>;
/** The SHA-256 in hex and the size of a file. */
export type FileDigest = TrainingOrigin['data'];

/** Reads the origin in an adapter's folder. Undefined if it has none. Throws a `FileError` that names the invalid field. */
export function readTrainingOrigin(directory: string): Promise<TrainingOrigin | undefined> {
  const file = { name: TRAINING_ORIGIN_FILE, maxBytes: SMALL_FILE_BYTES };
  return loadJsonFile(trainingOriginSchema, directory, file);
}
