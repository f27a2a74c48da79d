// Sampling defaults, as transformers' generation_config.json states them: the fields that requests may set, too.
// Reads the file; knows no model and no request.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { loadRegular } from '../common/regular-file.ts';

export const GENERATION_CONFIG_FILE = 'generation_config.json';
/** Real ones have a few hundred bytes. */
const MAX_BYTES = 64 * 1024;

/** The bounds of the request's fields of the same names. */
const fields = {
  temperature: z.number().min(0).max(2),
  top_p: z.number().gt(0).max(1),
  top_k: z.int().min(-1),
  min_p: z.number().min(0).max(1),
  repetition_penalty: z.number().gt(0),
};
const maxTokens = z.int().min(1);

/** In snake_case, as in the file and in requests. Only the fields that are set. */
export const generationConfigSchema = z.object({ ...fields, max_tokens: maxTokens }).partial();
export type GenerationConfig = Readonly<z.infer<typeof generationConfigSchema>>;

/** The file has many more fields, and null for a field that is not set. */
const fileSchema = z.object({ ...fields, max_new_tokens: maxTokens }).partial();

/**
 * The sampling fields of a folder's generation_config.json; undefined if it has no such file.
 * @throws FileError that names the field
 */
export async function readGenerationConfig(
  directory: string,
): Promise<GenerationConfig | undefined> {
  const file = path.join(directory, GENERATION_CONFIG_FILE);
  const bytes = await loadRegular(file, MAX_BYTES).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return bytes && parseGenerationConfig(bytes.toString());
}

/** @throws FileError that names the field */
function parseGenerationConfig(text: string): GenerationConfig {
  const result = fileSchema.safeParse(withoutNulls(text));
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const field = [GENERATION_CONFIG_FILE, ...issue.path].join(': ');
    throw new FileError(field, issue.message);
  }
  const { max_new_tokens, ...sampling } = result.data;
  return { ...sampling, ...(max_new_tokens !== undefined && { max_tokens: max_new_tokens }) };
}

function withoutNulls(text: string): unknown {
  try {
    return JSON.parse(text, (_, value) => value ?? undefined);
  } catch {
    throw new FileError(GENERATION_CONFIG_FILE, 'is no JSON');
  }
}
