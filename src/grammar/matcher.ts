// Follows one sequence through an automaton, token by token.
import { ServeError } from '../common/errors.ts';
import type { Automaton, State, Work } from './automaton.ts';
import { GrammarError } from './text-pattern.ts';
import type { TokenSet, Vocabulary } from './vocabulary.ts';

/**
 * The work that a sequence may cause: some at its start, and more with each token. 1,000 places take 0.1 ms. A JSON schema
 * causes less than 20,000 for all of its states together, and none when they are known.
 */
const WORK = { atStart: 100_000, perToken: 5_000 };

/** An automaton with the sets of tokens that its states allow, which all sequences share. */
export class CompiledGrammar {
  readonly automaton: Automaton;
  readonly vocabulary: Vocabulary;
  readonly #allowed: AllowedTokens;

  constructor(automaton: Automaton, vocabulary: Vocabulary, allowed: AllowedTokens) {
    this.automaton = automaton;
    this.vocabulary = vocabulary;
    this.#allowed = allowed;
  }

  /** The tokens that may follow the state. */
  allowed(state: State, work: Work): TokenSet {
    const known = this.#allowed.get(state);
    if (known) return known;
    const found = this.vocabulary.allowed(this.automaton, state, work);
    this.#allowed.set(state, found);
    return found;
  }
}

/** A cache of what states allow. */
export interface AllowedTokens {
  get(state: State): TokenSet | undefined;
  set(state: State, tokens: TokenSet): unknown;
}

/** The tokens that one sequence may generate. */
export class Matcher {
  readonly #grammar: CompiledGrammar;
  readonly #work: Work = { places: -WORK.atStart };
  #state: State;

  constructor(grammar: CompiledGrammar) {
    this.#grammar = grammar;
    this.#state = grammar.automaton.start;
  }

  /** See `TokenMatcher`. Throws `ServeError` if the grammar takes too long. */
  allowed(): TokenSet {
    return this.#guarded(() => this.#grammar.allowed(this.#state, this.#work));
  }

  /** Whether the text may end here. */
  get canEnd(): boolean {
    return this.#state.canEnd;
  }

  /** Whether nothing may follow. */
  get isComplete(): boolean {
    return this.#state.canEnd && this.#state.places.length === 0;
  }

  /** Adds the next token, which must be allowed. */
  accept(id: number): void {
    this.#work.places = Math.max(-WORK.atStart, this.#work.places - WORK.perToken);
    this.#guarded(() => {
      for (const byte of this.#grammar.vocabulary.bytesOf(id)) {
        const next = this.#grammar.automaton.step(this.#state, byte, this.#work);
        if (!next) throw new GrammarError('does not allow a token that was generated');
        this.#state = next;
      }
    });
  }

  #guarded<T>(run: () => T): T {
    try {
      const result = run();
      if (this.#work.places <= 0) return result;
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
    }
    const message =
      'The grammar is too ambiguous: it takes too long to find the tokens that may follow.';
    throw new ServeError('invalid_request', message);
  }
}
