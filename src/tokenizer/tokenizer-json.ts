// Parses tokenizer.json: the schema of its fields.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';

const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean(),
  /** Whether the token includes the white space before it (`lstrip`) or after it (`rstrip`). */
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
});
/** A token outside the model's vocabulary, or one that is matched before the model's tokens. */
export type AddedToken = Readonly<
  Pick<z.infer<typeof addedTokenSchema>, 'id' | 'content' | 'special' | 'lstrip' | 'rstrip'>
>;

const tokenizerSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: z.unknown().default(null),
  pre_tokenizer: z.unknown().default(null),
  post_processor: z.unknown().default(null),
  decoder: z.unknown().default(null),
  model: z.looseObject({
    type: z.literal('BPE', 'only BPE is supported').default('BPE'),
    vocab: z.custom<Record<string, number>>(isVocab, 'is not a map from tokens to ids'),
    merges: z.custom<(string | [string, string])[]>(areMerges, 'is not a list of pairs'),
    unk_token: z.string().nullish(),
    byte_fallback: z.boolean().nullish(),
  }),
});
/** The contents of a tokenizer.json. */
export type TokenizerJson = z.infer<typeof tokenizerSchema>;

/** Four times the largest vocabulary in use. */
const MAX_VOCAB = 1_048_576;

/** Parses the JSON of a tokenizer.json. Throws `FileError` with the path of the first invalid field. */
export function parseTokenizerJson(value: unknown): TokenizerJson {
  return parseFileValue(tokenizerSchema, value, 'tokenizer.json');
}

/** Returns the tokens by id. An id without a token has an empty string. */
export function tokensById({ model, added_tokens }: TokenizerJson): string[] {
  const tokens: string[] = [];
  const add = (token: string, id: number) => {
    if (id >= MAX_VOCAB)
      throw new FileError(
        'tokenizer.json: vocab',
        `the id ${id} is larger than the limit of ${MAX_VOCAB - 1}`,
      );
    while (tokens.length <= id) tokens.push('');
    tokens[id] = token;
  };
  for (const token of Object.keys(model.vocab)) add(token, model.vocab[token]!);
  for (const { content, id } of added_tokens) add(content, id);
  return tokens;
}

// Not a schema, because that would take 100 ms for 100,000 entries. Reading values by key is twice as fast as listing them.
function isVocab(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const vocab = value as Record<string, unknown>;
  return Object.keys(vocab).every(
    (token) => Number.isInteger(vocab[token]) && Number(vocab[token]) >= 0,
  );
}

function areMerges(value: unknown): boolean {
  const isPair = (merge: unknown) =>
    typeof merge === 'string'
      ? merge.includes(' ')
      : Array.isArray(merge) &&
        merge.length === 2 &&
        merge.every((part) => typeof part === 'string');
  return Array.isArray(value) && value.every(isPair);
}
