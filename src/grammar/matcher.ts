// Follows one sequence through an automaton, token by token. Matching pauses when the work budget is spent, and continues
// with the next one.
import type { LRUCache } from 'lru-cache';
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import { UNLIMITED, type WorkBudget } from '../contracts/work-budget.ts';
import { type Automaton, pause, type Search, type State, type Work } from './automaton.ts';
import { GrammarError } from './grammar-error.ts';
import type { GrammarVocabulary, TokenSet } from './vocabulary.ts';

/**
 * The work that all choices of a request may cause: some at the start, and more with each token. For a token, a JSON schema
 * visits up to 4,000 positions, plus a fifth of a position per token of the vocabulary. If its states are known, it visits
 * none.
 */
const WORK = { atStart: 200_000, perToken: 5_000, perVocabularyToken: 1 / 4 };
/** The longest text that is searched for forced tokens. The rest is found when these have been generated. */
const MAX_FORCED_BYTES = 512;
/** The work of encoding one byte, in positions. */
const ENCODE_WORK = 16;

const NOT_FORCED: ForcedTokens = { ids: [], isEnd: false };

/** Tokens without an alternative, and whether the text is complete after them. */
interface ForcedTokens {
  readonly ids: readonly number[];
  readonly isEnd: boolean;
}

/** A compiled constraint, and the data that its matchers share. */
export interface CompiledGrammar {
  readonly automaton: Automaton;
  readonly vocabulary: GrammarVocabulary;
  /** A cache of the tokens that states allow. */
  readonly allowedTokens: Pick<LRUCache<State, TokenSet>, 'get' | 'set'>;
  /** Encodes a text inside a completion as the model would. */
  encode(text: string): readonly number[];
}

/** Returns the work of a new request. */
export function requestWork(): WorkBudget {
  return { left: WORK.atStart };
}

/** The tokens that one sequence may generate. */
export class Matcher {
  readonly #grammar: CompiledGrammar;
  /** Shared by all sequences of a request. */
  readonly #request: WorkBudget;
  #budget = UNLIMITED;
  readonly #work: Work = { visits: 0, limit: 0 };
  #state: State;
  /** The bytes of accepted tokens that are not matched yet. */
  #unread: readonly number[] = [];
  #forced: ForcedTokens | undefined;
  #allowed: TokenSet | undefined;
  /** The search under way. */
  #search: Search<void> | undefined;
  #error: unknown;

  constructor(grammar: CompiledGrammar, request = requestWork()) {
    this.#grammar = grammar;
    this.#request = request;
    this.#state = grammar.automaton.start;
  }

  /**
   * Sets the budget of the next work, possibly shared with others. Before the first one there is no limit.
   */
  setBudget(budget: WorkBudget): void {
    this.#budget = budget;
  }

