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
/** Smaller subtrees are walked node by node. */
const MAX_SMALL_SUBTREE = 16;
/** The nodes of a subtree that is allowed as a whole that take as long as a step. */
const NODES_PER_STEP = 8;
/** The steps after which a walk may pause even if the automaton knows their states. They take 20 us. */
const MAX_FREE_STEPS = 1024;

/** The first bytes of groups that grammars usually treat alike, such as digits. */
const GROUP_STARTS = [...Buffer.from(' !"#,-0:A[\\]a{'), 0x80, LAST_TEXT_BYTE + 1];
/** The group of each byte, as a bit of a number. */
const GROUPS = Uint32Array.from({ length: 256 }, (_, byte) => {
  return 1 << GROUP_STARTS.filter((start) => start <= byte).length;
});
const ALL_GROUPS = 2 ** (GROUP_STARTS.length + 1) - 1;

/** A walk over the nodes in [from, to). `state` precedes the first of them. */
interface Walk {
  readonly automaton: Automaton;
  readonly state: State;
  readonly work: Work;
  readonly from: number;
  readonly to: number;
}

/** The position of a walk. */
interface Cursor {
  node: number;
  /** The states before the node, by depth. */
  readonly states: State[];
  /** A state whose loops have to be found, and the last node for which that was so. */
  entered?: State | undefined;
  asked?: number;
}

/** Called with nodes whose tokens are allowed, in [from, to). Returns whether the walk continues. */
type Visit = (from: number, to: number) => boolean;

/** The tokens of a model, except those without bytes. */
export class Vocabulary {
  readonly size: number;
  readonly #bytesOf: (id: number) => Uint8Array;
  /** By node of the tree, in depth-first order. */
  readonly #bytes: Uint8Array;
  readonly #depths: Uint16Array;
  /** The node after each node's subtree. */
  readonly #ends: Int32Array;
  /** The groups of the bytes below each node. */
  readonly #groupsBelow: Uint32Array;
  /** The groups of bytes after which a state is the same. */
  readonly #loops = new WeakMap<State, number>();
  /** All tokens, in the order of their nodes, and the number of those before each node. */
  readonly #tokens: Int32Array;
  readonly #before: Int32Array;
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
    this.#groupsBelow = new Uint32Array(total);
    this.#tokens = Int32Array.from(tokens, ({ id }) => id);
    this.#before = new Int32Array(total + 1);
    this.#nodes = new Int32Array(size).fill(-1);
    this.#maxDepth = tokens.reduce((max, { bytes }) => Math.max(max, bytes.length), 0);
    const count = this.#build(tokens);
    this.#bytes = this.#bytes.slice(0, count);
    this.#groupSubtrees();
  }

  /** Returns a token's bytes, or the bytes that represent a control token. */
  bytesOf(id: number): Uint8Array {
    return this.#bytesOf(id);
  }

  /** Finds the tokens that may follow a state. Throws `GrammarError` if the grammar is too ambiguous. */
  *allowed(automaton: Automaton, state: State, work: Work): Search<TokenSet> {
    const allowed = new Uint32Array(Math.ceil(this.size / 32));
    const walk = { automaton, state, work, from: 0, to: this.#bytes.length };
    yield* this.#walk(walk, (from, to) => {
      for (let i = this.#before[from]!; i < this.#before[to]!; i++) {
        const id = this.#tokens[i]!;
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
    const walk = { automaton, state, work, from: node + 1, to: this.#ends[node]! };
    yield* this.#walk(walk, (from, to) => {
      isFound = this.#before[to]! > this.#before[from]!;
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
        for (let i = this.#before[node]!; i < this.#before[node + 1]!; i++)
          visit(this.#tokens[i]!, isRefused);
      }
      node++;
    }
  }

  /** Visits the nodes of a subtree that the state allows, until `visit` returns false. */
  *#walk(walk: Walk, visit: Visit): Search<void> {
    const states: State[] = new Array(this.#maxDepth + 1);
    if (walk.from >= walk.to) return;
    states[this.#depths[walk.from]!] = walk.state;
    const cursor: Cursor = { node: walk.from, states };
    // A plain function visits the nodes, because generators are slow.
    while (this.#walkOn(walk, cursor, visit)) {
      if (cursor.entered) this.#loops.set(cursor.entered, yield* findLoops(walk, cursor.entered));
      cursor.entered = undefined;
      yield* pause(walk.work);
    }
  }

  /**
   * Visits nodes until a state has to be computed while the work is at its limit, or until the loops of a state are needed.
   * Returns whether more nodes are left.
   */
  #walkOn({ automaton, work, to }: Walk, cursor: Cursor, visit: Visit): boolean {
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
      let end = this.#ends[node]!;
      if (!next) {
        node = end;
        continue;
      }
      states[depth + 1] = next;
      if (end - node > MAX_SMALL_SUBTREE) {
        const loops = this.#loops.get(next);
        if (loops === undefined && cursor.asked !== node) {
          cursor.entered = next;
          cursor.asked = node;
          break;
        }
        // The automaton may have forgotten the state since then.
        if ((this.#groupsBelow[node]! & ~(loops ?? 0)) !== 0) end = node + 1;
      } else end = node + 1;
      steps += (end - node) / NODES_PER_STEP;
      node = visit(node, end) ? end : to;
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
    for (const [i, { id, bytes }] of tokens.entries()) {
      let shared = 0;
      while (shared < last.length && shared < bytes.length && last[shared] === bytes[shared])
        shared++;
      for (const node of open.splice(shared)) this.#ends[node] = count;
      for (let depth = shared; depth < bytes.length; depth++) {
        this.#bytes[count] = bytes[depth]!;
        this.#depths[count] = depth;
        this.#before[count] = i;
        open.push(count++);
      }
      this.#nodes[id] = open.at(-1)!;
      last = bytes;
    }
    for (const node of open) this.#ends[node] = count;
    this.#before[count] = tokens.length;
    return count;
  }

  #groupSubtrees(): void {
    for (let node = this.#bytes.length - 1; node >= 0; node--) {
      for (let child = node + 1; child < this.#ends[node]!; child = this.#ends[child]!)
        this.#groupsBelow[node]! |= GROUPS[this.#bytes[child]!]! | this.#groupsBelow[child]!;
    }
  }
}

/** Returns the groups of bytes after which the state is the same, as in a string of any length. */
function* findLoops({ automaton, work }: Walk, state: State): Search<number> {
  let loops = ALL_GROUPS;
  for (let byte = 0; byte < GROUPS.length && loops !== 0; byte++) {
    if (automaton.known(state, byte) === undefined) yield* pause(work);
    if (automaton.step(state, byte, work) !== state) loops &= ~GROUPS[byte]!;
  }
  return loops;
}

/** Whether a token may end in this state. */
export function canEndToken<S extends object>(reader: TokenReader<S>, state: S | null): boolean {
  return state !== null && reader.canEndToken(state);
}
