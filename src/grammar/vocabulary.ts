// A model's tokens as a tree of their bytes. One walk over the tree finds all tokens that a grammar allows.
import {
  type Automaton,
  isAtLimit,
  pause,
  type Search,
  type State,
  type Work,
} from './automaton.ts';
import { controlTokenBytes, LAST_TEXT_BYTE } from './utf8-ranges.ts';

/** A set of tokens: bit `id % 32` of word `id >> 5`. */
export type TokenSet = Uint32Array;

/** The part of a tokenizer that the vocabulary needs. */
export interface TokenBytes {
  readonly vocabSize: number;
  readonly specialIds: ReadonlySet<number>;
  tokenBytes(id: number): Uint8Array;
}

/** The tokens that grammars are matched with. */
export type GrammarVocabulary = Pick<
  Vocabulary,
  'size' | 'bytesOf' | 'allowed' | 'canExtend' | 'compareStates'
>;

/** Reads the bytes of tokens. */
export interface TokenReader<S extends object> {
  /** Returns the state after another byte, or null if the byte must not follow. */
  step(state: S, byte: number): S | null;
  /** Whether a token may end here. */
  canEndToken(state: S): boolean;
}

/** Called with a token that is refused after only one of two states. `isRefused`: after the first one. */
export type VisitDifference = (id: number, isRefused: boolean) => void;

/** The steps of a walk that cost as much as one visited position, if the automaton knows their states. */
const STEPS_PER_VISIT = 16;
/** The steps after which a walk may pause even if the automaton knows their states. They take 20 us. */
const MAX_FREE_STEPS = 1024;

/** A walk over the nodes in [from, to). `state` precedes the first of them. */
interface Walk {
  readonly automaton: Automaton;
  readonly state: State;
  readonly work: Work;
  readonly from: number;
  readonly to: number;
}

/** The tokens of a model, except those without bytes. */
export class Vocabulary {
  readonly size: number;
  readonly #bytesOf: (id: number) => Uint8Array;
  /** By node of the tree, in depth-first order. */
  readonly #bytes: Uint8Array;
  readonly #depths: Uint16Array;
  /** The node after each node's subtree. */
  readonly #ends: Int32Array;
  /** The first token that ends at the node, or -1. */
  readonly #tokens: Int32Array;
  /** By token: the next token with the same bytes, or -1. */
  readonly #twins: Int32Array;
  /** By token: its node, or -1. */
  readonly #nodes: Int32Array;
  readonly #maxDepth: number;

  /** @param size the width of the model's logits */
  constructor(tokenizer: TokenBytes, size: number) {
    this.size = size;
    this.#bytesOf = (id) =>
      tokenizer.specialIds.has(id)
        ? Uint8Array.from(controlTokenBytes(id))
        : tokenizer.tokenBytes(id);
    const tokens: { id: number; bytes: Uint8Array }[] = [];
    for (let id = 0; id < Math.min(size, tokenizer.vocabSize); id++) {
      const bytes = this.#bytesOf(id);
      if (bytes.length > 0) tokens.push({ id, bytes });
    }
    tokens.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    const total = tokens.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#bytes = new Uint8Array(total);
    this.#depths = new Uint16Array(total);
    this.#ends = new Int32Array(total);
    this.#tokens = new Int32Array(total).fill(-1);
    this.#twins = new Int32Array(size).fill(-1);
    this.#nodes = new Int32Array(size).fill(-1);
    this.#maxDepth = tokens.reduce((max, { bytes }) => Math.max(max, bytes.length), 0);
    const count = this.#build(tokens);
    this.#bytes = this.#bytes.slice(0, count);
  }

  /** Returns a token's bytes, or the bytes that represent a control token. */
  bytesOf(id: number): Uint8Array {
    return this.#bytesOf(id);
  }

