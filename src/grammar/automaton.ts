// Matches bytes against a network. A state holds every place that the text so far may have led to, with the rules to return
// to. States and their transitions are computed when they are first needed, and remembered.

import type { Network } from './network.ts';
import { GrammarError } from './text-pattern.ts';
import { LAST_TEXT_BYTE } from './utf8-ranges.ts';

/** The calls that a place is in, innermost first. Equal stacks are the same object. */
interface Stack {
  readonly id: number;
  /** The node to return to. */
  readonly node: number;
  readonly rest: Stack | undefined;
}

interface Place {
  readonly node: number;
  readonly stack: Stack | undefined;
}

/** All places that the text so far may have led to. */
export interface State {
  /** The places that consume a byte. */
  readonly places: readonly Place[];
  /** Whether the text may end here. */
  readonly canEnd: boolean;
  /** The only byte that may follow, or -1. Not a byte of a control token. */
  readonly forcedByte: number;
  /** By class of bytes. null: no such byte may follow. */
  next: (State | null | undefined)[];
}

/** Sums up the work of a caller, in places that were visited. */
export interface Work {
  places: number;
}

/** A state takes about 1 kB. JSON schemas have some hundred. When there are more, all are forgotten. */
const MAX_STATES = 4096;
/** A text that can be read in more ways at once is too ambiguous. JSON schemas have less than 100. */
const MAX_PLACES = 4096;

/** The fault of a text that can be read in too many ways. */
export const TOO_AMBIGUOUS =
  'is too ambiguous: a text can be read in too many ways. Avoid repeats within repeats, such as (a*)*, and many optional parts in a row';

/** The automaton of a network. */
export class Automaton {
  readonly start: State;
  readonly #network: Network;
  readonly #endOf: ReadonlySet<number>;
  /** Nodes from which only the end of their rule can be reached. */
  readonly #isReturn: Uint8Array;
  readonly #classOf = new Uint8Array(256);
  readonly #states = new Map<string, State>();
  readonly #stacks = new Map<number, Stack>();
  #lastStack = 0;

  constructor(network: Network) {
    this.#network = network;
    this.#endOf = new Set(network.rules.map(({ end }) => end));
    this.#isReturn = findReturns(network, this.#endOf);
    this.#classifyBytes();
    const first = { node: network.rules[0]!.start, stack: undefined };
    this.start = this.#close([first], { places: 0 });
  }

  /** The state after another byte, or null if the byte may not follow. Throws `GrammarError` if it is too ambiguous. */
  step(state: State, byte: number, work: Work): State | null {
    const known = state.next[this.#classOf[byte]!];
    return known === undefined ? this.#compute(state, byte, work) : known;
  }

  /** The state after several bytes, or null if they may not follow. Throws `GrammarError` if it is too ambiguous. */
  stepAll(from: State, bytes: Uint8Array, work: Work): State | null {
    let state: State | null = from;
    for (const byte of bytes) {
      state = this.step(state, byte, work);
      if (!state) return null;
    }
    return state;
  }

  #compute(state: State, byte: number, work: Work): State | null {
    const moved: Place[] = [];
    for (const { node, stack } of state.places) {
      for (const { first, last, to } of this.#network.nodes[node]!.bytes) {
        if (byte >= first && byte <= last) moved.push({ node: to, stack });
      }
    }
    work.places += state.places.length;
    const next = moved.length === 0 ? null : this.#close(moved, work);
    state.next[this.#classOf[byte]!] = next;
    return next;
  }

  /** The state of everything that can be reached without a byte. */
  #close(places: readonly Place[], work: Work): State {
    const { nodes, rules } = this.#network;
    const open = [...places];
    const seen = new Set<number>();
    const kept = new Map<number, Place>();
    let canEnd = false;
    for (let place = open.pop(); place; place = open.pop()) {
      const { node, stack } = place;
      const key = (stack?.id ?? 0) * nodes.length + node;
      if (seen.has(key)) continue;
      if (seen.size >= MAX_PLACES) throw new GrammarError(TOO_AMBIGUOUS);
      seen.add(key);
      const { bytes, skips, calls } = nodes[node]!;
      if (bytes.length > 0) kept.set(key, place);
      for (const to of skips) open.push({ node: to, stack });
      for (const { rule, to } of calls) {
        open.push({
          node: rules[rule]!.start,
          stack: this.#isReturn[to] ? stack : this.#push(to, stack),
        });
      }
      if (!this.#endOf.has(node)) continue;
      if (stack) open.push({ node: stack.node, stack: stack.rest });
      else canEnd = true;
    }
    work.places += seen.size;
    return this.#intern(kept, canEnd);
  }

  #intern(kept: ReadonlyMap<number, Place>, canEnd: boolean): State {
    const key = `${canEnd} ${[...kept.keys()].sort((a, b) => a - b)}`;
    const known = this.#states.get(key);
    if (known) return known;
    if (this.#states.size >= MAX_STATES) this.#forget();
    const places = [...kept.values()];
    const state: State = { places, canEnd, forcedByte: this.#forcedByte(places, canEnd), next: [] };
    this.#states.set(key, state);
    return state;
  }

  /** States that are still in use stay valid. They only lose what follows them. */
  #forget(): void {
    for (const state of this.#states.values()) state.next = [];
    this.#states.clear();
    this.#stacks.clear();
  }

  #push(node: number, rest: Stack | undefined): Stack {
    const key = (rest?.id ?? 0) * this.#network.nodes.length + node;
    const known = this.#stacks.get(key);
    if (known) return known;
    const stack = { id: ++this.#lastStack, node, rest };
    this.#stacks.set(key, stack);
    return stack;
  }

  #forcedByte(places: readonly Place[], canEnd: boolean): number {
    if (canEnd) return -1;
    let forced = -1;
    for (const { node } of places) {
      for (const { first, last } of this.#network.nodes[node]!.bytes) {
        const isText = first === last && first <= LAST_TEXT_BYTE;
        if (!isText || (forced !== -1 && forced !== first)) return -1;
        forced = first;
      }
    }
    return forced;
  }

  /** Bytes that no edge tells apart share a class, which keeps the tables of transitions short. */
  #classifyBytes(): void {
    const isStart = new Uint8Array(257);
    for (const { bytes } of this.#network.nodes) {
      for (const { first, last } of bytes) {
        isStart[first] = 1;
        isStart[last + 1] = 1;
      }
    }
    let current = 0;
    for (let byte = 0; byte < 256; byte++) {
      if (byte > 0 && isStart[byte]) current++;
      this.#classOf[byte] = current;
    }
  }
}

/** A call that returns to such a node needs no stack, so recursion at the end of a rule needs none either. */
function findReturns({ nodes }: Network, ends: ReadonlySet<number>): Uint8Array {
  const isReturn = new Uint8Array(nodes.length);
  const isKnown = new Uint8Array(nodes.length);
  for (let start = 0; start < nodes.length; start++) {
    const way: number[] = [];
    let node = start;
    for (; !isKnown[node]; node = nodes[node]!.skips[0]!) {
      isKnown[node] = 1;
      way.push(node);
      const { bytes, skips, calls } = nodes[node]!;
      const isEnd = bytes.length + calls.length + skips.length === 0 && ends.has(node);
      isReturn[node] = Number(isEnd);
      if (bytes.length + calls.length > 0 || skips.length !== 1 || ends.has(node)) break;
    }
    for (const passed of way) isReturn[passed] = isReturn[node]!;
  }
  return isReturn;
}
