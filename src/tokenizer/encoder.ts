// Encodes text as token ids. Added tokens are cut out here. The text between them passes through the library's normalizer,
// pre-tokenizer and model, with our own merging (bpe.ts).
import { Tokenizer as Library } from '@huggingface/tokenizers';
import { z } from 'zod';
import { assert } from '../common/assert.ts';
import { FileError } from '../common/errors.ts';
import { createMergeTokens, type MergeTokens } from './bpe.ts';
import type { AddedToken, TokenizerJson } from './tokenizer-json.ts';

/** A part of a text. With an `id`, it is an added token. */
export interface Section {
  text: string;
  /** The offset in the whole text, in UTF-16 units. */
  start: number;
  id?: number;
}

/** Encodes text as token ids. */
export interface Encoder {
  /** Splits text at all added tokens, or only at added tokens that are not control tokens. */
  split(text: string, options: { specials: boolean }): Section[];
  /** Encodes a section. `index` is the section's position, because some pre-tokenizers treat the first section differently. */
  encodeSection(section: Section, index: number): number[];
  /** The tokens that the post-processor adds before and after a text, usually one before. */
  readonly affixes: { before: readonly number[]; after: readonly number[] };
  /** Returns an encoder with these added tokens. They replace tokens with the same ids. */
  extended(added: readonly AddedToken[]): Encoder;
}

/** The parts of the library that this file uses. The library's types do not resolve. */
interface LibraryParts {
  normalizer: ((text: string) => string) | null;
  pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
  model: ((preTokens: string[]) => string[]) & { bpe: MergeTokens; tokens_to_ids: Vocabulary };
  post_processor:
    | ((tokens: string[], pair: null, addSpecial: boolean) => { tokens: string[] })
    | null;
}

/** The part of the library's token map that the library itself uses. */
interface Vocabulary {
  has(token: string): boolean;
  get(token: string): number | undefined;
}

/** Creates an encoder. `idOf` returns the id of any token, including added tokens. */
export function createEncoder(
  json: TokenizerJson,
  idOf: (token: string) => number | undefined,
): Encoder {
  const parts = createLibraryParts(json, ordinaryTokens(json, idOf));
  const unknownId = json.model.unk_token == null ? undefined : idOf(json.model.unk_token);

  const encodeSection = ({ text, id }: Section, index: number): number[] => {
    if (id !== undefined) return [id];
    const normal = parts.normalizer?.(text) ?? text;
    if (normal === '') return [];
    const preTokens = parts.pre_tokenizer?.(normal, { section_index: index }) ?? [normal];
    return parts.model(preTokens).flatMap((token) => idOf(token) ?? unknownId ?? []);
  };
  const affixes = readAffixes(parts, idOf);
  const encoderOf = (tokens: readonly AddedToken[]): Encoder => {
    const splitAll = createSplitter(tokens);
    const splitOrdinary = createSplitter(tokens.filter(({ special }) => !special));
    return {
      split: (text, { specials }) => (specials ? splitAll(text) : splitOrdinary(text)),
      encodeSection,
      affixes,
      extended(added) {
        const replaced = new Set(added.map(({ id }) => id));
        return encoderOf([...tokens.filter(({ id }) => !replaced.has(id)), ...added]);
      },
    };
  };
  return encoderOf(json.added_tokens);
}

/** Returns the model's tokens without control tokens, so that no text can become one. */
function ordinaryTokens(
  { model, added_tokens }: TokenizerJson,
  idOf: (token: string) => number | undefined,
): Vocabulary {
  const withheld = new Set(
    added_tokens
      .filter(({ content, special }) => special || !Object.hasOwn(model.vocab, content))
      .map(({ content }) => content),
  );
  withheld.delete(model.unk_token ?? '');
  const get = (token: string) => (withheld.has(token) ? undefined : idOf(token));
  return { get, has: (token) => get(token) !== undefined };
}

