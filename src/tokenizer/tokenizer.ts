// Text ↔ token ids, from a model folder's tokenizer.json. Encoding is `@huggingface/tokenizers`; decoding
// is ours (token-bytes.ts), so that a stream decodes to the same text. Knows no messages and no model.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer as Encoder } from '@huggingface/tokenizers';
import { z } from 'zod';
import { assert } from '../assert.ts';
import { FileError } from '../errors.ts';
import { createMergeTokens, type MergeTokens } from './bpe.ts';
import { toReferenceSplits } from './pre-tokenizer-compat.ts';
import { readTokenByteRules } from './token-bytes.ts';

export interface Tokenizer {
  /** Largest id + 1; a model's logits may be wider. */
  readonly vocabSize: number;
  /** Control tokens. */
  readonly specialIds: ReadonlySet<number>;
  /** Tokens that end a generation. */
  readonly eosTokenIds: readonly number[];
  /** By their names in tokenizer_config.json (`bos_token`, `eos_token`, …), for the chat template. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** The Jinja source; undefined where the model has none. */
  readonly chatTemplate: string | undefined;
  /** Whether a decoded text loses its first space. */
  readonly trimStart: boolean;
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

const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean(),
});

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
type TokenizerJson = z.infer<typeof tokenizerSchema>;

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
  const template = await readIfPresent(path.join(directory, 'chat_template.jinja'));
  const eosTokenIds: number[] = [];
  for (const file of ['generation_config.json', 'config.json']) {
    const ids = eosIdsSchema.safeParse((await readJson(directory, file)) ?? {});
    if (!ids.success) throw new FileError(`${file}: eos_token_id`, 'is not a token id');
    eosTokenIds.push(...ids.data);
  }
  return createTokenizer(tokenizerJson, config, {
    eosTokenIds,
    ...(template !== undefined && { chatTemplate: template }),
  });
}

/** From the contents of tokenizer.json and tokenizer_config.json; `extra` is what other files of the model say. */
export function createTokenizer(
  tokenizerJson: unknown,
  config: unknown,
  extra: { eosTokenIds?: readonly number[]; chatTemplate?: string } = {},
): Tokenizer {
  const json = parseTokenizerJson(tokenizerJson);
  const { chatTemplate, namedTokens } = readConfig(config);
  const tokens = tokensById(json);
  const specialIds = new Set(json.added_tokens.flatMap(({ id, special }) => (special ? [id] : [])));
  const rules = readTokenByteRules(json.decoder);
  const bytes = tokens.map((token) => rules.toBytes(token));
  const encoders = createEncoders(json);
  const eosId = tokens.indexOf(namedTokens['eos_token'] ?? '');
  const eosTokenIds = new Set([...(extra.eosTokenIds ?? []), ...(eosId >= 0 ? [eosId] : [])]);
  const noBytes = new Uint8Array(0);
  const tokenBytes = (id: number) => bytes[id] ?? noBytes;

  return {
    vocabSize: tokens.length,
    specialIds,
    eosTokenIds: [...eosTokenIds],
    namedTokens,
    chatTemplate: extra.chatTemplate ?? chatTemplate,
    trimStart: rules.trimStart,
    tokenBytes,
    idToToken: (id) => tokens[id],
    encode(text, { specials, affixes = false }) {
      const ids = encodeWith(specials ? encoders.full : encoders.plain, text);
      return affixes ? [...encoders.before, ...ids, ...encoders.after] : ids;
    },
    decode(ids, { skipSpecials }) {
      const kept = skipSpecials ? ids.filter((id) => !specialIds.has(id)) : ids;
      const text = Buffer.concat(kept.map(tokenBytes)).toString('utf8');
      return rules.trimStart && text.startsWith(' ') ? text.slice(1) : text;
    },
  };
}