  /**
   * Searches for the forced or the allowed tokens within the budget. Returns true once they can be read; if false, the
   * next call continues the search. With `allowed`, throws if the grammar takes too long.
   */
  prepare(what: 'forced' | 'allowed'): boolean {
    while (this.#continue()) {
      const isKnown = what === 'forced' ? this.#forced : this.#allowed;
      if (isKnown || this.#error) return true;
      this.#search = what === 'forced' ? this.#findForced() : this.#findAllowed();
    }
    return false;
  }

  /**
   * Returns the tokens that may follow: bit `id % 32` of word `id >> 5`. Do not change it. Tokens that end the sequence are not
   * included. Throws `ServeError` if the search takes too long.
   */
  allowed(): TokenSet {
    assert(this.prepare('allowed'), 'tokens are asked for when they are found');
    if (this.#error) throw this.#error;
    return this.#allowed!;
  }

  /** Returns the tokens without an alternative. */
  forced(): ForcedTokens {
    assert(this.prepare('forced'), 'forced tokens are asked for when they are found');
    return this.#forced ?? NOT_FORCED;
  }

  /** Whether the text may end here. */
  get canEnd(): boolean {
    return this.#unread.length === 0 && this.#state.canEnd;
  }

  /** Whether nothing may follow. */
  get isComplete(): boolean {
    return this.#unread.length === 0 && isComplete(this.#state);
  }

  /** Adds the next token, which must be allowed. */
  accept(id: number): void {
    const { vocabulary } = this.#grammar;
    const more = WORK.perToken + WORK.perVocabularyToken * vocabulary.size;
    this.#request.left = Math.min(WORK.atStart, this.#request.left + more);
    this.#unread = [...this.#unread, ...vocabulary.bytesOf(id)];
    this.#forced = undefined;
    this.#allowed = undefined;
    this.#search = this.#read();
    this.#continue();
  }

  /** Continues the current search within the budget. Returns whether it is finished. */
  #continue(): boolean {
    if (!this.#search) return true;
    this.#work.limit = Math.min(this.#budget.left, this.#request.left);
    try {
      const { done } = this.#search.next();
      this.#account();
      if (!done && this.#request.left > 0) return false;
      if (!done) this.#error = tooAmbiguous();
    } catch (error) {
      this.#account();
      this.#error = error instanceof GrammarError ? tooAmbiguous() : error;
    }
    this.#search = undefined;
    return true;
  }

  #account(): void {
    this.#budget.left -= this.#work.visits;
    this.#request.left -= this.#work.visits;
    this.#work.visits = 0;
  }

  *#read(): Search<void> {
    const { automaton } = this.#grammar;
    const next = yield* automaton.stepAll(this.#state, this.#unread, this.#work);
    if (!next) throw new ServeError('internal_error', 'A token that is not allowed was generated.');
    this.#state = next;
    this.#unread = [];
  }

  /** Stops if another sequence in the same state has found its tokens. */
  *#findAllowed(): Search<void> {
    const { allowedTokens, automaton, vocabulary } = this.#grammar;
    const search = vocabulary.allowed(automaton, this.#state, this.#work);
    for (;;) {
      this.#allowed = allowedTokens.get(this.#state);
      if (this.#allowed) return;
      const { value, done } = search.next();
      if (done) {
        this.#allowed = value;
        allowedTokens.set(this.#state, value);
        return;
      }
      yield;
    }
  }

  /**
   * Finds the tokens of the only text that may follow, encoded as the model would. The last token is dropped if a longer one
   * could start with it: the model decides then.
   */
  *#findForced(): Search<void> {
    this.#forced = this.#state.forcedByte < 0 ? NOT_FORCED : yield* this.#forcedTokens();
  }

  *#forcedTokens(): Search<ForcedTokens> {
    const { automaton, vocabulary, encode } = this.#grammar;
    const text = yield* this.#forcedText();
    yield* pause(this.#work);
    this.#work.visits += ENCODE_WORK * text.length;
    const ids = [...encode(text)];
    const states = yield* this.#statesAfter(ids);
    if (!states) return NOT_FORCED; // the tokenizer does not produce this text inside a completion
    const [last, state] = [ids.at(-1), states.at(-1)];
    if (last === undefined || !state) return NOT_FORCED;
    if (yield* vocabulary.canExtend(last, automaton, state, this.#work)) ids.pop();
    return { ids, isEnd: ids.length === states.length && isComplete(state) };
  }

  /** Returns the state after each token; undefined if they are not allowed. */
  *#statesAfter(ids: readonly number[]): Search<State[] | undefined> {
    const { automaton, vocabulary } = this.#grammar;
    const states: State[] = [];
    let state = this.#state;
    for (const id of ids) {
      const bytes = vocabulary.bytesOf(id);
      const next = yield* automaton.stepAll(state, bytes, this.#work);
      if (!next || bytes.length === 0) return undefined;
      states.push(next);
      state = next;
    }
    return states;
  }

  /** Returns the forced text, without an incomplete character at its end. */
  *#forcedText(): Search<string> {
    const { automaton } = this.#grammar;
    const bytes: number[] = [];
    let state = this.#state;
    while (state.forcedByte >= 0 && bytes.length < MAX_FORCED_BYTES) {
      const byte = state.forcedByte;
      bytes.push(byte);
      state = (yield* automaton.stepAll(state, [byte], this.#work))!;
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes), {
      stream: true,
    });
  }
}

function tooAmbiguous(): ServeError {
  const message =
    'The grammar is too ambiguous: it takes too long to find the tokens that may follow.';
  return new ServeError('invalid_request', message);
}

function isComplete({ canEnd, positions }: State): boolean {
  return canEnd && positions.length === 0;
}
