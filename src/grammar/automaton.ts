// Matches bytes against an NFA. A state contains every position that the text so far may have led to, with the rules to
// return to. States and their transitions are computed on demand and remembered.

import { assert } from '../common/assert.ts';
import { GrammarError } from './grammar-error.ts';
import { firstByte, type GroupedEdges, lastByte, type Nfa, ruleOf, targetOf } from './nfa.ts';
import { LAST_TEXT_BYTE } from './utf8-ranges.ts';

/** The calls that enclose a position, innermost first. Equal stacks are the same object. */
interface Stack {
  readonly id: number;
  /** The node to return to. */
  readonly node: number;
  readonly rest: Stack | undefined;
}

interface Position {
  readonly node: number;
  readonly stack: Stack | undefined;
}

/** All positions that the text so far may have led to. */
export interface State {
  /** The positions that consume a byte. */
  readonly positions: readonly Position[];
  /** Whether the text may end here. */
  readonly canEnd: boolean;
  /** The only byte that may follow, or -1. Never a byte of a control token. */
  readonly forcedByte: number;
  /** By class of bytes. null: no byte of the class may follow. */
  next: (State | null | undefined)[];
}

/** Counts work, in visited positions. 1,000 take about 0.3 ms. */
export interface Work {
  visits: number;
  /** A search pauses when the work reaches this limit. Absent: it never pauses. */
  limit?: number;
}

/** A search that can pause in between. */
export type Search<Found> = Generator<void, Found, void>;

/** Returns the outcome of a search without a work limit. */
export function found<Found>(search: Search<Found>): Found {
  const { value, done } = search.next();
  assert(done, 'a search without a limit does not wait');
  return value;
}

/** Whether a search has to pause before it continues. */
export function isAtLimit({ visits, limit }: Work): boolean {
  return limit !== undefined && visits >= limit;
}

/** Pauses while the work is at its limit. */
export function* pause(work: Work): Search<void> {
  while (isAtLimit(work)) yield;
}

/**
 * The most positions of states and calls that an automaton remembers; they take up to 8 MB. The transition table of a state
 * counts as `STATE_SIZE`. JSON schemas have a few hundred states with a few positions each. Beyond the limit, all states are
 * forgotten.
 */
const MAX_REMEMBERED = 2 ** 17;
const STATE_SIZE = 32;
/** The most memory observed per position of a state, including its share of the state. */
export const POSITION_BYTES = 64;
/** A text that can be read in more ways than this is too ambiguous. JSON schemas stay below 100. */
const MAX_POSITIONS = 4096;
/** The edges that take as long to try as one position takes to visit. */
const EDGES_PER_VISIT = 16;
/** The edges that one byte may try, because nothing interrupts that. They take up to 10 ms. */
const MAX_EDGES = 8 * MAX_POSITIONS;

/** The fault of a grammar that can read one text in too many ways. */
export const TOO_AMBIGUOUS =
  'is too ambiguous: a text can be read in too many ways. Avoid repeats within repeats, such as (a*)*, and many optional parts in a row';

/** The automaton of an NFA. */
export class Automaton {
  readonly start: State;
  /** One byte of each class that edges distinguish. */
  readonly representatives: readonly number[];
  readonly #nfa: Nfa;
  /** Nodes at which a rule ends. */
  readonly #isEnd: Uint8Array;
  /** Nodes from which only the end of their rule can be reached. */
  readonly #isReturn: Uint8Array;
  readonly #classOf = new Uint8Array(256);
  readonly #states = new Map<string, State>();
  readonly #stacks = new Map<number, Stack>();
  /** The states whose transition tables are in use. A few may be forgotten states that a sequence was still in. */
  readonly #linked = new Set<State>();
  #remembered = 0;
  #lastStack = 0;

  constructor(nfa: Nfa) {
    this.#nfa = nfa;
    this.#isEnd = new Uint8Array(nfa.nodes);
    for (const end of nfa.ends) this.#isEnd[end] = 1;
    this.#isReturn = findReturns(nfa, this.#isEnd);
    this.representatives = this.#classifyBytes();
    const first = { node: nfa.starts[0]!, stack: undefined };
    this.start = this.#close([first], { visits: 0 });
  }

  /** The amount that is remembered, in positions. */
  get size(): number {
    return this.#remembered;
  }

