// The tokens that an adapter adds to the vocabulary of its base, as its files, manifests and requests name them.
import { z } from 'zod';

/** How many tokens a vocabulary may add to the base's. A new language may need thousands. */
export const MAX_NEW_ROWS = 65_536;
/** How many control tokens an adapter may add, because a text is searched for each of them. Usually there are only a few. */
export const MAX_ADDED_TOKENS = 1024;
/** Longer than any token in use. */
const MAX_CONTENT_LENGTH = 256;

const addedTokenSchema = z.object({
  id: z.int().nonnegative(),
  content: z.string().min(1).max(MAX_CONTENT_LENGTH),
  /** Whether it is a control token: a user's text never becomes one, and a completion's text never contains one. */
  special: z.boolean(),
  /** Whether the token includes the white space before it (`lstrip`) or after it (`rstrip`). */
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
});

export const addedTokensSchema = z.object({
  tokens: z.array(addedTokenSchema).max(MAX_ADDED_TOKENS),
  /** The token that ends a generation. */
  eos_token: z.string().max(MAX_CONTENT_LENGTH).optional(),
  /** The token that pads batches in training. The model never sees it, so it may have no rows. */
  pad_token: z.string().max(MAX_CONTENT_LENGTH).optional(),
});

/** An adapter's own tokens. */
export type AddedTokens = Readonly<z.infer<typeof addedTokensSchema>>;
