// Reads sampling defaults from a generation_config.json of transformers. It takes only fields that requests may also set.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { loadIfPresent } from '../common/regular-file.ts';
import { parseFileValue } from '../common/schema-errors.ts';
import { MODEL_DEFAULT_SCHEMAS } from './sampling-fields.ts';

export const GENERATION_CONFIG_FILE = 'generation_config.json';
/** Typical files take a few hundred bytes. */
const MAX_BYTES = 64 * 1024;

const maxTokens = z.int().min(1);

/** The schema of sampling defaults, with the names of request fields. */
export const generationConfigSchema = z
  .object({ ...MODEL_DEFAULT_SCHEMAS, max_tokens: maxTokens })
  .partial();
/** Sampling defaults. Contains only the fields that are set. */
export type GenerationConfig = Readonly<z.infer<typeof generationConfigSchema>>;

/** The file's fields that are used here. null means that a field is not set. */
const fileSchema = z.object({ ...MODEL_DEFAULT_SCHEMAS, max_new_tokens: maxTokens }).partial();

/**
 * Reads the sampling defaults in a folder. Undefined if it has no generation_config.json. Throws a `FileError` that names the
 * invalid field.
 */
export async function readGenerationConfig(
  directory: string,
): Promise<GenerationConfig | undefined> {
  const file = path.join(directory, GENERATION_CONFIG_FILE);
  const bytes = await loadIfPresent(file, MAX_BYTES);
  return bytes && parseGenerationConfig(bytes.toString());
}

function parseGenerationConfig(text: string): GenerationConfig {
  const json = parseWithoutNulls(text);
  const { max_new_tokens, ...sampling } = parseFileValue(fileSchema, json, GENERATION_CONFIG_FILE);
  return { ...sampling, ...(max_new_tokens !== undefined && { max_tokens: max_new_tokens }) };
}

function parseWithoutNulls(text: string): unknown {
  try {
    return JSON.parse(text, (_, value) => value ?? undefined);
  } catch {
    throw new FileError(GENERATION_CONFIG_FILE, 'is not valid JSON');
  }
}
