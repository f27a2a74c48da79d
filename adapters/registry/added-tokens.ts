// Reads the added tokens in an adapter's folder, from the files that transformers saves with a tokenizer. They are not part of
// the adapter's digest: they change how text becomes token ids, not what the model computes.
import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { FileError } from '../../src/common/errors.ts';
import { jsonMember, parseShallowText } from '../../src/common/json-scan.ts';
import { loadIfPresent } from '../../src/common/regular-file.ts';
import { parseFileValue } from '../../src/common/schema-errors.ts';
import type { AddedTokens } from '../../src/contracts/added-tokens.ts';
import { toInvalidAdapter } from '../peft/refusal.ts';

const TOKENIZER = 'tokenizer.json';
const CONFIG = 'tokenizer_config.json';
const TOKENS = 'added_tokens.json';

/** The tokens come before the vocabulary in a tokenizer.json. Gemma 3 has 6,415 of them, in 1.2 MB. */
const MAX_TOKENIZER_START = 8 * 2 ** 20;
/**
 * A chat template in a tokenizer_config.json takes up to 20 KB. Older versions of transformers list the added tokens there as
 * well.
 */
const MAX_CONFIG_BYTES = 4 * 2 ** 20;
/** Includes the tokens of the base. */
const MAX_TOKENS = 65_536;
/** Folders whose tokens are remembered. Beyond that, some are read again. */
const MAX_FOLDERS = 1000;

const fields = {
  content: z.string().min(1),
  special: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  single_word: z.literal(false, 'true is not supported').default(false),
};
const id = z.int().nonnegative();
const withoutWords = <T extends { single_word: false }>({ single_word: _, ...token }: T) => token;
const listSchema = z.object({
  added_tokens: z.array(z.object({ id, ...fields }).transform(withoutWords)).max(MAX_TOKENS),
});
const numbered = z.record(z.string().regex(/^\d{1,7}$/), z.object(fields).transform(withoutWords));
const plainSchema = z.record(z.string().min(1), id);
const nameSchema = z.union([
  z.string().min(1),
  z.object({ content: z.string().min(1) }).transform(({ content }) => content),
]);
const configSchema = z.object({
  added_tokens_decoder: numbered.optional(),
  eos_token: nameSchema.nullish(),
  pad_token: nameSchema.nullish(),
});

interface KnownFolder {
  readonly signature: string;
  readonly tokens: Promise<AddedTokens | undefined>;
}

/** The tokens of folders. A folder is read again if one of its files has changed. */
export class FolderTokens {
  readonly #known = new LRUCache<string, KnownFolder>(entryLimit(MAX_FOLDERS));
  readonly #reduce: (added: AddedTokens) => AddedTokens;

  /** @param reduce leaves out the tokens of the base; every folder may list thousands of them */
  constructor(reduce: (added: AddedTokens) => AddedTokens) {
    this.#reduce = reduce;
  }

  /**
   * Returns the added tokens of a folder; undefined if it has no tokenizer. The object stays the same until a file changes.
   * Throws `ServeError` (422) that names the file and the field.
   */
  async of(directory: string): Promise<AddedTokens | undefined> {
    const signature = await signatureOf(directory);
    if (signature === '') return undefined;
    const folder = this.#known.get(directory);
    if (folder?.signature === signature) return folder.tokens;
    const tokens = readAddedTokens(directory).then((added) => added && this.#reduce(added));
    this.#known.set(directory, { signature, tokens });
    tokens.catch(() => this.#known.delete(directory)); // it may be readable later
    return tokens;
  }
}

async function signatureOf(directory: string): Promise<string> {
  const files = await Promise.all(
    [TOKENIZER, CONFIG, TOKENS].map((name) =>
      stat(path.join(directory, name), { bigint: true }).catch(() => undefined),
    ),
  );
  const found = files.flatMap((file) => (file ? [file.ino, file.size, file.mtimeNs] : []));
  return found.join(':');
}

/** Reads the tokens of a folder. Throws as `FolderTokens.of`. */
export async function readAddedTokens(directory: string): Promise<AddedTokens | undefined> {
  try {
    const config = await readJson(directory, CONFIG, configSchema);
    const tokens =
      (await readTokenizerStart(directory)) ??
      numberedTokens(config?.added_tokens_decoder) ??
      plainTokens(await readJson(directory, TOKENS, plainSchema));
    if (!tokens) return undefined;
    const { eos_token: eos, pad_token: pad } = config ?? {};
    return {
      tokens,
      ...(eos != null && { eos_token: eos }),
      ...(pad != null && { pad_token: pad }),
    };
  } catch (error) {
    throw toInvalidAdapter(error);
  }
}

type Tokens = AddedTokens['tokens'];

/** Reads `added_tokens` of a tokenizer.json without its vocabulary. */
async function readTokenizerStart(directory: string): Promise<Tokens | undefined> {
  const file = await open(path.join(directory, TOKENIZER)).catch(() => undefined);
  if (!file) return undefined;
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new FileError(TOKENIZER, 'is not a regular file');
    for (let length = 2 ** 17; ; length = Math.min(8 * length, MAX_TOKENIZER_START)) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, 0);
      const member = jsonMember(buffer.toString('utf8', 0, bytesRead), 'added_tokens');
      if (member === undefined) return undefined;
      if (member !== 'incomplete') {
        const found = { added_tokens: parse(member.text, TOKENIZER) };
        return parseFileValue(listSchema, found, TOKENIZER).added_tokens;
      }
      if (bytesRead < length || length === MAX_TOKENIZER_START)
        throw new FileError(
          TOKENIZER,
          `has no complete added_tokens in its first ${bytesRead} bytes`,
        );
    }
  } finally {
    await file.close();
  }
}

function numberedTokens(tokens: z.infer<typeof numbered> | undefined): Tokens | undefined {
  return tokens && Object.entries(tokens).map(([key, token]) => ({ ...token, id: Number(key) }));
}

/** A token in this file is plain text unless another file says otherwise. */
function plainTokens(tokens: z.infer<typeof plainSchema> | undefined): Tokens | undefined {
  return (
    tokens &&
    Object.entries(tokens).map(([text, number]) => {
      return { id: number, content: text, special: false, lstrip: false, rstrip: false };
    })
  );
}

async function readJson<T>(
  directory: string,
  name: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  const bytes = await loadIfPresent(path.join(directory, name), MAX_CONFIG_BYTES);
  return bytes && parseFileValue(schema, parse(bytes.toString('utf8'), name), name);
}

function parse(text: string, name: string): unknown {
  try {
    return parseShallowText(text);
  } catch (cause) {
    throw new FileError(name, 'is not valid JSON', { cause });
  }
}
