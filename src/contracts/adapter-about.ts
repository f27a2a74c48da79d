// The owner's text about an adapter: a description, tags and example prompts. It belongs to the name, and may change while
// versions never do. An adapter in a local folder has it in a file there.
import { z } from 'zod';
import { loadJsonFile } from '../common/schema-errors.ts';

/** Lists show it for every adapter, so it is as long as a paragraph. */
const MAX_DESCRIPTION = 500;
const MAX_TAGS = 10;
/** Pages show them as buttons. */
const MAX_EXAMPLES = 5;
const MAX_EXAMPLE = 500;
// These expressions are checked with `refine`, because the API's document should have none that only JavaScript reads.

/** A tag is a word or a few. */
const TAG_RULE = 'up to 32 letters, digits, spaces, dots, _ or -';
const TAG = /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,31}$/u;

/** Whether a text has no control characters: forms have one line for each text, and terminals and logs print them. */
export const isOneLine = (text: string) => !/\p{Cc}/u.test(text);

const isUnique = (values: readonly string[]) => new Set(values).size === values.length;

/** The parts that its owner writes. */
export const aboutFields = {
  kind: z
    .enum(['chat', 'embedding'])
    .describe('What it is for, unless it is a classifier, which its files tell'),
  description: z
    .string()
    .max(MAX_DESCRIPTION)
    .refine(isOneLine, 'must be one line')
    .describe('What the adapter does, in a sentence or two'),
  tags: z
    .array(z.string().refine((tag) => TAG.test(tag), `must be ${TAG_RULE}`))
    .max(MAX_TAGS)
    .refine(isUnique, 'contains a tag twice')
    .describe(`Words to find it by, each ${TAG_RULE}`),
  examples: z
    .array(z.string().min(1).max(MAX_EXAMPLE).refine(isOneLine, 'must be one line'))
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

const folderSchema = z.strictObject({
  kind: aboutFields.kind.default('chat'),
  description: aboutFields.description.default(''),
  tags: aboutFields.tags.default([]),
  examples: aboutFields.examples.default([]),
});
/** Five examples and a description take 12 kB if each character has four bytes. */
const FOLDER_FILE = { name: 'about.json', maxBytes: 64 * 1024 };

/** Reads the text in an adapter's folder. Undefined if it has none. Throws a `FileError` that names the invalid field. */
export async function readAbout(directory: string): Promise<AdapterAbout | undefined> {
  const about = await loadJsonFile(folderSchema, directory, FOLDER_FILE);
  return about && { ...about, revision: 0 };
}
