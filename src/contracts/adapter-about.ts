// The owner's text about an adapter: a description, tags and example prompts. It belongs to the name, and may change while
// versions never do.
import { z } from 'zod';

/** Lists show it for every adapter, so it is as long as a paragraph. */
const MAX_DESCRIPTION = 500;
const MAX_TAGS = 10;
/** Pages show them as buttons. */
const MAX_EXAMPLES = 5;
const MAX_EXAMPLE = 500;
/** A tag is a word or a few. */
const TAG = /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,31}$/u;

/** Forms have one line for each, and terminals print them. */
const ONE_LINE = /^\P{Cc}*$/u;

const isUnique = (values: readonly string[]) => new Set(values).size === values.length;

/** The parts that its owner writes. */
export const aboutFields = {
  kind: z
    .enum(['chat', 'embedding'])
    .describe('What it is for, unless it is a classifier, which its files tell'),
  description: z
    .string()
    .max(MAX_DESCRIPTION)
    .regex(ONE_LINE, 'must be one line')
    .describe('What the adapter does, in a sentence or two'),
  tags: z
    .array(z.string().regex(TAG, 'must be up to 32 letters, digits, spaces, dots, _ or -'))
    .max(MAX_TAGS)
    .refine(isUnique, 'contains a tag twice')
    .describe('Words to find it by'),
  examples: z
    .array(z.string().min(1).max(MAX_EXAMPLE).regex(ONE_LINE, 'must be one line'))
    .max(MAX_EXAMPLES)
    .refine(isUnique, 'contains a prompt twice')
    .describe('Prompts that show what it does'),
};

/** The text about an adapter. */
export const adapterAboutSchema = z.object({
  ...aboutFields,
  revision: z.int().nonnegative().describe('Grows by one with every change'),
});
/** The text about an adapter. */
export type AdapterAbout = Readonly<z.infer<typeof adapterAboutSchema>>;

/** Nobody has written anything yet. */
export const NO_ABOUT: AdapterAbout = {
  kind: 'chat',
  description: '',
  tags: [],
  examples: [],
  revision: 0,
};
