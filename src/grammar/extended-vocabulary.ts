// A model's vocabulary extended by an adapter's tokens, which are few and checked one by one.
import { largest } from '../common/long-arrays.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type { Automaton, Search, State, Work } from './automaton.ts';
import { controlTokenBytes, isControlToken } from './utf8-ranges.ts';
import {
  canEndToken,
  type GrammarVocabulary,
  type TokenBytes,
  type TokenReader,
  type TokenSet,
  type VisitDifference,
} from './vocabulary.ts';

/** The base's vocabulary with an adapter's tokens added. */
export class ExtendedVocabulary implements GrammarVocabulary {
  readonly size: number;
  readonly #base: GrammarVocabulary;
  readonly #added: ReadonlyMap<number, Uint8Array>;
  readonly #words: number;

  /** @param tokenizer returns the bytes of the added tokens */
  constructor(base: GrammarVocabulary, tokenizer: TokenBytes, { tokens }: AddedTokens) {
    this.#base = base;
    this.size = base.size + tokens.length;
    this.#added = new Map(
      tokens.map(({ id, special }) => [
        id,
        special ? Uint8Array.from(controlTokenBytes(id)) : tokenizer.tokenBytes(id),
      ]),
    );
    this.#words = (largest([0, ...this.#added.keys()]) >> 5) + 1;
  }

  bytesOf(id: number): Uint8Array {
    return this.#added.get(id) ?? this.#base.bytesOf(id);
  }

  *allowed(automaton: Automaton, state: State, work: Work): Search<TokenSet> {
    const ofBase = yield* this.#base.allowed(automaton, state, work);
    const allowed = new Uint32Array(Math.max(ofBase.length, this.#words));
    allowed.set(ofBase);
    for (const [id, bytes] of this.#added) {
      const bit = 1 << (id & 31);
      if (yield* accepts(automaton, state, bytes, work)) allowed[id >> 5]! |= bit;
      else allowed[id >> 5]! &= ~bit;
    }
    return allowed;
  }

  *canExtend(id: number, automaton: Automaton, state: State, work: Work): Search<boolean> {
    if (this.#added.has(id) || (yield* this.#base.canExtend(id, automaton, state, work)))
      return true;
    const start = this.bytesOf(id);
    for (const bytes of this.#added.values()) {
      const isLonger = bytes.length > start.length && start.every((byte, i) => byte === bytes[i]);
      if (isLonger && (yield* accepts(automaton, state, bytes.subarray(start.length), work)))
        return true;
    }
    return false;
  }

  compareStates<S extends object>(
    reader: TokenReader<S>,
    states: readonly [S, S],
    visit: VisitDifference,
  ): void {
    this.#base.compareStates(reader, states, (id, isRefused) => {
      if (!this.#added.has(id)) visit(id, isRefused);
    });
    for (const [id, bytes] of this.#added) {
      if (isControlToken(bytes)) continue;
      const [isRefused, otherIsRefused] = states.map((state) => {
        const end = bytes.reduce<S | null>((at, byte) => at && reader.step(at, byte), state);
        return !canEndToken(reader, end);
      });
      if (isRefused !== otherIsRefused) visit(id, isRefused!);
    }
  }
}

/** Whether these bytes may follow. */
function* accepts(
  automaton: Automaton,
  state: State,
  bytes: Uint8Array,
  work: Work,
): Search<boolean> {
  return bytes.length > 0 && (yield* automaton.stepAll(state, bytes, work)) !== null;
}