  /** Finds the tokens that may follow a state. Throws `GrammarError` if the grammar is too ambiguous. */
  *allowed(automaton: Automaton, state: State, work: Work): Search<TokenSet> {
    const allowed = new Uint32Array(Math.ceil(this.size / 32));
    yield* this.#walk({ automaton, state, work, from: 0, to: this.#bytes.length }, (node) => {
      for (let id = this.#tokens[node]!; id >= 0; id = this.#twins[id]!) {
        allowed[id >> 5]! |= 1 << (id & 31);
      }
      return true;
    });
    return allowed;
  }

  /** Whether a longer token may replace this one. `state` is the state after it. */
  *canExtend(id: number, automaton: Automaton, state: State, work: Work): Search<boolean> {
    const node = this.#nodes[id]!;
    if (node < 0) return false;
    let isFound = false;
    yield* this.#walk({ automaton, state, work, from: node + 1, to: this.#ends[node]! }, (next) => {
      isFound = this.#tokens[next]! >= 0;
      return !isFound;
    });
    return isFound;
  }

  /**
   * Visits the tokens that a reader refuses after one of two states but not after the other, except control tokens. If the
   * states soon become the same, this is fast.
   */
  compareStates<S extends object>(
    reader: TokenReader<S>,
    states: readonly [S, S],
    visit: VisitDifference,
  ): void {
    const ones: (S | null)[] = [states[0]];
    const others: (S | null)[] = [states[1]];
    for (let node = 0; node < this.#bytes.length; ) {
      const depth = this.#depths[node]!;
      const byte = this.#bytes[node]!;
      const one = ones[depth]!;
      const other = others[depth]!;
      const first = one && reader.step(one, byte);
      const second = other && reader.step(other, byte);
      const isControl = depth === 0 && byte > LAST_TEXT_BYTE;
      if (first === second || isControl) {
        node = this.#ends[node]!;
        continue;
      }
      ones[depth + 1] = first;
      others[depth + 1] = second;
      const isRefused = !canEndToken(reader, first);
      if (isRefused === canEndToken(reader, second)) {
        for (let id = this.#tokens[node]!; id >= 0; id = this.#twins[id]!) visit(id, isRefused);
      }
      node++;
    }
  }

  /** Visits the nodes of a subtree that the state allows, until `visit` returns false. */
  *#walk(walk: Walk, visit: (node: number) => boolean): Search<void> {
    const states: State[] = new Array(this.#maxDepth + 1);
    if (walk.from >= walk.to) return;
    states[this.#depths[walk.from]!] = walk.state;
    const cursor = { node: walk.from, states };
    // A plain function visits the nodes, because generators are slow.
    while (this.#walkOn(walk, cursor, visit)) yield* pause(walk.work);
  }

  /** Visits nodes until a state has to be computed while the work is at its limit. Returns whether more nodes are left. */
  #walkOn(
    { automaton, work, to }: Walk,
    cursor: { node: number; readonly states: State[] },
    visit: (node: number) => boolean,
  ): boolean {
    const { states } = cursor;
    let { node } = cursor;
    let steps = 0;
    for (; node < to && steps < MAX_FREE_STEPS; steps++) {
      const depth = this.#depths[node]!;
      let next = automaton.known(states[depth]!, this.#bytes[node]!);
      if (next === undefined) {
        if (isAtLimit(work)) break;
        next = automaton.step(states[depth]!, this.#bytes[node]!, work);
      }
      if (!next) {
        node = this.#ends[node]!;
        continue;
      }
      states[depth + 1] = next;
      node = visit(node) ? node + 1 : to;
    }
    work.visits += steps / STEPS_PER_VISIT;
    cursor.node = node;
    return node < to;
  }

  /** Fills the tree. Returns the number of nodes. */
  #build(tokens: readonly { id: number; bytes: Uint8Array }[]): number {
    const open: number[] = []; // the nodes of the last token
    let last: Uint8Array = new Uint8Array();
    let count = 0;
    for (const { id, bytes } of tokens) {
      let shared = 0;
      while (shared < last.length && shared < bytes.length && last[shared] === bytes[shared])
        shared++;
      for (const node of open.splice(shared)) this.#ends[node] = count;
      for (let depth = shared; depth < bytes.length; depth++) {
        this.#bytes[count] = bytes[depth]!;
        this.#depths[count] = depth;
        open.push(count++);
      }
      const node = open.at(-1)!;
      this.#twins[id] = this.#tokens[node]!;
      this.#tokens[node] = id;
      this.#nodes[id] = node;
      last = bytes;
    }
    for (const node of open) this.#ends[node] = count;
    return count;
  }
}

/** Whether a token may end in this state. */
export function canEndToken<S extends object>(reader: TokenReader<S>, state: S | null): boolean {
  return state !== null && reader.canEndToken(state);
}
