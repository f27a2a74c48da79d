// Follows one sequence through an automaton, token by token.
import { ServeError } from '../common/errors.ts';
import type { Automaton, State, Work } from './automaton.ts';
import { GrammarError } from './text-pattern.ts';
import type { GrammarVocabulary, TokenSet } from './vocabulary.ts';

/**
 * The work that a sequence may cause: some at its start, and more with each token. 1,000 places take 0.1 ms. A JSON schema
 * visits up to 4,000 for a token, and none when its states are known.
 */
const WORK = { atStart: 100_000, perToken: 5_000 };
/** The longest text that is looked at for forced tokens. The rest is found when they are generated. */
const MAX_FORCED_BYTES = 512;

const NOT_FORCED = { ids: [], isEnd: false };

/** A cache of what states allow. */
export interface AllowedTokens {
  get(state: State): TokenSet | undefined;
  set(state: State, tokens: TokenSet): unknown;
}

/** A compiled constraint and what its matchers share. */
export interface CompiledGrammar {
  readonly automaton: Automaton;
  readonly vocabulary: GrammarVocabulary;
  readonly allowedTokens: AllowedTokens;
  /** Writes a text inside an answer as the model would. */
  encode(text: string): readonly number[];
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

  /**
   * The tokens that may follow: bit `id % 32` of word `id >> 5`. Not to be changed. Without those that end the sequence.
   * Throws `ServeError` if they take too long to find.
   */
  allowed(): TokenSet {
    const { allowedTokens, automaton, vocabulary } = this.#grammar;
    const known = allowedTokens.get(this.#state);
    if (known) return known;
    const found = this.#guarded(() => vocabulary.allowed(automaton, this.#state, this.#work));
    allowedTokens.set(this.#state, found);
    return found;
  }

  /** Whether the text may end here. */
  get canEnd(): boolean {
    return this.#state.canEnd;
  }

  /** Whether nothing may follow. */
  get isComplete(): boolean {
    return isComplete(this.#state);
  }

  /** Adds the next token, which must be allowed. */
  accept(id: number): void {
    this.#work.places = Math.max(-WORK.atStart, this.#work.places - WORK.perToken);
    const next = this.#guarded(() => this.#after(this.#state, id));
    if (!next) throw new ServeError('internal_error', 'A token was generated that is not allowed.');
    this.#state = next;
  }

  /**
   * The tokens of the only text that may follow, as the model would write it. The last one is left out if a longer token
   * could begin with it: the model decides then.
   */
  forced(): { readonly ids: readonly number[]; readonly isEnd: boolean } {
    if (this.#state.forcedByte < 0) return NOT_FORCED;
    return this.#guarded(() => {
      const text = this.#forcedText();
      const ids = [...this.#grammar.encode(text)];
      const states = this.#statesAfter(ids);
      if (!states) return NOT_FORCED; // the tokenizer does not write this text inside an answer
      const { automaton, vocabulary } = this.#grammar;
      const [last, state] = [ids.at(-1), states.at(-1)];
      if (last === undefined || !state) return NOT_FORCED;
      if (vocabulary.canExtend(last, automaton, state, this.#work)) ids.pop();
      return { ids, isEnd: ids.length === states.length && isComplete(state) };
    });
  }

  #after(state: State, id: number): State | null {
    const { automaton, vocabulary } = this.#grammar;
    return automaton.stepAll(state, vocabulary.bytesOf(id), this.#work);
  }

  /** The state after each token; undefined if they are not allowed. */
  #statesAfter(ids: readonly number[]): State[] | undefined {
    const states: State[] = [];
    let state = this.#state;
    for (const id of ids) {
      const next = this.#after(state, id);
      if (!next || this.#grammar.vocabulary.bytesOf(id).length === 0) return undefined;
      states.push(next);
      state = next;
    }
    return states;
  }

  /** Without a character that is not complete. */
  #forcedText(): string {
    const bytes: number[] = [];
    let state = this.#state;
    while (state.forcedByte >= 0 && bytes.length < MAX_FORCED_BYTES) {
      bytes.push(state.forcedByte);
      state = this.#grammar.automaton.step(state, state.forcedByte, this.#work)!;
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes), {
      stream: true,
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

function isComplete({ canEnd, places }: State): boolean {
  return canEnd && places.length === 0;
}
