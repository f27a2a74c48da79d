// Text → token ids: added tokens are cut out here, the text between them goes through the library's
// normalizer, pre-tokenizer and model, with our merging (bpe.ts). Knows no decoding and no messages.
import { Tokenizer as Library } from '@huggingface/tokenizers';
import { assert } from '../common/assert.ts';
import { FileError } from '../common/errors.ts';
import { createMergeTokens, type MergeTokens } from './bpe.ts';
import { toReferenceSplits } from './pre-tokenizer-compat.ts';
import type { AddedToken, TokenizerJson } from './tokenizer-json.ts';

/** A stretch of text; with `id` it is an added token's. */
export interface Section {
  text: string;
  /** Where it begins in the whole text, in UTF-16 units. */
  start: number;
  id?: number;
}

export interface Encoder {
  /** Cuts text at added tokens: at all of them, or only at those that are no control tokens. */
  split(text: string, options: { specials: boolean }): Section[];
  /** `index`: the section's place in its text, for some texts begin otherwise than they go on. */
  encodeSection(section: Section, index: number): number[];
  /** What the post-processor puts before and after a text, as a rule one token before. */
  readonly affixes: { before: readonly number[]; after: readonly number[] };
}

/** The library's parts that are used; its types do not resolve. */
interface LibraryParts {
  normalizer: ((text: string) => string) | null;
  pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
  model: ((preTokens: string[]) => string[]) & { bpe: MergeTokens; tokens_to_ids: Vocabulary };
  post_processor:
    | ((tokens: string[], pair: null, addSpecial: boolean) => { tokens: string[] })
    | null;
}

/** What the library asks of its map from tokens to ids. */
interface Vocabulary {
  has(token: string): boolean;
  get(token: string): number | undefined;
}

/** `idOf` knows every token of the vocabulary, the added ones too. */
export function createEncoder(
  json: TokenizerJson,
  idOf: (token: string) => number | undefined,
): Encoder {
  const parts = createLibraryParts(json, ordinaryTokens(json, idOf));
  const splitAll = createSplitter(json.added_tokens);
  const splitOrdinary = createSplitter(json.added_tokens.filter(({ special }) => !special));
  const unknownId = json.model.unk_token == null ? undefined : idOf(json.model.unk_token);

  const encodeSection = ({ text, id }: Section, index: number): number[] => {
    if (id !== undefined) return [id];
    const normal = parts.normalizer?.(text) ?? text;
    if (normal === '') return [];
    const preTokens = parts.pre_tokenizer?.(normal, { section_index: index }) ?? [normal];
    return parts.model(preTokens).flatMap((token) => idOf(token) ?? unknownId ?? []);
  };
  return {
    split: (text, { specials }) => (specials ? splitAll(text) : splitOrdinary(text)),
    encodeSection,
    affixes: readAffixes(parts, idOf),
  };
}

/** The model's own tokens without control tokens: no text becomes one. */
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
  // Its own maps of the vocabulary would take longer than all else here.
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
  // The library's merging takes seconds for a run of 100,000 characters. And the reference drops
  // characters that it can't name, where the library lets them stand between their neighbours.
  assert(typeof parts.model.bpe === 'function', 'the library merges otherwise than by bpe()');
  const dropsUnknown = unk_token == null && byte_fallback !== true;
  const isKept = (character: string) => !dropsUnknown || vocabulary.has(character);
  parts.model.tokens_to_ids = vocabulary;
  parts.model.bpe = createMergeTokens(merges, isKept);
  return parts;
}

/** Of the tokens that start first, the longest; a token may take the white space beside it. */
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

/** A pattern for any of these texts, the longest first. */
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
