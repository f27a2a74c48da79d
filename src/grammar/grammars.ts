// A model's grammars in use: built once per compiled constraint, and kept while they are used often.
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { assert } from '../common/assert.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type { CompiledConstraint } from '../contracts/generation.ts';
import type { WorkBudget } from '../contracts/work-budget.ts';
import { POSITION_BYTES, type State } from './automaton.ts';
import { automatonOf } from './constraint.ts';
import { ExtendedVocabulary } from './extended-vocabulary.ts';
import { type CompiledGrammar, Matcher, requestWork } from './matcher.ts';
import {
  type GrammarVocabulary,
  type TokenBytes,
  type TokenSet,
  Vocabulary,
} from './vocabulary.ts';
import { BannedWords, type BanState, WordBan } from './word-ban.ts';

/** A grammar takes up to 8 MB once it remembers as many states as it may. A typical one takes 0.2 MB. */
const MAX_GRAMMARS = 64;
/** A set takes one bit per token: 6 kB for 49,152 tokens. It also keeps its state alive. */
const MAX_TOKEN_SETS = 4096;
const MAX_TOKEN_SET_BYTES = 64 * 2 ** 20;
/** The number of requests whose work is counted. */
const MAX_REQUESTS = 1024;

/** The characters of all banned words together. Each has about two states of 1 kB. */
const MAX_BANNED_TEXT = 32_768;
/** The forbidden tokens of all states of banned words together. A token takes about 40 bytes. */
const MAX_FORBIDDEN = 500_000;

/** Adapters with the same tokens share an entry, which takes little memory compared with the base's vocabulary. */
const MAX_GRAMMAR_TEXTS = 64;

/** The part of a tokenizer that grammars need. */
export interface GrammarTokenizer extends TokenBytes {
  /** Encodes a text inside a completion as the model would, without control tokens. */
  encodeInside(text: string): readonly number[];
  /** Returns the tokenizer with an adapter's tokens. Absent: adapters cannot have tokens. */
  extended?(added: AddedTokens): GrammarTokenizer;
}

/** The tokens of the base or of an adapter. Grammars of different token sets have different keys. */
interface GrammarText {
  readonly key: string;
  readonly tokenizer: GrammarTokenizer;
  readonly vocabulary: GrammarVocabulary;
}

/** Creates the matchers of sequences. */
export class Grammars {
  readonly #base: GrammarText;
  readonly #texts = new LRUCache<string, GrammarText>({ max: MAX_GRAMMAR_TEXTS });
  readonly #compiled = new LRUCache<string, CompiledGrammar>({ max: MAX_GRAMMARS });
  readonly #allowedTokens = new LRUCache<State, TokenSet>({
    max: MAX_TOKEN_SETS,
    maxSize: MAX_TOKEN_SET_BYTES,
    sizeCalculation: ({ byteLength }, { positions }) =>
      byteLength + POSITION_BYTES * (1 + positions.length),
  });
  /**
   * The remaining work, by tenant and constraint. A request's choices share a constraint, and equal requests of a tenant share
   * the states.
   */
  readonly #requests = new LRUCache<string, WorkBudget>({ max: MAX_REQUESTS });
  readonly #bans = new LRUCache<string, WordBan>({ maxSize: MAX_BANNED_TEXT });
  readonly #forbidden = new LRUCache<BanState, ReadonlySet<number>>({
    maxSize: MAX_FORBIDDEN,
    sizeCalculation: ({ size }) => size + 1,
  });

  /** @param vocabSize the width of the model's logits */
  constructor(tokenizer: GrammarTokenizer, vocabSize: number) {
    this.#base = { key: '', tokenizer, vocabulary: new Vocabulary(tokenizer, vocabSize) };
  }

  /** Returns a matcher for the tokens of the base or of an adapter. `tenant`: whose requests share its work. Absent: none do. */
  createMatcher(constraint: CompiledConstraint, added?: AddedTokens, tenant?: string): Matcher {
    const { key: textKey, tokenizer, vocabulary } = this.#textOf(added);
    const key = textKey + constraint.digest;
    const grammar = remember(this.#compiled, key, () => ({
      automaton: automatonOf(constraint),
      vocabulary,
      allowedTokens: this.#allowedTokens,
      encode: (text: string) => tokenizer.encodeInside(text),
    }));
    if (tenant === undefined) return new Matcher(grammar);
    return new Matcher(grammar, remember(this.#requests, `${key} ${tenant}`, requestWork));
  }

  /** Returns a ban on these words for one sequence. Each word contains a character other than a space. */
  createBan(words: readonly string[], added?: AddedTokens): BannedWords {
    const { key, vocabulary } = this.#textOf(added);
    const id = key + createHash('sha256').update(JSON.stringify(words)).digest('hex');
    const cached = this.#bans.get(id);
    const ban = cached ?? new WordBan(words, vocabulary, this.#forbidden);
    const size = words.reduce((sum, { length }) => sum + length, 0);
    if (!cached) this.#bans.set(id, ban, { size });
    return new BannedWords(ban);
  }

  #textOf(added: AddedTokens | undefined): GrammarText {
    if (!added) return this.#base;
    const key = createHash('sha256').update(JSON.stringify(added)).digest('hex');
    return remember(this.#texts, key, () => {
      const tokenizer = this.#base.tokenizer.extended?.(added);
      assert(tokenizer, 'the tokenizer of a model can be extended');
      const vocabulary = new ExtendedVocabulary(this.#base.vocabulary, tokenizer, added);
      return { key, tokenizer, vocabulary };
    });
  }
}

/** Returns the cached value of a key, or makes and caches it. */
function remember<Value extends object>(
  cache: LRUCache<string, Value>,
  key: string,
  make: () => Value,
): Value {
  const value = cache.get(key) ?? make();
  cache.set(key, value);
  return value;
}
