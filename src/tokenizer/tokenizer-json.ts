// The contents of tokenizer.json that we read, checked. Knows what the fields are, not what they do.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';

const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean(),
  /** The token takes the white space before, after it. */
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
});
export type AddedToken = z.infer<typeof addedTokenSchema>;

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
export type TokenizerJson = z.infer<typeof tokenizerSchema>;

/** Four times the largest vocabulary in use. */
const MAX_VOCAB = 1_048_576;

/** Throws `FileError` with the path of the first field at fault. */
export function parseTokenizerJson(value: unknown): TokenizerJson {
  const parsed = tokenizerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FileError(`tokenizer.json: ${issue.path.join('.')}`, issue.message);
}

/** Tokens by id; an id without a token is an empty string. */
export function tokensById({ model, added_tokens }: TokenizerJson): string[] {
  const tokens: string[] = [];
  const place = (token: string, id: number) => {
    if (id >= MAX_VOCAB) throw new FileError('tokenizer.json: vocab', `id ${id} is too large`);
    while (tokens.length <= id) tokens.push('');
    tokens[id] = token;
  };
  for (const [token, id] of Object.entries(model.vocab)) place(token, id);
  for (const { content, id } of added_tokens) place(content, id);
  return tokens;
}

// Checked by hand: a schema takes 100 ms for 100,000 entries.
function isVocab(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((id) => Number.isInteger(id) && id >= 0);
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
