// Keeps words out of a text: finds the tokens that would complete one. It works on bytes, because a word may be split into
// tokens in any way, or be only part of a token. docs/controlling-answers.md defines when a word counts.
import type { LRUCache } from 'lru-cache';
import { ServeError } from '../common/errors.ts';
import { buildSearch, type SearchPosition, searchStep } from '../common/text-search.ts';
import { isControlToken, LAST_TEXT_BYTE } from './utf8-ranges.ts';
import type { GrammarVocabulary, TokenReader } from './vocabulary.ts';

/** A character that continues a word. Scripts without spaces between words have none: there, a word can start anywhere. */
const WORD_CHARACTER =
  /^(?![\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmr}\p{scx=Mymr}])[\p{L}\p{M}\p{N}_]/u;

/** Marks, in the searched texts, each character that is not preceded by a word character. No byte has this value. */
const BOUNDARY = 256;

/** A state takes 1 kB. A request's words have up to 16,000. Beyond the limit, all are forgotten. */
const MAX_STATES = 32_768;

/** The aspects of the text so far that matter to the words. */
export interface BanState {
  readonly position: SearchPosition;
  /** The bytes of an incomplete character. */
  readonly partial: readonly number[];
  /** Whether the last complete character continues a word. */
  readonly isWord: boolean;
  /** Whether the text ends with a banned word, which only a following word character can turn into another one. */
  readonly isOpen: boolean;
  /** By byte. null: the byte completes a word. */
  next: (BanState | null | undefined)[];
}

/** A cache of the forbidden tokens by state. */
type ForbiddenTokens = Pick<LRUCache<BanState, ReadonlySet<number>>, 'get' | 'set'>;

/** Banned words, compiled for a model's tokens. Sequences share it. */
export class WordBan implements TokenReader<BanState> {
  readonly start: BanState;
  readonly #vocabulary: GrammarVocabulary;
  readonly #cache: ForbiddenTokens;
  readonly #root: SearchPosition;
  readonly #positionIds: ReadonlyMap<SearchPosition, number>;
  /** By word: whether it ends with a word character. */
  readonly #endsWithWord: readonly boolean[];
  readonly #states = new Map<string, BanState>();
  #atStart: ReadonlySet<number> | undefined;

  /** @param words texts with a character other than a space */
  constructor(words: readonly string[], vocabulary: GrammarVocabulary, cache: ForbiddenTokens) {
    this.#vocabulary = vocabulary;
    this.#cache = cache;
    const positions = buildSearch(words.map(searchedText));
    this.#root = positions[0];
    this.#positionIds = new Map(positions.map((position, i) => [position, i]));
    this.#endsWithWord = words.map((word) => isWordCharacter([...word].at(-1)!));
    const position = this.#root;
    this.start = this.#intern({ position, partial: [], isWord: false, isOpen: false });
  }

  /** Returns the tokens that would complete a word after this state. */
  forbidden(state: BanState): ReadonlySet<number> {
    this.#atStart ??= this.#difference(new Set(), [this.start, ANY_TEXT]);
    if (state === this.start) return this.#atStart;
    const cached = this.#cache.get(state);
    if (cached) return cached;
    // Most tokens lead to the same state from here as from the start. Only the others are read.
    const tokens = this.#difference(this.#atStart, [state, this.start]);
    this.#cache.set(state, tokens);
    return tokens;
  }

  /** Returns the state after a token, which must not be forbidden. A control token is not text. */
  after(state: BanState, id: number): BanState {
    const bytes = this.#vocabulary.bytesOf(id);
    if (isControlToken(bytes)) return state;
    let next: BanState | null = state;
    for (const byte of bytes) next &&= this.step(next, byte);
    if (!next) throw new ServeError('internal_error', 'A forbidden token was generated.');
    return next;
  }

  canEndToken({ isOpen }: BanState): boolean {
    return !isOpen;
  }

  step(state: BanState, byte: number): BanState | null {
    if (state === ANY_TEXT) return ANY_TEXT;
    const known = state.next[byte];
    if (known !== undefined) return known;
    const next = this.#compute(state, byte);
    state.next[byte] = next;
    return next;
  }

  #compute(state: BanState, byte: number): BanState | null {
    let { position, partial, isWord, isOpen } = state;
    const continues = partial.length > 0 && (byte & 0xc0) === 0x80;
    if (!continues) {
      if (partial.length > 0) {
        if (isOpen) return null;
        isWord = false; // decoders show a truncated character as U+FFFD
      }
      partial = [];
      if (!isWord) position = searchStep(this.#root, position, BOUNDARY);
    }
    position = searchStep(this.#root, position, byte);
    partial = [...partial, byte];
    if (partial.length < characterLength(partial[0]!)) {
      return this.#intern({ position, partial, isWord: false, isOpen });
    }
    isWord = isWordCharacter(Buffer.from(partial).toString());
    if (isOpen && !isWord) return null;
    isOpen = position.match !== undefined;
    if (isOpen && !this.#endsWithWord[position.match!]) return null;
    return this.#intern({ position, partial: [], isWord, isOpen });
  }

  #intern(state: Omit<BanState, 'next'>): BanState {
    const { position, partial, isWord, isOpen } = state;
    const key = [this.#positionIds.get(position), isWord, isOpen, ...partial].join();
    const existing = this.#states.get(key);
    if (existing) return existing;
    if (this.#states.size >= MAX_STATES) this.#forget();
    const created = { ...state, next: [] };
    this.#states.set(key, created);
    return created;
  }

  /** States that are in use stay valid. They only lose their transitions. */
  #forget(): void {
    for (const state of this.#states.values()) state.next = [];
    this.#states.clear();
  }

  #difference(base: ReadonlySet<number>, states: readonly [BanState, BanState]) {
    let tokens: Set<number> | undefined;
    this.#vocabulary.compareStates(this, states, (id, isRefused) => {
      tokens ??= new Set(base);
      if (isRefused) tokens.add(id);
      else tokens.delete(id);
    });
    return tokens ?? base;
  }
}

/** The state of a text after which anything may follow. */
const ANY_TEXT: BanState = {
  position: buildSearch([])[0],
  partial: [],
  isWord: false,
  isOpen: false,
  next: [],
};

/** The words that one sequence must not generate. */
export class BannedWords {
  readonly #ban: WordBan;
  #state: BanState;

  constructor(ban: WordBan) {
    this.#ban = ban;
    this.#state = ban.start;
  }

  /** See `TokenBan`. */
  forbidden(): ReadonlySet<number> {
    return this.#ban.forbidden(this.#state);
  }

  /** Adds the next token. */
  accept(id: number): void {
    this.#state = this.#ban.after(this.#state, id);
  }
}

/** Returns the bytes of a word, with a mark at each required boundary. */
function searchedText(word: string): number[] {
  const characters = [...word];
  return characters.flatMap((character, i) => {
    const before = characters[i - 1];
    // The character before a word matters only if the word starts with a word character.
    const isMarked = before === undefined ? isWordCharacter(character) : !isWordCharacter(before);
    return [...(isMarked ? [BOUNDARY] : []), ...Buffer.from(character)];
  });
}

function isWordCharacter(character: string): boolean {
  return WORD_CHARACTER.test(character);
}

/** Returns the byte length of a character, given its first byte. A byte that cannot start a character counts as one. */
function characterLength(first: number): number {
  if (first < 0xc0 || first > LAST_TEXT_BYTE) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}
