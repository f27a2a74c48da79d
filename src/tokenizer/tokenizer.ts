// The tokenizer of a model folder: text ↔ token ids. Decoding concatenates the bytes of the tokens, so a stream of tokens
// decodes to the same text.
import path from 'node:path';
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { append } from '../common/long-arrays.ts';
import { loadIfPresent } from '../common/regular-file.ts';
import { type AddedTokens, MAX_ADDED_TOKENS } from '../contracts/added-tokens.ts';
import { createEncoder, type Encoder } from './encoder.ts';
import { readTokenByteRules, type TokenByteRules } from './token-bytes.ts';
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
  /** The contents of tokenizer_config.json, with the effective chat template and class name. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The Jinja source. Undefined if the model has none. */
  readonly chatTemplate: string | undefined;
  /** Whether a space at the start of a decoded text is dropped. */
  readonly trimStart: boolean;
  /** For text in which only some parts may contain control tokens. */
  readonly encoder: Encoder;
  /**
   * Encodes text. `specials`: whether a control token's text becomes its id; never allow this for text from users. `affixes`:
   * whether to add the tokens that the model expects around a text, usually one at the start.
   */
  encode(text: string, options: { specials: boolean; affixes?: boolean }): number[];
  /** Encodes text from the middle of a text, without control tokens. */
  encodeInside(text: string): number[];
  /** Decodes tokens. Invalid UTF-8 becomes U+FFFD. Unknown ids are skipped. */
  decode(ids: readonly number[], options: { skipSpecials: boolean }): string;
  idToToken(id: number): string | undefined;
  /** Returns the bytes that the token stands for. Empty for an unknown id. */
  tokenBytes(id: number): Uint8Array;
  /**
   * Returns the tokenizer with an adapter's tokens; this one if it already has them all. They may replace control tokens, for
   * example reserved ones. Throws `FileError` if one has the id or the text of another token.
   */
  extended(added: AddedTokens): Tokenizer;
}

/** Values from files other than tokenizer.json and tokenizer_config.json. */
interface TokenizerExtra {
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
    append(eosTokenIds, ids.data);
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
  const encoder = createEncoder(json, (token) => ids.get(token));
  const eosId = ids.get(namedTokens['eos_token'] ?? '');
  const eosTokenIds = new Set([extra.eosTokenIds ?? [], eosId ?? []].flat());
  return tokenizerOf({
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
    encoder,
    rules: readTokenByteRules(json.decoder),
    idToToken: (id) => tokens[id],
    tokenToId: (token) => ids.get(token),
  });
}

/** The parts of a tokenizer that decide whether an adapter's tokens change it. */
interface TokenizerParts
  extends Pick<
    Tokenizer,
    | 'vocabSize'
    | 'specialIds'
    | 'eosTokenIds'
    | 'namedTokens'
    | 'config'
    | 'chatTemplate'
    | 'encoder'
    | 'idToToken'
  > {
  readonly rules: TokenByteRules;
  tokenToId(token: string): number | undefined;
}

function tokenizerOf({ rules, tokenToId, ...parts }: TokenizerParts): Tokenizer {
  const { encoder, specialIds, idToToken } = parts;
  const tokenBytes = (id: number) => rules.toBytes(idToToken(id) ?? '');
  const tokenizer: Tokenizer = {
    ...parts,
    trimStart: rules.trimStart,
    tokenBytes,
    encode(text, { specials, affixes = false }) {
      const ids = encoder.split(text, { specials }).flatMap(encoder.encodeSection);
      const { before, after } = encoder.affixes;
      return affixes ? [...before, ...ids, ...after] : ids;
    },
    encodeInside(text) {
      const sections = encoder.split(text, { specials: false });
      return sections.flatMap((section, i) => encoder.encodeSection(section, i + 1));
    },
    decode(ids, { skipSpecials }) {
      const shownIds = skipSpecials ? ids.filter((id) => !specialIds.has(id)) : ids;
      const text = Buffer.concat(shownIds.map(tokenBytes)).toString('utf8');
      return rules.trimStart && text.startsWith(' ') ? text.slice(1) : text;
    },
    extended(added) {
      const extended = extendParts({ rules, tokenToId, ...parts }, added);
      return extended ? tokenizerOf(extended) : tokenizer;
    },
  };
  return tokenizer;
}

/**
 * Returns the tokens that a tokenizer lacks. Adapters also list their base's tokens. Throws `FileError` if there are too many.
 */
export function newTokens(
  { idToToken }: Pick<Tokenizer, 'idToToken'>,
  { tokens, ...rest }: AddedTokens,
): AddedTokens {
  const lacking = tokens.filter(({ id, content }) => idToToken(id) !== content);
  if (lacking.length <= MAX_ADDED_TOKENS) return { ...rest, tokens: lacking };
  const message = `has ${lacking.length} tokens that the base lacks; the limit is ${MAX_ADDED_TOKENS}`;
  throw new FileError('added_tokens', message);
}

/** Drops a padding token that has no rows. */
export function withoutPadding({ tokens, ...added }: AddedTokens, rows: number): AddedTokens {
  const isSeen = ({ id, content }: AddedTokens['tokens'][number]) =>
    id < rows || content !== added.pad_token;
  return { ...added, tokens: tokens.filter(isSeen) };
}

/** Returns undefined if there is no new token. */
function extendParts(parts: TokenizerParts, added: AddedTokens): TokenizerParts | undefined {
  const { idToToken, tokenToId, namedTokens } = parts;
  const { tokens } = newTokens(parts, added);
  if (tokens.length === 0) return undefined;
  const byId = new Map(tokens.map((token) => [token.id, token]));
  const byContent = new Map(tokens.map((token) => [token.content, token.id]));
  for (const { id, content } of tokens) {
    const fault = (message: string) => new FileError(`added_tokens: ${id}`, message);
    if (byId.get(id)!.content !== content || byContent.get(content) !== id)
      throw fault('is there twice');
    const there = idToToken(id);
    if (there && !parts.specialIds.has(id))
      throw fault(`is ${JSON.stringify(there)} in the base, and no control token`);
    const other = tokenToId(content);
    if (other !== undefined && !byId.has(other))
      throw fault(`${JSON.stringify(content)} is token ${other} of the base`);
  }
  const special = (id: number) => byId.get(id)?.special ?? parts.specialIds.has(id);
  const toId = (token: string) => byContent.get(token) ?? tokenToId(token);
  const eos = added.eos_token;
  const eosId = eos === undefined ? undefined : toId(eos);
  return {
    ...parts,
    vocabSize: tokens.reduce((size, { id }) => Math.max(size, id + 1), parts.vocabSize),
    specialIds: new Set([...parts.specialIds, ...byId.keys()].filter(special)),
    eosTokenIds: [...new Set([...parts.eosTokenIds, ...(eosId === undefined ? [] : [eosId])])],
    namedTokens: eosId === undefined ? namedTokens : { ...namedTokens, eos_token: eos! },
    encoder: parts.encoder.extended(tokens),
    idToToken: (id) => byId.get(id)?.content ?? idToToken(id),
    tokenToId: toId,
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

/** The value is one template or a list of named templates, of which `default` is used. */
function readTemplate(value: unknown): string | undefined {
  const templates = z.array(z.object({ name: z.string(), template: z.string() })).safeParse(value);
  if (templates.success) return templates.data.find(({ name }) => name === 'default')?.template;
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
