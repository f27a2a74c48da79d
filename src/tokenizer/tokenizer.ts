// The tokenizer of a model folder: text ↔ token ids. A text is decoded by concatenating the bytes of its tokens, so a
// stream of tokens decodes to the same text. Does not know messages or the model.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { loadIfPresent } from '../common/regular-file.ts';
import { createEncoder, type Encoder } from './encoder.ts';
import { readTokenByteRules } from './token-bytes.ts';
import { parseTokenizerJson, tokensById } from './tokenizer-json.ts';

/** The largest known tokenizer.json has 35 MB. */
const MAX_FILE_BYTES = 256 * 2 ** 20;

/** A model's tokenizer. */
export interface Tokenizer {
  /** The largest id + 1. A model's logits may be wider. */
  readonly vocabSize: number;
  /** Control tokens. */
  readonly specialIds: ReadonlySet<number>;
  /** Tokens that end a generation. */
  readonly eosTokenIds: readonly number[];
  /** `bos_token`, `eos_token` and the like of tokenizer_config.json, for the chat template. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** The contents of tokenizer_config.json, with the effective chat template and a class name. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The Jinja source. Undefined if the model has none. */
  readonly chatTemplate: string | undefined;
  /** Whether a space at the start of a decoded text is dropped. */
  readonly trimStart: boolean;
  /** For text in which only some parts may contain control tokens. */
  readonly encoder: Encoder;
  /**
   * Encodes text. `specials`: whether the text of a control token becomes its id. Text from users must not.
   * `affixes`: whether to add the tokens that the model expects around a text, usually one at the start.
   */
  encode(text: string, options: { specials: boolean; affixes?: boolean }): number[];
  /** Encodes a text that is not at the start of a text, without control tokens. */
  encodeInside(text: string): number[];
  /** Decodes tokens. Invalid UTF-8 becomes U+FFFD. Unknown ids are skipped. */
  decode(ids: readonly number[], options: { skipSpecials: boolean }): string;
  idToToken(id: number): string | undefined;
  /** Returns the bytes that the token stands for. Empty for an unknown id. */
  tokenBytes(id: number): Uint8Array;
}

/** Values from files other than tokenizer.json and tokenizer_config.json. */
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

/** Loads the tokenizer of a model folder. Undefined if it has none. Throws `FileError` for an invalid file. */
export async function loadTokenizer(directory: string): Promise<Tokenizer | undefined> {
  const tokenizerJson = await loadJson(directory, 'tokenizer.json');
  if (tokenizerJson === undefined) return undefined;
  const config = (await loadJson(directory, 'tokenizer_config.json')) ?? {};
  const templateFile = path.join(directory, 'chat_template.jinja');
  const chatTemplate = (await loadIfPresent(templateFile, MAX_FILE_BYTES))?.toString();
  const eosTokenIds: number[] = [];
  for (const file of ['generation_config.json', 'config.json']) {
    const ids = eosIdsSchema.safeParse((await loadJson(directory, file)) ?? {});
    if (!ids.success) throw new FileError(`${file}: eos_token_id`, 'is not a token id');
    eosTokenIds.push(...ids.data);
  }
  const extra = chatTemplate === undefined ? { eosTokenIds } : { eosTokenIds, chatTemplate };
  return createTokenizer(tokenizerJson, config, extra);
}

/** Creates a tokenizer from the contents of tokenizer.json and tokenizer_config.json. Throws `FileError`. */
export function createTokenizer(
  tokenizerJson: unknown,
  config: unknown,
  extra: TokenizerExtra = {},
): Tokenizer {
  const json = parseTokenizerJson(tokenizerJson);
  const { chatTemplate: configTemplate, namedTokens, entries } = parseTokenizerConfig(config);
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
    encodeInside(text) {
      const sections = encoder.split(text, { specials: false });
      return sections.flatMap((section, i) => encoder.encodeSection(section, i + 1));
    },
    decode(ids, { skipSpecials }) {
      const kept = skipSpecials ? ids.filter((id) => !specialIds.has(id)) : ids;
      const text = Buffer.concat(kept.map(tokenBytes)).toString('utf8');
      return rules.trimStart && text.startsWith(' ') ? text.slice(1) : text;
    },
  };
}

function parseTokenizerConfig(config: unknown) {
  const { chat_template, ...entries } = z.looseObject({}).catch({}).parse(config);
  const namedTokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(entries)) {
    const token = name.endsWith('_token') ? namedTokenSchema.safeParse(value) : undefined;
    if (token?.success) namedTokens[name] = token.data;
  }
  return { namedTokens, entries, chatTemplate: readTemplate(chat_template) };
}

/** The value is one template, or a list of named ones, of which `default` is used. */
function readTemplate(value: unknown): string | undefined {
  const named = z.array(z.object({ name: z.string(), template: z.string() })).safeParse(value);
  if (named.success) return named.data.find(({ name }) => name === 'default')?.template;
  return typeof value === 'string' ? value : undefined;
}

async function loadJson(directory: string, file: string): Promise<unknown> {
  const text = (await loadIfPresent(path.join(directory, file), MAX_FILE_BYTES))?.toString();
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FileError(file, 'is not JSON', { cause });
  }
}
