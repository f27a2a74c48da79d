// Matches characters against one expression, as a deterministic automaton that is built state by state.
import { charge } from './budget.ts';
import { GrammarError } from './grammar-error.ts';
import { MAX_CODE_POINT, type TextPattern } from './text-pattern.ts';

/** The memory of a position, of a state, of a number in one, and of a move to another state. */
const POSITION_BYTES = 256;
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

/** A point inside of a pattern, and the position after the pattern. The end of the whole pattern has none. */
interface Position {
  readonly pattern: TextPattern;
  /** The items that were matched, the characters of a text, or the node of a graph. */
  readonly at: number;
  readonly after: number;
}

/** The position of the end. */
const END = 0;
const EMPTY: TextPattern = { kind: 'sequence', items: [] };

/** One expression, determinized state by state. A state is a set of positions before a character, or at the end. */
class TextMachine {
  readonly #positions: Position[] = [{ pattern: EMPTY, at: 0, after: END }];
  readonly #indexOf = new Map<TextPattern, Map<string, number>>();
  readonly #sets: (readonly number[])[] = [[]];
  readonly #known = new Map<string, number>([['', DEAD]]);
  readonly #moves: (readonly Move[])[] = [];

  constructor(pattern: TextPattern) {
    const start = this.#enter([this.#position(pattern, 0, END)]);
    if (start === DEAD) this.#sets.push([]);
  }

  /** Whether a text that ends in this state matches. */
  isEnd(state: number): boolean {
    return this.#sets[state]!.includes(END);
  }

  /** Returns the next states. The first move begins at character 0. */
  moves(state: number): readonly Move[] {
    this.#moves[state] ??= this.#findMoves(this.#sets[state]!);
    return this.#moves[state];
  }

  #findMoves(positions: readonly number[]): Move[] {
    const steps = positions.flatMap((position) => this.#steps(position));
    const starts = new Set([0, ...steps.flatMap(({ first, last }) => [first, last + 1])]);
    const moves: Move[] = [];
    for (const first of [...starts].sort((a, b) => a - b)) {
      if (first > MAX_CODE_POINT) break;
      const reached = steps.filter((step) => step.first <= first && first <= step.last);
      const to = this.#enter(reached.map((step) => step.to));
      if (moves.at(-1)?.to !== to) moves.push({ first, to });
    }
    charge('expression', MOVE_BYTES * moves.length);
    return moves;
  }

  /** Returns the characters that may follow a position, and the positions after them. */
  #steps(position: number): { first: number; last: number; to: number }[] {
    const { pattern, at, after } = this.#positions[position]!;
    if (pattern.kind === 'chars')
      return pattern.ranges.map(([first, last]) => ({ first, last, to: after }));
    if (pattern.kind !== 'text') return [];
    const point = pattern.text.codePointAt(at)!;
    const to = this.#position(pattern, at + String.fromCodePoint(point).length, after);
    return [{ first: point, last: point, to }];
  }

  #position(pattern: TextPattern, at: number, after: number): number {
    const ofPattern = this.#indexOf.get(pattern) ?? new Map<string, number>();
    this.#indexOf.set(pattern, ofPattern);
    const key = `${at} ${after}`;
    const known = ofPattern.get(key);
    if (known !== undefined) return known;
    charge('expression', POSITION_BYTES);
    ofPattern.set(key, this.#positions.length);
    return this.#positions.push({ pattern, at, after }) - 1;
  }

  #enter(positions: readonly number[]): number {
    const reached = new Set(positions);
    for (const position of reached) for (const next of this.#skips(position)) reached.add(next);
    const isKept = (position: number) => {
      const { pattern, at } = this.#positions[position]!;
      if (position === END || pattern.kind === 'chars') return true;
      return pattern.kind === 'text' && at < pattern.text.length;
    };
    const kept = [...reached].filter(isKept).sort((a, b) => a - b);
    const key = kept.join();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    charge('expression', STATE_BYTES + NUMBER_BYTES * kept.length);
    const state = this.#sets.push(kept) - 1;
    this.#known.set(key, state);
    return state;
  }

  /** Returns the positions that follow one without a character. */
  #skips(position: number): number[] {
    const { pattern, at, after } = this.#positions[position]!;
    const inside = (item: TextPattern, next: number) =>
      this.#position(item, 0, this.#position(pattern, next, after));
    switch (pattern.kind) {
      case 'text':
        return at === pattern.text.length ? [after] : [];
      case 'chars':
        return [];
      case 'sequence':
        return at === pattern.items.length ? [after] : [inside(pattern.items[at]!, at + 1)];
      case 'choice':
        return pattern.options.map((option) => this.#position(option, 0, after));
      case 'repeat': {
        const { item, min, max } = pattern;
        const isCounted = at < min || max < Number.POSITIVE_INFINITY;
        return [
          ...(at >= min ? [after] : []),
          ...(at < max ? [inside(item, isCounted ? at + 1 : at)] : []),
        ];
      }
      case 'graph': {
        const { isEnd, edges } = pattern.nodes[at]!;
        return [...(isEnd ? [after] : []), ...edges.map(({ item, to }) => inside(item, to))];
      }
      default:
        throw new GrammarError('cannot be combined with other strings');
    }
  }
}
