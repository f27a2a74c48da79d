// The record of a training run in the store. Records of version 0.3.0 are converted when they are read.
import { z } from 'zod';
import { type DocumentKind, serializeDocument } from '../../adapters/store/documents.ts';
import { ServeError } from '../common/errors.ts';
import type { CheckpointPath } from '../contracts/tinker-path.ts';
import { lossCurveSchema, NO_STEPS } from './loss-curve.ts';

/** Metadata that a client gives to a run or a checkpoint. */
const metadataSchema = z.record(z.string().max(256), z.unknown());
const unixMs = z.int();

const checkpointSchema = z.object({
  folder: z.enum(['weights', 'sampler_weights']),
  name: z.string(),
  version: z.int().positive(),
  bytes: z.int(),
  createdMs: unixMs,
  /** Null: never. */
  expiresMs: unixMs.nullable(),
  metadata: metadataSchema.nullable(),
  /** The number of the request that saved it. */
  request: z.int().optional(),
});
/** A checkpoint, as its run's record lists it. */
export type RunCheckpoint = z.infer<typeof checkpointSchema>;
/** A checkpoint that is being saved. */
export type NewCheckpoint = Omit<RunCheckpoint, 'version' | 'bytes' | 'createdMs'>;

const runSchema = z.object({
  schema: z.literal(2),
  id: z.string(),
  tenant: z.string(),
  /** The name of the base that the client used. */
  baseModel: z.string(),
  baseDigest: z.string(),
  rank: z.int().positive(),
  /** The time of the last request that is recorded. */
  changedMs: unixMs,
  /** Up to then. */
  curve: lossCurveSchema.default(NO_STEPS),
  metadata: metadataSchema.nullable(),
  checkpoints: z.array(checkpointSchema),
});
/** A training run. */
export type RunRecord = z.infer<typeof runSchema>;

/** Enough for 1,000 checkpoints, which is also the limit of an adapter's aliases. */
const MAX_RECORD_BYTES = 1024 * 1024;
/** The curve, and the numbers of a checkpoint that is being saved. */
const RESERVED_BYTES = 32 * 1024;

/** The format of records in the store. */
export const RUN_KIND: DocumentKind<RunRecord> = {
  schema: z.preprocess(fromOlder, runSchema),
  maxBytes: MAX_RECORD_BYTES,
};

/** Its names are snake_case, and its times Unix seconds. */
const olderSchema = z.looseObject({
  schema: z.literal(1),
  base_model: z.unknown(),
  base_digest: z.unknown(),
  changed: z.int(),
  checkpoints: z.array(z.looseObject({ created: z.int(), expires: z.int().nullable() })),
});

function fromOlder(json: unknown): unknown {
  const { success, data } = olderSchema.safeParse(json);
  if (!success) return json;
  const { base_model: baseModel, base_digest: baseDigest, changed, ...rest } = data;
  const checkpoints = rest.checkpoints.map(({ created, expires, ...one }) => ({
    ...one,
    createdMs: created * 1000,
    expiresMs: expires && expires * 1000,
  }));
  return { ...rest, schema: 2, baseModel, baseDigest, changedMs: changed * 1000, checkpoints };
}

/** Throws `ServeError` (413) if a run's record has no space for a checkpoint. */
export function requireSpace(run: RunRecord, checkpoint: NewCheckpoint): void {
  const rest = run.checkpoints.filter((one) => !isAt(one, checkpoint));
  const next = { ...run, curve: NO_STEPS, checkpoints: [...rest, checkpoint] };
  if (serializeDocument(next).length <= MAX_RECORD_BYTES - RESERVED_BYTES) return;
  const param = 'user_metadata';
  const message = `${param}: the metadata of all checkpoints of a run may take 1 MB. Send less, or remove checkpoints.`;
  throw new ServeError('payload_too_large', message, { param });
}

/** Whether a checkpoint has the place of another one. */
export function isAt(
  one: Pick<CheckpointPath, 'folder' | 'name'>,
  { folder, name }: Pick<CheckpointPath, 'folder' | 'name'>,
): boolean {
  return one.folder === folder && one.name === name;
}

/** Returns when a checkpoint expires. @param ttlS seconds from now; null: never */
export function expiryOf(ttlS: number | null, nowMs: number): number | null {
  return ttlS === null ? null : nowMs + ttlS * 1000;
}
