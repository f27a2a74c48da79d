// Sets of strings that several regular expressions define together: all match, none of some match, and the length is bounded. They
// become one deterministic automaton over characters. Expressions without such company do not need it.
import { largest, smallest } from '../common/long-arrays.ts';
import { charge } from './budget.ts';
import { ContradictionError, GrammarError } from './grammar-error.ts';
import { DEAD, type Move, machineOf, START } from './text-machine.ts';
import {
  type CharRange,
  graph,
  MAX_CODE_POINT,
  type PatternEdge,
  type TextPattern,
} from './text-pattern.ts';

/** Expressions over plain characters, without recursion. */
export interface TextRule {
  /** A text satisfies the rule if it matches all of these, except excluded ones. */
  readonly parts: readonly { readonly pattern: TextPattern; readonly isExcluded?: boolean }[];
  /** Whether texts must satisfy the rule or must not, or whether it only labels the texts that do. */
  readonly use: 'match' | 'exclude' | 'label';
}

/** Bounds on the number of characters. */
export interface TextLength {
  readonly min: number;
  readonly max: number;
}

/** A larger automaton would leave no room for the rest of a schema. */
const MAX_STATES = 4000;
/** The memory of a state, of the number of an expression's state in it, and of a range of characters that leads to another one. */
const STATE_BYTES = 256;
const NUMBER_BYTES = 16;
const RANGE_BYTES = 64;
/** A label is a bit of a number. */
export const MAX_LABELS = 30;
const ANY_LENGTH: TextLength = { min: 0, max: Number.POSITIVE_INFINITY };

interface LanguageState {
  /** The labels of a text that ends here; undefined if none may. */
  readonly labels: number | undefined;
  edges: { readonly ranges: CharRange[]; readonly to: number }[];
}

/** The texts that satisfy several rules. */
export class TextLanguage {
  readonly #states: LanguageState[] = [];

