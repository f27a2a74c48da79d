// The grammars of a model in use: compiled once for each constraint, and kept while they are used often.
import { LRUCache } from 'lru-cache';
import { ServeError } from '../common/errors.ts';
import type { Constraint } from '../contracts/generation.ts';
import type { Automaton, State } from './automaton.ts';
import { compileConstraint, constraintDigest } from './constraint.ts';
import { type CompiledGrammar, Matcher } from './matcher.ts';
import { GrammarError } from './text-pattern.ts';
import { type TokenBytes, type TokenSet, Vocabulary } from './vocabulary.ts';

/** A grammar takes up to 10 MB, if it has been led to all of the states that it may keep. A usual one takes 0.2 MB. */
const MAX_GRAMMARS = 64;
/** A set takes an eighth of a byte per token: 6 kB for 49,152 tokens. */
const MAX_TOKEN_SETS = 4096;

/** A tokenizer, as far as grammars need it. */
export interface GrammarTokenizer extends TokenBytes {
  /** Writes a text inside an answer as the model would, without control tokens. */
  encodeInside(text: string): readonly number[];
}

/** Creates the matchers of sequences. */
export class Grammars {
  readonly #tokenizer: GrammarTokenizer;
  readonly #vocabulary: Vocabulary;
  readonly #compiled = new LRUCache<string, CompiledGrammar>({ max: MAX_GRAMMARS });
  readonly #allowedTokens = new LRUCache<State, TokenSet>({ max: MAX_TOKEN_SETS });

  /** `vocabSize`: the width of the model's logits. */
  constructor(tokenizer: GrammarTokenizer, vocabSize: number) {
    this.#tokenizer = tokenizer;
    this.#vocabulary = new Vocabulary(tokenizer, vocabSize);
  }

  /** Throws `ServeError` if the constraint cannot be used. */
  createMatcher(constraint: Constraint): Matcher {
    const key = constraintDigest(constraint);
    const grammar = this.#compiled.get(key) ?? this.#compile(constraint);
    this.#compiled.set(key, grammar);
    return new Matcher(grammar);
  }

  #compile(constraint: Constraint): CompiledGrammar {
    return {
      automaton: compile(constraint),
      vocabulary: this.#vocabulary,
      allowedTokens: this.#allowedTokens,
      encode: (text) => this.#tokenizer.encodeInside(text),
    };
  }
}

function compile(constraint: Constraint): Automaton {
  try {
    return compileConstraint(constraint);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    throw new ServeError('invalid_request', `${error.path} ${error.message}`.trim(), {
      cause: error,
    });
  }
}
