// The fields that an adapter supplies if a request leaves them out: a response format, and tools. They are kept in a separate
// file in the adapter's folder. The HTTP side checks the values.
import { z } from 'zod';
import { loadJsonFile } from '../common/schema-errors.ts';

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
export function readRequestDefaults(directory: string): Promise<RequestDefaults | undefined> {
  const file = { name: REQUEST_DEFAULTS_FILE, maxBytes: MAX_REQUEST_DEFAULTS_BYTES };
  return loadJsonFile(requestDefaultsSchema, directory, file);
}
