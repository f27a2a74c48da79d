// The files of a session's journal: their content, and how it is written. A file is a line of JSON, followed by the entry's bytes
// if it has some. Release 0.3.0 wrote values of node:v8, which are still read.
import { deserialize } from 'node:v8';
import { z } from 'zod';
import { FileError, type PlainError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';
import { adamStepSchema, newAdapterSchema } from '../contracts/training-service.ts';
import type { FutureValue } from './futures.ts';

const metadataSchema = z.record(z.string(), z.unknown()).nullable();
/** Metadata from a client. */
export type Metadata = z.infer<typeof metadataSchema>;

export const factsSchema = z.object({
  id: z.string(),
  tenant: z.string(),
  /** The base's digest. */
  base: z.string(),
  metadata: metadataSchema,
});
/** The facts of a session that never change. */
export type SessionFacts = z.infer<typeof factsSchema>;

export const samplingSessionSchema = z.object({
  /** The name of the model that answers. */
  model: z.string(),
  /** The base, by the name that the client used. */
  baseModel: z.string(),
  /** The checkpoint's path, if it has one. */
  modelPath: z.string().optional(),
  clones: z.int().nonnegative(),
});
/** A client's source of samples. */
export type SamplingSessionFacts = z.infer<typeof samplingSessionSchema>;

const errorSchema: z.ZodType<PlainError> = z.object({
  code: z.custom<PlainError['code']>((code) => typeof code === 'string'),
  message: z.string(),
  param: z.string().nullable(),
  retryAfterS: z.number().exactOptional(),
});

const bytesSchema = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

/** The requests to models. */
export const requestSchema = z.discriminatedUnion('kind', [
  /** Creates a model. `baseModel` is the name that the client uses. */
  z.object({
    kind: z.literal('create'),
    baseModel: z.string(),
    adapter: newAdapterSchema,
    metadata: metadataSchema,
  }),
  /** Creates a model from a checkpoint, or replaces a model by one. The metadata is a new model's. */
  z.object({
    kind: z.literal('load'),
    path: z.string(),
    withOptimizer: z.boolean(),
    metadata: metadataSchema,
  }),
  /** The bytes are a `ForwardBackwardRequest`. */
  z.object({ kind: z.literal('pass'), bytes: bytesSchema }),
  z.object({ kind: z.literal('step'), adam: adamStepSchema }),
  /** Saves a checkpoint. */
  z.object({
    kind: z.literal('save'),
    folder: z.enum(['weights', 'sampler_weights']),
    name: z.string(),
    ttlS: z.int().nullable(),
    overwrite: z.boolean(),
    metadata: metadataSchema,
  }),
  /** Makes a sampling session of this number within the session. */
  z.object({ kind: z.literal('sampler'), sampler: z.int().nonnegative() }),
  /** Fails. Its client was refused, and does not use the number again. */
  z.object({ kind: z.literal('refused'), error: errorSchema }),
]);
/** A request to a model. */
export type JournaledRequest = z.infer<typeof requestSchema>;
/** The requests to models, by kind. */
export type JournaledRequests = {
  [K in JournaledRequest['kind']]: Omit<Extract<JournaledRequest, { kind: K }>, 'kind'>;
};

export const resultSchema = z.union([
  z.object({ error: errorSchema }),
  z.object({ value: z.union([bytesSchema, z.looseObject({})]) }),
]);
/** A request's result. */
export type JournaledResult = { readonly value: FutureValue } | { readonly error: PlainError };

/** Files of version 1 were values of node:v8, which begin with this byte. */
const V8 = 0xff;
const VERSION = 2;
const lineSchema = z.object({
  version: z.literal(VERSION),
  /** The property with the bytes after the line, and their number. */
  bytes: z.object({ name: z.enum(['bytes', 'value']), length: z.int() }).optional(),
  entry: z.looseObject({}),
});
type Line = z.infer<typeof lineSchema>;

/** Returns the content of a file. */
export function encodeEntry(all: object): Buffer {
  const found = Object.entries(all).find(([, value]) => value instanceof Uint8Array);
  const [name, bytes] = (found ?? []) as [NonNullable<Line['bytes']>['name']?, Uint8Array?];
  const entry = { ...all, ...(name && { [name]: undefined }) };
  const line = {
    version: VERSION,
    ...(name && bytes && { bytes: { name, length: bytes.length } }),
    entry,
  } satisfies Line;
  return Buffer.concat([Buffer.from(`${JSON.stringify(line)}\n`), bytes ?? Buffer.alloc(0)]);
}

/** Reads the content of a file. Throws a `FileError` if it is damaged or of another version. */
export function decodeEntry<T>(file: Buffer, schema: z.ZodType<T>, name: string): T {
  const end = file.indexOf('\n');
  let content: unknown;
  try {
    content = file[0] === V8 ? deserialize(file) : JSON.parse(file.toString('utf8', 0, end));
  } catch (cause) {
    throw new FileError(name, 'is damaged', { cause });
  }
  if (file[0] === V8) return parseFileValue(schema, content, name);
  const { bytes, entry } = parseFileValue(lineSchema, content, name);
  const rest = file.subarray(end + 1);
  if (rest.length !== (bytes?.length ?? 0)) throw new FileError(name, 'is not complete');
  const all = bytes ? { ...entry, [bytes.name]: new Uint8Array(rest) } : entry;
  return parseFileValue(schema, all, name);
}