function readConfig(config: unknown) {
  const entries = Object.entries(z.looseObject({}).catch({}).parse(config));
  const namedTokens: Record<string, string> = {};
  for (const [name, value] of entries) {
    const token = name.endsWith('_token') ? namedTokenSchema.safeParse(value) : undefined;
    if (token?.success) namedTokens[name] = token.data;
  }
  return { namedTokens, chatTemplate: readTemplate(Object.fromEntries(entries)['chat_template']) };
}

/** One template, or several by name, of which `default` counts. */
function readTemplate(value: unknown): string | undefined {
  const named = z.array(z.object({ name: z.string(), template: z.string() })).safeParse(value);
  if (named.success) return named.data.find(({ name }) => name === 'default')?.template;
  return typeof value === 'string' ? value : undefined;
}

function parseTokenizerJson(value: unknown): TokenizerJson {
  const parsed = tokenizerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FileError(`tokenizer.json: ${issue.path.slice(0, 3).join('.')}`, issue.message);
}

// Checked by hand: a schema takes 100 ms for the 100,000 entries.
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

/** Dense: an id without a token is an empty string. */
function tokensById({ model, added_tokens }: TokenizerJson): string[] {
  const entries: (readonly [string, number])[] = Object.entries(model.vocab);
  for (const { content, id } of added_tokens) entries.push([content, id]);
  const size = entries.reduce((max, [, id]) => Math.max(max, id + 1), 0);
  if (size > MAX_VOCAB) throw new FileError('tokenizer.json: vocab', `an id is above ${MAX_VOCAB}`);
  const tokens = new Array<string>(size).fill('');
  for (const [token, id] of entries) tokens[id] = token;
  return tokens;
}

/** Four times the largest vocabulary in use. */
const MAX_VOCAB = 1_048_576;

interface Encoders {
  /** Knows control tokens in text. */
  full: Encoder;
  /** Does not: the control tokens are taken out of its vocabulary. */
  plain: Encoder;
  before: readonly number[];
  after: readonly number[];
}

function createEncoders(json: TokenizerJson): Encoders {
  const file = { ...json, pre_tokenizer: toReferenceSplits(json.pre_tokenizer) };
  const { merges, vocab: known, unk_token, byte_fallback } = json.model;
  // The reference drops what it can't name; the library would let it stand between its neighbours.
  const dropsUnknown = unk_token == null && byte_fallback !== true;
  const isKept = (character: string) => !dropsUnknown || Object.hasOwn(known, character);
  const mergeTokens = createMergeTokens(merges, isKept);
  const full = createEncoder(file, mergeTokens);
  const vocab = { ...json.model.vocab };
  for (const { content, special } of json.added_tokens) {
    if (special && content !== json.model.unk_token) delete vocab[content];
  }
  const added_tokens = json.added_tokens.filter(({ special }) => !special);
  const model = { ...json.model, vocab };
  const plain = createEncoder({ ...file, added_tokens, model }, mergeTokens);
  return { full, plain, ...affixesOf(full) };
}

/** The library's encoder with our merging: its own takes seconds for a run of 100,000 characters. */
function createEncoder(json: TokenizerJson, mergeTokens: MergeTokens): Encoder {
  try {
    const encoder = new Encoder({ ...json, model: { ...json.model, merges: [] } }, {});
    const model: { bpe: MergeTokens } = encoder.model;
    assert(typeof model.bpe === 'function', 'the library merges otherwise than by bpe()');
    model.bpe = mergeTokens;
    return encoder;
  } catch (cause) {
    throw new FileError('tokenizer.json', 'is not supported', { cause });
  }
}

function encodeWith(encoder: Encoder, text: string): number[] {
  return text === '' ? [] : encoder.encode(text, { add_special_tokens: false }).ids;
}

/** What the post-processor puts before and after a text. */
function affixesOf(encoder: Encoder): { before: number[]; after: number[] } {
  const probe = encodeWith(encoder, 'a');
  const ids: number[] = encoder.encode('a', { add_special_tokens: true }).ids;
  const at = ids.findIndex((_, start) => probe.every((id, i) => ids[start + i] === id));
  return { before: ids.slice(0, at), after: ids.slice(at + probe.length) };
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
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
