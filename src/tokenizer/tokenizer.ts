// Text ↔ token ids, from a model folder's tokenizer files. A decoded text is the concatenation of the bytes of
// its tokens, so that a stream decodes to the same text. Knows no messages and no model.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { readRegular } from '../common/regular-file.ts';
import { createEncoder, type Encoder } from './encoder.ts';
import { readTokenByteRules } from './token-bytes.ts';
import { parseTokenizerJson, tokensById } from './tokenizer-json.ts';

/** The largest tokenizer.json has 35 MB. */
const MAX_FILE_BYTES = 256 * 2 ** 20;

export interface Tokenizer {
  /** Largest id + 1; a model's logits may be wider. */
  readonly vocabSize: number;
  /** Control tokens. */
  readonly specialIds: ReadonlySet<number>;
  /** Tokens that end a generation. */
  readonly eosTokenIds: readonly number[];
  /** By their names in tokenizer_config.json (`bos_token`, `eos_token`, …), for the chat template. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** The contents of tokenizer_config.json, with the chat template that counts and a name for the class. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The Jinja source; undefined where the model has none. */
  readonly chatTemplate: string | undefined;
  /** Whether a decoded text loses its first character where that is a space. */
  readonly trimStart: boolean;
  /** For text in which some parts are trusted to name control tokens and others are not. */
  readonly encoder: Encoder;
  /**
   * `specials`: a control token's text becomes its id; else it is ordinary text, as everything that a user
   * writes. `affixes`: adds what the model expects around a text, as a rule one token to begin with.
   */
  encode(text: string, options: { specials: boolean; affixes?: boolean }): number[];
  /** U+FFFD stands for bytes that are no character; unknown ids for nothing. */
  decode(ids: readonly number[], options: { skipSpecials: boolean }): string;
  idToToken(id: number): string | undefined;
  /** The bytes of the text that the token stands for; none for an unknown id. */
  tokenBytes(id: number): Uint8Array;
}

/** What other files of the model than tokenizer.json and tokenizer_config.json say. */
export interface TokenizerExtra {
  eosTokenIds?: readonly number[];
  chatTemplate?: string;
}

const namedTokenSchema = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform(({ content }) => content),
]);
const eosIdsSchema = z
  .looseObject({ eos_token_id: z.union([z.int(), z.array(z.int())]).nullish() })
  .transform(({ eos_token_id }) => [eos_token_id ?? []].flat());

/** The tokenizer of a model folder; undefined where the folder has none. Throws `FileError` for a bad file. */
export async function loadTokenizer(directory: string): Promise<Tokenizer | undefined> {
  const tokenizerJson = await readJson(directory, 'tokenizer.json');
  if (tokenizerJson === undefined) return undefined;
  const config = (await readJson(directory, 'tokenizer_config.json')) ?? {};
  const chatTemplate = await readIfPresent(path.join(directory, 'chat_template.jinja'));
  const eosTokenIds: number[] = [];
  for (const file of ['generation_config.json', 'config.json']) {
    const ids = eosIdsSchema.safeParse((await readJson(directory, file)) ?? {});
    if (!ids.success) throw new FileError(`${file}: eos_token_id`, 'is not a token id');
    eosTokenIds.push(...ids.data);
  }
  const extra = chatTemplate === undefined ? { eosTokenIds } : { eosTokenIds, chatTemplate };
  return createTokenizer(tokenizerJson, config, extra);
}

/** From the contents of tokenizer.json and tokenizer_config.json. */
export function createTokenizer(
  tokenizerJson: unknown,
  config: unknown,
  extra: TokenizerExtra = {},
): Tokenizer {
  const json = parseTokenizerJson(tokenizerJson);
  const { chatTemplate: configTemplate, namedTokens, entries } = readConfig(config);
  const chatTemplate = extra.chatTemplate ?? configTemplate;
  const tokens = tokensById(json);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const specialIds = new Set(json.added_tokens.flatMap(({ id, special }) => (special ? id : [])));
  const rules = readTokenByteRules(json.decoder);
  const encoder = createEncoder(json, (token) => ids.get(token));
  const eosId = ids.get(namedTokens['eos_token'] ?? '');
  const eosTokenIds = new Set([extra.eosTokenIds ?? [], eosId ?? []].flat());
  const tokenBytes = (id: number) => rules.toBytes(tokens[id] ?? '');

  return {
    vocabSize: tokens.length,
    specialIds,
    eosTokenIds: [...eosTokenIds],
    namedTokens,
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...entries,
      ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    },
    chatTemplate,
    trimStart: rules.trimStart,
    encoder,
    tokenBytes,
    idToToken: (id) => tokens[id],
    encode(text, { specials, affixes = false }) {
      const found = encoder.split(text, { specials }).flatMap(encoder.encodeSection);
      const { before, after } = encoder.affixes;
      return affixes ? [...before, ...found, ...after] : found;
    },
    decode(ids, { skipSpecials }) {
      const kept = skipSpecials ? ids.filter((id) => !specialIds.has(id)) : ids;
      const text = Buffer.concat(kept.map(tokenBytes)).toString('utf8');
      return rules.trimStart && text.startsWith(' ') ? text.slice(1) : text;
    },
  };
}

function readConfig(config: unknown) {
  const { chat_template, ...entries } = z.looseObject({}).catch({}).parse(config);
  const namedTokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(entries)) {
    const token = name.endsWith('_token') ? namedTokenSchema.safeParse(value) : undefined;
    if (token?.success) namedTokens[name] = token.data;
  }
  return { namedTokens, entries, chatTemplate: readTemplate(chat_template) };
}

/** One template, or several by name, of which `default` counts. */
function readTemplate(value: unknown): string | undefined {
  const named = z.array(z.object({ name: z.string(), template: z.string() })).safeParse(value);
  if (named.success) return named.data.find(({ name }) => name === 'default')?.template;
  return typeof value === 'string' ? value : undefined;
}

async function readJson(directory: string, file: string): Promise<unknown> {
  const text = await readIfPresent(path.join(directory, file));
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FileError(file, 'is not JSON', { cause });
  }
}

async function readIfPresent(file: string): Promise<string | undefined> {
  try {
    return readRegular(file, MAX_FILE_BYTES).toString();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
