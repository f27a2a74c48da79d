// Matches characters against one expression, as a deterministic automaton that is built state by state.

import { charge } from './budget.ts';
import { GrammarError } from './grammar-error.ts';
import {
  type CharRange,
  MAX_CODE_POINT,
  type PatternNode,
  type TextPattern,
} from './text-pattern.ts';

const MAX_NFA_NODES = 20_000;

/** The memory of a state, of a number in it, as such and in its name, and of a move to another one. */
const STATE_BYTES = 128;
const NUMBER_BYTES = 16;
const MOVE_BYTES = 40;

/** The state after a text that no longer text can turn into a match. */
export const DEAD = 0;
/** The state before any text. */
export const START = 1;

/** The state after the characters from `first` up to the first of the next move. */
export interface Move {
  readonly first: number;
  readonly to: number;
}

const machines = new WeakMap<TextPattern, TextMachine>();

/** Returns the machine of a pattern. The same pattern has the same one. */
export function machineOf(pattern: TextPattern): TextMachine {
  const machine = machines.get(pattern) ?? new TextMachine(pattern);
  machines.set(pattern, machine);
  return machine;
}

/** One expression, determinized state by state. A state is a set of nodes of the nondeterministic automaton. */
class TextMachine {
  readonly #nfa: Nfa;
  readonly #sets: (readonly number[])[] = [[]];
  readonly #known = new Map<string, number>([['', DEAD]]);
  readonly #moves: (readonly Move[])[] = [];

  constructor(pattern: TextPattern) {
    this.#nfa = new Nfa(pattern);
    this.#enter([this.#nfa.start]);
  }

  /** Whether a text that ends in this state matches. */
  isEnd(state: number): boolean {
    return this.#sets[state]!.includes(this.#nfa.end);
  }

  /** Returns the next states. The first move begins at character 0. */
  moves(state: number): readonly Move[] {
    this.#moves[state] ??= this.#findMoves(this.#sets[state]!);
    return this.#moves[state];
  }

  #findMoves(nodes: readonly number[]): Move[] {
    const starts = new Set([0, ...nodes.flatMap((node) => this.#nfa.boundaries(node))]);
    const moves: Move[] = [];
    for (const first of [...starts].sort((a, b) => a - b)) {
      if (first > MAX_CODE_POINT) break;
      const to = this.#enter(nodes.flatMap((node) => this.#nfa.step(node, first)));
      if (moves.at(-1)?.to !== to) moves.push({ first, to });
    }
    charge('expression', MOVE_BYTES * moves.length);
    return moves;
  }

  #enter(nodes: readonly number[]): number {
    const closed = this.#nfa.close(nodes);
    const key = closed.join();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    charge('expression', STATE_BYTES + NUMBER_BYTES * closed.length);
    const state = this.#sets.push(closed) - 1;
    this.#known.set(key, state);
    return state;
  }
}

interface NfaNode {
  readonly skips: number[];
  ranges: readonly CharRange[];
  to: number;
}

/** A nondeterministic automaton. A node has either skips or characters. */
class Nfa {
  readonly start: number;
  readonly end: number;
  readonly #nodes: NfaNode[] = [];

  constructor(pattern: TextPattern) {
    this.start = this.#node();
    this.end = this.#add(pattern, this.start);
  }

  step(node: number, point: number): number[] {
    const { ranges, to } = this.#nodes[node]!;
    return ranges.some(([first, last]) => first <= point && point <= last) ? [to] : [];
  }

  boundaries(node: number): number[] {
    return this.#nodes[node]!.ranges.flatMap(([first, last]) => [first, last + 1]);
  }

  /** Returns the nodes that consume a character or end the text, in order. */
  close(nodes: readonly number[]): number[] {
    const reached = new Set(nodes);
    for (const node of reached) for (const to of this.#nodes[node]!.skips) reached.add(to);
    const kept = [...reached].filter(
      (node) => node === this.end || this.#nodes[node]!.ranges.length > 0,
    );
    return kept.sort((a, b) => a - b);
  }

  #node(): number {
    if (this.#nodes.length >= MAX_NFA_NODES)
      throw new GrammarError('is too large. Lower the counts');
    charge('expression', STATE_BYTES);
    return this.#nodes.push({ skips: [], ranges: [], to: 0 }) - 1;
  }

  #skip(from: number, to: number): void {
    charge('expression', NUMBER_BYTES);
    this.#nodes[from]!.skips.push(to);
  }

  /** Adds a pattern after a node without edges. Returns the node after it, which has none either. */
  #add(pattern: TextPattern, from: number): number {
    switch (pattern.kind) {
      case 'text':
        return [...pattern.text].reduce((at, character) => {
          const point = character.codePointAt(0)!;
          return this.#consume([[point, point]], at);
        }, from);
      case 'chars':
        return this.#consume(pattern.ranges, from);
      case 'sequence':
        return pattern.items.reduce((at, item) => this.#add(item, at), from);
      case 'choice': {
        const end = this.#node();
        for (const option of pattern.options) {
          const start = this.#node();
          this.#skip(from, start);
          this.#skip(this.#add(option, start), end);
        }
        return end;
      }
      case 'repeat':
        return this.#repeat(pattern, from);
      case 'graph':
        return this.#graph(pattern.nodes, from);
      default:
        throw new GrammarError('cannot be combined with other strings');
    }
  }

  #consume(ranges: readonly CharRange[], from: number): number {
    const start = this.#node();
    this.#skip(from, start);
    const to = this.#node();
    Object.assign(this.#nodes[start]!, { ranges, to });
    return to;
  }

  #graph(nodes: readonly PatternNode[], from: number): number {
    const own = nodes.map(() => this.#node());
    const end = this.#node();
    this.#skip(from, own[0]!);
    for (const [i, { isEnd, edges }] of nodes.entries()) {
      for (const { item, to } of edges) {
        const start = this.#node();
        this.#skip(own[i]!, start);
        this.#skip(this.#add(item, start), own[to]!);
      }
      if (isEnd) this.#skip(own[i]!, end);
    }
    return end;
  }

  #repeat({ item, min, max }: Extract<TextPattern, { kind: 'repeat' }>, from: number): number {
    let at = from;
    for (let i = 0; i < min; i++) at = this.#add(item, at);
    const end = this.#node();
    if (max === Number.POSITIVE_INFINITY) {
      const loop = this.#node();
      this.#skip(at, loop);
      this.#skip(this.#add(item, loop), loop);
      this.#skip(loop, end);
      return end;
    }
    for (let i = min; i < max; i++) {
      this.#skip(at, end);
      at = this.#add(item, at);
    }
    this.#skip(at, end);
    return end;
  }
}
