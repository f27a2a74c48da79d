// The grammars of a model in use: compiled once for each constraint, and kept while they are used often.
import { LRUCache } from 'lru-cache';
import { ServeError } from '../common/errors.ts';
import type { Constraint } from '../contracts/generation.ts';
import type { Automaton, State } from './automaton.ts';
import { ConstraintCompiler } from './compiler.ts';
import { automatonOf, compileConstraint, constraintDigest } from './constraint.ts';
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
  readonly #compiler = new ConstraintCompiler();
  readonly #compiled = new LRUCache<string, CompiledGrammar>({ max: MAX_GRAMMARS });
  readonly #allowedTokens = new LRUCache<State, TokenSet>({ max: MAX_TOKEN_SETS });

  /** `vocabSize`: the width of the model's logits. */
  constructor(tokenizer: GrammarTokenizer, vocabSize: number) {
    this.#tokenizer = tokenizer;
    this.#vocabulary = new Vocabulary(tokenizer, vocabSize);
  }

  /** Compiles on this thread, for programs without a loop. Throws `ServeError` if the constraint cannot be used. */
  createMatcher(constraint: Constraint): Matcher {
    const key = constraintDigest(constraint);
    const known = this.#compiled.get(key);
    if (known) return new Matcher(known);
    try {
      return this.#keep(key, compileConstraint(constraint));
    } catch (error) {
      throw toServeError(error);
    }
  }

  /** Compiles in another process. Rejects with `ServeError` if the constraint cannot be used. */
  async createMatcherAside(constraint: Constraint): Promise<Matcher> {
    const key = constraintDigest(constraint);
    const known = this.#compiled.get(key);
    if (known) return new Matcher(known);
    try {
      const network = await this.#compiler.compile(constraint);
      return this.#keep(key, automatonOf(constraint, network));
    } catch (error) {
      throw toServeError(error);
    }
  }

  #keep(key: string, automaton: Automaton): Matcher {
    const grammar: CompiledGrammar = {
      automaton,
      vocabulary: this.#vocabulary,
      allowedTokens: this.#allowedTokens,
      encode: (text) => this.#tokenizer.encodeInside(text),
    };
    this.#compiled.set(key, grammar);
    return new Matcher(grammar);
  }
}

function toServeError(error: unknown): unknown {
  if (!(error instanceof GrammarError)) return error;
  const message = `${error.path} ${error.message}`.trim();
  return new ServeError('invalid_request', message, { cause: error });
}