  /** Returns the state after another byte, or null if the byte may not follow. Undefined if `step` has to compute it. */
  known(state: State, byte: number): State | null | undefined {
    return state.next[this.#classOf[byte]!];
  }

  /** Returns the state after another byte, or null if the byte may not follow. Throws `GrammarError` if it is too ambiguous. */
  step(state: State, byte: number, work: Work): State | null {
    const next = this.known(state, byte);
    return next === undefined ? this.#compute(state, byte, work) : next;
  }

  /** Finds the state after several bytes, or null if they may not follow. Throws `GrammarError` if it is too ambiguous. */
  *stepAll(from: State, bytes: Iterable<number>, work: Work): Search<State | null> {
    let state: State | null = from;
    for (const byte of bytes) {
      if (this.known(state, byte) === undefined) yield* pause(work);
      state = this.step(state, byte, work);
      if (!state) return null;
    }
    return state;
  }

  #compute(state: State, byte: number, work: Work): State | null {
    const { at, edges } = this.#nfa.bytes;
    const targets: Position[] = [];
    let tried = 0;
    for (const { node, stack } of state.positions) {
      const end = at[node + 1]!;
      tried += end - at[node]!;
      for (let i = at[node]!; i < end; i++) {
        const edge = edges[i]!;
        if (byte >= firstByte(edge) && byte <= lastByte(edge))
          targets.push({ node: targetOf(edge), stack });
      }
    }
    if (tried > MAX_EDGES) throw new GrammarError(TOO_AMBIGUOUS);
    work.visits += state.positions.length + tried / EDGES_PER_VISIT;
    const next = targets.length === 0 ? null : this.#close(targets, work);
    state.next[this.#classOf[byte]!] = next;
    this.#linked.add(state);
    return next;
  }

  /** Returns the state of all positions that can be reached without a byte. */
  #close(positions: readonly Position[], work: Work): State {
    const { nodes, starts, bytes, skips, calls } = this.#nfa;
    const open = [...positions];
    const visited = new Set<number>();
    const byKey = new Map<number, Position>();
    let canEnd = false;
    let tried = 0;
    for (let position = open.pop(); position; position = open.pop()) {
      const { node, stack } = position;
      const key = (stack?.id ?? 0) * nodes + node;
      if (visited.has(key)) continue;
      visited.add(key);
      const [lastSkip, lastCall] = [skips.at[node + 1]!, calls.at[node + 1]!];
      tried += lastSkip - skips.at[node]! + lastCall - calls.at[node]!;
      if (visited.size > MAX_POSITIONS || tried > MAX_EDGES) throw new GrammarError(TOO_AMBIGUOUS);
      if (bytes.at[node]! < bytes.at[node + 1]!) byKey.set(key, position);
      for (let i = skips.at[node]!; i < lastSkip; i++) open.push({ node: skips.edges[i]!, stack });
      for (let i = calls.at[node]!; i < lastCall; i++) {
        const [rule, to] = [ruleOf(calls.edges[i]!), targetOf(calls.edges[i]!)];
        open.push({
          node: starts[rule]!,
          stack: this.#isReturn[to] ? stack : this.#push(to, stack),
        });
      }
      if (!this.#isEnd[node]) continue;
      if (stack) open.push({ node: stack.node, stack: stack.rest });
      else canEnd = true;
    }
    work.visits += visited.size + tried / EDGES_PER_VISIT;
    return this.#intern(byKey, canEnd);
  }

  #intern(kept: ReadonlyMap<number, Position>, canEnd: boolean): State {
    const key = `${canEnd} ${[...kept.keys()].sort((a, b) => a - b)}`;
    const known = this.#states.get(key);
    if (known) return known;
    const positions = [...kept.values()];
    if (this.#remembered + positions.length > MAX_REMEMBERED) this.#forget();
    this.#remembered += STATE_SIZE + positions.length;
    const state: State = {
      positions,
      canEnd,
      forcedByte: this.#forcedByte(positions, canEnd),
      next: [],
    };
    this.#states.set(key, state);
    return state;
  }

  /** States that are in use stay valid. They only lose their transitions. */
  #forget(): void {
    for (const state of this.#linked) state.next = [];
    this.#linked.clear();
    this.#states.clear();
    this.#stacks.clear();
    this.#remembered = 0;
  }

  #push(node: number, rest: Stack | undefined): Stack {
    const key = (rest?.id ?? 0) * this.#nfa.nodes + node;
    const known = this.#stacks.get(key);
    if (known) return known;
    this.#remembered++;
    const stack = { id: ++this.#lastStack, node, rest };
    this.#stacks.set(key, stack);
    return stack;
  }

  #forcedByte(positions: readonly Position[], canEnd: boolean): number {
    if (canEnd) return -1;
    const { at, edges } = this.#nfa.bytes;
    let forced = -1;
    for (const { node } of positions) {
      for (let i = at[node]!; i < at[node + 1]!; i++) {
        const first = firstByte(edges[i]!);
        const isText = first === lastByte(edges[i]!) && first <= LAST_TEXT_BYTE;
        if (!isText || (forced !== -1 && forced !== first)) return -1;
        forced = first;
      }
    }
    return forced;
  }

  /** Bytes that no edge distinguishes share a class, which keeps the transition tables short. */
  #classifyBytes(): number[] {
    const isStart = new Uint8Array(257);
    for (const edge of this.#nfa.bytes.edges) {
      isStart[firstByte(edge)] = 1;
      isStart[lastByte(edge) + 1] = 1;
    }
    const representatives: number[] = [];
    for (let byte = 0; byte < 256; byte++) {
      if (byte === 0 || isStart[byte]) representatives.push(byte);
      this.#classOf[byte] = representatives.length - 1;
    }
    return representatives;
  }
}

/** A call that returns to such a node needs no stack. Recursion at the end of a rule therefore needs none either. */
function findReturns({ nodes, bytes, skips, calls }: Nfa, isRuleEnd: Uint8Array): Uint8Array {
  const isReturn = new Uint8Array(nodes);
  const isKnown = new Uint8Array(nodes);
  const has = ({ at }: GroupedEdges, node: number) => at[node + 1]! > at[node]!;
  for (let start = 0; start < nodes; start++) {
    const way: number[] = [];
    let node = start;
    for (; !isKnown[node]; node = skips.edges[skips.at[node]!]!) {
      isKnown[node] = 1;
      way.push(node);
      const isFree = !has(bytes, node) && !has(calls, node);
      const isEnd = isRuleEnd[node] === 1;
      isReturn[node] = Number(isFree && isEnd && !has(skips, node));
      if (!isFree || isEnd || skips.at[node + 1]! - skips.at[node]! !== 1) break;
    }
    for (const passed of way) isReturn[passed] = isReturn[node]!;
  }
  return isReturn;
}