  /** Throws `GrammarError` if it needs too many states. */
  constructor(rules: readonly TextRule[], length: TextLength = ANY_LENGTH) {
    const parts = rules.flatMap((rule) => rule.parts.map((part) => ({ ...part, rule })));
    const machines = parts.map(({ pattern }) => machineOf(pattern));
    const labelled = rules.filter(({ use }) => use === 'label');
    // Counting stops once no bound distinguishes lengths.
    const lastCount = length.max === Number.POSITIVE_INFINITY ? length.min : length.max + 1;
    const known = new Map<string, number>();
    const open: { ids: readonly number[]; count: number; index: number }[] = [];
    const enter = (ids: readonly number[], count: number): number => {
      const key = `${ids.join()} ${count}`;
      const index = known.get(key) ?? this.#states.length;
      if (index < this.#states.length) return index;
      if (index >= MAX_STATES)
        throw new GrammarError(`needs more than ${MAX_STATES} states. Lower the counts`);
      charge('expression', STATE_BYTES + NUMBER_BYTES * ids.length);
      known.set(key, index);
      const failed = new Set(
        parts.flatMap(({ rule, isExcluded = false }, i) => {
          return machines[i]!.isEnd(ids[i]!) === isExcluded ? [rule] : [];
        }),
      );
      const isAllowed =
        count >= length.min &&
        rules.every(
          (rule) => rule.use === 'label' || failed.has(rule) === (rule.use === 'exclude'),
        );
      const labels = labelled.reduce(
        (bits, rule, bit) => bits | (Number(!failed.has(rule)) << bit),
        0,
      );
      this.#states.push({ labels: isAllowed ? labels : undefined, edges: [] });
      open.push({ ids, count, index });
      return index;
    };
    enter(
      machines.map(() => START),
      0,
    );
    for (let next = open.pop(); next; next = open.pop()) {
      const { ids, count, index } = next;
      const nextCount = Math.min(count + 1, lastCount);
      if (nextCount > length.max) continue;
      const targets = new Map<number, CharRange[]>();
      for (const [range, moved] of commonMoves(ids.map((id, i) => machines[i]!.moves(id)))) {
        const isDead = (id: number, i: number) =>
          id === DEAD && !parts[i]!.isExcluded && parts[i]!.rule.use === 'match';
        if (moved.some(isDead)) continue;
        charge('expression', RANGE_BYTES);
        const to = enter(moved, nextCount);
        const ranges = targets.get(to);
        if (!ranges) targets.set(to, [range]);
        else if (ranges.at(-1)![1] === range[0] - 1)
          ranges[ranges.length - 1] = [ranges.at(-1)![0], range[1]];
        else ranges.push(range);
      }
      this.#states[index]!.edges = [...targets].map(([to, ranges]) => ({ ranges, to }));
    }
  }

  /** The number of states. */
  get size(): number {
    return this.#states.length;
  }

  /** The sets of labels that texts can have. Bit i is the label of the i-th rule of use `label`. */
  get labels(): ReadonlySet<number> {
    return new Set(this.#states.flatMap(({ labels }) => labels ?? []));
  }

  /**
   * Returns the pattern of the texts with exactly these labels. Throws `ContradictionError` if there are none.
   * @param toPattern encodes a character of these ranges
   */
  pattern(toPattern: (ranges: readonly CharRange[]) => TextPattern, labels = 0): TextPattern {
    const alive = this.#statesBefore(labels);
    if (!alive.has(0)) throw new ContradictionError('allows no text');
    const indexOf = new Map([...alive].sort((a, b) => a - b).map((state, i) => [state, i]));
    const items = new Map<string, TextPattern>();
    const itemOf = (ranges: readonly CharRange[]) => {
      const key = ranges.join(' ');
      const item = items.get(key) ?? toPattern(ranges);
      items.set(key, item);
      return item;
    };
    const nodes = [...indexOf.keys()].map((state) => {
      const { edges, labels: own } = this.#states[state]!;
      const kept = edges.filter(({ to }) => alive.has(to));
      return {
        isEnd: own === labels,
        edges: kept.map(
          ({ ranges, to }): PatternEdge => ({ item: itemOf(ranges), to: indexOf.get(to)! }),
        ),
      };
    });
    return graph(nodes);
  }

  /** Returns the states from which a text with these labels can end. */
  #statesBefore(labels: number): Set<number> {
    const before: number[][] = this.#states.map(() => []);
    for (const [from, { edges }] of this.#states.entries()) {
      for (const { to } of edges) before[to]!.push(from);
    }
    const alive = new Set(this.#states.flatMap((state, i) => (state.labels === labels ? [i] : [])));
    for (const state of alive) for (const from of before[state]!) alive.add(from);
    return alive;
  }
}

/** Returns the least and the greatest number of characters of a pattern's texts. */
export function lengthsOf(pattern: TextPattern): TextLength {
  switch (pattern.kind) {
    case 'text': {
      const { length } = [...pattern.text];
      return { min: length, max: length };
    }
    case 'chars':
      return { min: 1, max: 1 };
    case 'sequence': {
      const parts = pattern.items.map(lengthsOf);
      const sum = (end: 'min' | 'max') => parts.reduce((all, part) => all + part[end], 0);
      return { min: sum('min'), max: sum('max') };
    }
    case 'choice': {
      const parts = pattern.options.map(lengthsOf);
      return {
        min: smallest(parts.map(({ min }) => min)),
        max: largest(parts.map(({ max }) => max)),
      };
    }
    case 'repeat': {
      const { min, max } = lengthsOf(pattern.item);
      return { min: min * pattern.min, max: max === 0 ? 0 : max * pattern.max };
    }
    default:
      return ANY_LENGTH;
  }
}

/** Yields ranges of all characters, and the state that each of the machines enters with them. */
function* commonMoves(lists: readonly (readonly Move[])[]): Generator<[CharRange, number[]]> {
  const at = lists.map(() => 0);
  for (let first = 0; first <= MAX_CODE_POINT; ) {
    const states = lists.map((moves, i) => moves[at[i]!]!.to);
    const ends = lists.map((moves, i) => moves[at[i]! + 1]?.first ?? MAX_CODE_POINT + 1);
    const next = smallest([MAX_CODE_POINT + 1, ...ends]);
    yield [[first, next - 1], states];
    for (const [i, end] of ends.entries()) if (end === next) at[i]!++;
    first = next;
  }
}
