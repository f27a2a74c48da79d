// The fields that an adapter supplies if a request leaves them out: a response format, and tools. They are kept in a separate
// file in the adapter's folder. The HTTP side checks the values.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseShallowJson } from '../common/json-scan.ts';
import { loadIfPresent } from '../common/regular-file.ts';
import { parseFileValue } from '../common/schema-errors.ts';

const REQUEST_DEFAULTS_FILE = 'request_defaults.json';
/** A schema of 100 properties takes 10 KB. The manifest of a version, which repeats the file, may take 1 MiB. */
export const MAX_REQUEST_DEFAULTS_BYTES = 256 * 1024;

/** The schema of an adapter's defaults, with the names of request fields. */
export const requestDefaultsSchema = z
  .strictObject({
    response_format: z.record(z.string(), z.unknown()),
    tools: z.array(z.unknown()),
  })
  .partial();

/** Fields for requests that leave them out. Contains only the fields that are set. */
export type RequestDefaults = Readonly<z.infer<typeof requestDefaultsSchema>>;

/** Reads the defaults in an adapter's folder. Undefined if it has none. Throws a `FileError` that names the invalid field. */
export async function readRequestDefaults(directory: string): Promise<RequestDefaults | undefined> {
  const bytes = await loadIfPresent(
    path.join(directory, REQUEST_DEFAULTS_FILE),
    MAX_REQUEST_DEFAULTS_BYTES,
  );
  if (!bytes) return undefined;
  return parseFileValue(requestDefaultsSchema, parse(bytes), REQUEST_DEFAULTS_FILE);
}

function parse(bytes: Uint8Array): unknown {
  try {
    return parseShallowJson(bytes);
  } catch (cause) {
    throw new FileError(REQUEST_DEFAULTS_FILE, 'is not valid JSON', { cause });
  }
}
