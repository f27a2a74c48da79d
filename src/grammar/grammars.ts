// The grammars of a model in use: compiled once for each constraint, and kept while they are used often.
import { LRUCache } from 'lru-cache';
import { ServeError } from '../common/errors.ts';
import type { Constraint } from '../contracts/generation.ts';
import type { Automaton, State } from './automaton.ts';
import { compileConstraint, constraintDigest } from './constraint.ts';
import { CompiledGrammar, Matcher } from './matcher.ts';
import { GrammarError } from './text-pattern.ts';
import { type TokenBytes, type TokenSet, Vocabulary } from './vocabulary.ts';

/** A grammar takes up to 10 MB, if it has been led to all of the states that it may keep. A usual one takes 0.2 MB. */
const MAX_GRAMMARS = 64;
/** A set takes an eighth of a byte per token: 6 kB for 49,152 tokens. */
const MAX_TOKEN_SETS = 4096;

/** Creates the matchers of sequences. */
export class Grammars {
  readonly #vocabulary: Vocabulary;
  readonly #compiled = new LRUCache<string, CompiledGrammar>({ max: MAX_GRAMMARS });
  readonly #allowed = new LRUCache<State, TokenSet>({ max: MAX_TOKEN_SETS });

  /** `vocabSize`: the width of the model's logits. */
  constructor(tokenizer: TokenBytes, vocabSize: number) {
    this.#vocabulary = new Vocabulary(tokenizer, vocabSize);
  }

  /** Throws `ServeError` if the constraint cannot be used. */
  createMatcher(constraint: Constraint): Matcher {
    const key = constraintDigest(constraint);
    let grammar = this.#compiled.get(key);
    if (!grammar) {
      const automaton = compile(constraint);
      grammar = new CompiledGrammar(automaton, this.#vocabulary, this.#allowed);
      this.#compiled.set(key, grammar);
    }
    return new Matcher(grammar);
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