function createLibraryParts(json: TokenizerJson, vocabulary: Vocabulary): LibraryParts {
  const { merges, unk_token, byte_fallback } = json.model;
  // The vocabulary is empty, because building the library's maps of it would take most of the time.
  const unknownId = unk_token == null ? undefined : json.model.vocab[unk_token];
  const vocab = unknownId === undefined ? {} : { [unk_token!]: unknownId };
  const model = { ...json.model, vocab, merges: [] };
  let parts: LibraryParts;
  try {
    const pre_tokenizer = toReferenceSplits(json.pre_tokenizer);
    parts = new Library({ ...json, pre_tokenizer, model, added_tokens: [] }, {});
  } catch (cause) {
    throw new FileError('tokenizer.json', 'is not supported', { cause });
  }
  // The library's merging takes seconds for 100,000 characters. Also, the reference drops characters that are not in the
  // vocabulary, while the library keeps them between their neighbors.
  assert(typeof parts.model.bpe === 'function', 'the library does not merge with bpe()');
  const dropsUnknown = unk_token == null && byte_fallback !== true;
  const isKept = (character: string) => !dropsUnknown || vocabulary.has(character);
  parts.model.tokens_to_ids = vocabulary;
  parts.model.bpe = createMergeTokens(merges, isKept);
  return parts;
}

/** Returns a function that splits at the first token, preferring the longest. Tokens may include white space. */
function createSplitter(tokens: readonly AddedToken[]): (text: string) => Section[] {
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const pattern = new RegExp(alternatives([...byContent.keys()]), 'gu');
  return (text) => {
    const sections: Section[] = [];
    let start = 0;
    const addText = (piece: string) => {
      if (piece !== '') sections.push({ text: piece, start });
    };
    for (const { 0: content, index } of byContent.size > 0 ? text.matchAll(pattern) : []) {
      const { id, lstrip, rstrip } = byContent.get(content)!;
      const before = text.slice(start, index);
      addText(lstrip ? before.trimEnd() : before);
      sections.push({ text: content, start: index, id });
      start = index + content.length;
      if (rstrip) while (/\s/u.test(text.charAt(start))) start++;
    }
    addText(text.slice(start));
    return sections;
  };
}

/** Returns a pattern that matches any of the texts, the longest first. */
export function alternatives(texts: readonly string[]): string {
  return [...texts]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/gu, '\\$&'))
    .join('|');
}

function readAffixes(parts: LibraryParts, idOf: (token: string) => number | undefined) {
  const probe = 'a';
  const tokens = parts.post_processor?.([probe], null, true).tokens ?? [probe];
  const at = tokens.indexOf(probe);
  const toIds = (some: string[]) => some.flatMap((token) => idOf(token) ?? []);
  return { before: toIds(tokens.slice(0, at)), after: toIds(tokens.slice(at + 1)) };
}

// The library splits text differently from the reference implementation in two cases, both due to JavaScript: `\d` matches only
// 0 to 9, and `\s` matches U+FEFF but not U+0085. The pre-tokenizer is rewritten to match the reference.

const stepSchema = z.looseObject({
  type: z.string(),
  individual_digits: z.boolean().optional(),
  use_regex: z.boolean().optional(),
  add_prefix_space: z.boolean().optional(),
  pattern: z.unknown().optional(),
  pretokenizers: z.array(z.unknown()).optional(),
});

/** GPT-2's pattern with the reference's white space. */
const GPT2_SPLIT =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
  '|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+';

/** Rewrites the `pre_tokenizer` of a tokenizer.json if needed. */
function toReferenceSplits(preTokenizer: unknown): unknown {
  const step = stepSchema.safeParse(preTokenizer).data;
  switch (step?.type) {
    case 'Sequence':
      return { ...step, pretokenizers: step.pretokenizers?.map(toReferenceSplits) };
    case 'Digits':
      return splitBy(step.individual_digits ? '\\p{N}' : '\\p{N}+');
    case 'ByteLevel': {
      // The prefix space is added before the split. A rewritten step would add it afterwards.
      if (step.use_regex === false || step.add_prefix_space) return step;
      return {
        type: 'Sequence',
        pretokenizers: [splitBy(GPT2_SPLIT), { ...step, use_regex: false }],
      };
    }
    case 'Split': {
      const regex = z.object({ Regex: z.string() }).safeParse(step.pattern).data?.Regex;
      return regex === undefined ? step : { ...step, pattern: { Regex: withWhiteSpace(regex) } };
    }
    default:
      return preTokenizer;
  }
}

function splitBy(Regex: string) {
  return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
}

function withWhiteSpace(regex: string): string {
  return regex.replace(/\\(.)/gsu, (escaped, letter) => {
    if (letter === 's') return '\\p{White_Space}';
    return letter === 'S' ? '\\P{White_Space}' : escaped;
  });
}
