// The patterns of JSON objects: declared members in a fixed order, then others in any order.

import { charge } from './budget.ts';
import { GrammarError } from './grammar-error.ts';
import { COMMA, commaSeparated, member } from './json-text.ts';
import {
  choice,
  EMPTY,
  graph,
  type PatternEdge,
  type PatternNode,
  repeat,
  sequence,
  shared,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** A declared member of an object. */
interface Member {
  readonly name: string;
  readonly isRequired: boolean;
  readonly value: TextPattern;
}

/** Members with other names. */
interface OtherMembers {
  readonly key: TextPattern;
  readonly value: TextPattern;
}

/** The members of an object. */
export interface ObjectShape {
  readonly members: readonly Member[];
  readonly others: readonly OtherMembers[];
  /** The bounds on the number of members. */
  readonly min: number;
  readonly max: number;
  /** Pairs of indices of members: the first one requires the second one. */
  readonly dependents: readonly (readonly [number, number])[];
  /** Whether members may come in other orders as well. */
  readonly isUnordered: boolean;
}

/** A schema with 1,000 properties needs 2,000. */
const MAX_NODES = 10_000;

/** The members so far, as far as they matter for the next ones. */
interface Progress {
  /** The next member. */
  readonly next: number;
  /** The number of members, as far as it matters. */
  readonly count: number;
  /** The written members that a later one requires, or that require a later one. */
  readonly written: readonly number[];
}

/** The memory of the members so far, and of each written one, as such and in a key. */
const PROGRESS_BYTES = 256;
const WRITTEN_BYTES = 16;

/** In any order, all of this many members are told apart, or this many required ones. That takes 2 ** n nodes. */
const MAX_TRACKED = 5;
const MAX_REQUIRED = 7;

/**
 * Matches an object. Other members may repeat a name, so they count as one towards the least number. If the members come in
 * any order and are more than `MAX_TRACKED`, optional ones may be repeated as well.
 */
export function objectPattern(shape: ObjectShape): TextPattern {
  const items = shape.members.map(({ name, value }) =>
    shared(member(text(JSON.stringify(name)), value)),
  );
  const { others } = shape;
  const other =
    others.length === 0
      ? undefined
      : shared(choice(...others.map(({ key, value }) => member(key, value))));
  const parts = { items, other };
  const tracked = trackedMembers(shape);
  const options = tracked
    ? [unorderedMembers(shape, parts, tracked)]
    : ordersOf(shape).map((order) => {
        const [own, ownItems] = reordered(shape, parts.items, order);
        return new MembersGraph(own, { ...parts, items: ownItems }).pattern();
      });
  return sequence(text('{'), choice(...options), text('}'));
}

/** Returns the members of which any order has to know whether they were written. Undefined if they are too many. */
function trackedMembers(shape: ObjectShape): number[] | undefined {
  const { members, dependents, min, max, others, isUnordered } = shape;
  const all = members.map((_, i) => i);
  const linked = new Set(dependents.flat());
  const needed = all.filter((i) => members[i]!.isRequired || linked.has(i));
  const isCounted = min > 1 || max < members.length || (others.length > 0 && Number.isFinite(max));
  const tracked = members.length <= MAX_TRACKED || isCounted ? all : needed;
  const isPossible = isUnordered && tracked.length <= MAX_REQUIRED;
  return isPossible && !(others.length > 0 && Number.isFinite(max)) ? tracked : undefined;
}

/** Returns the orders of members, as their indices. */
function ordersOf({ members, isUnordered }: ObjectShape): number[][] {
  const given = members.map((_, i) => i);
  const rank = (i: number) => (members[i]!.isRequired ? 0 : 1);
  const requiredFirst = given.toSorted((a, b) => rank(a) - rank(b));
  return isUnordered && requiredFirst.join() !== given.join() ? [given, requiredFirst] : [given];
}

function reordered(
  shape: ObjectShape,
  items: readonly TextPattern[],
  order: readonly number[],
): [ObjectShape, TextPattern[]] {
  const dependents = shape.dependents.map(
    ([a, b]) => [order.indexOf(a), order.indexOf(b)] as const,
  );
  const members = order.map((i) => shape.members[i]!);
  return [{ ...shape, members, dependents }, order.map((i) => items[i]!)];
}

/** The patterns of the members, and of one other member. */
interface MemberPatterns {
  readonly items: readonly TextPattern[];
  readonly other: TextPattern | undefined;
}

/**
 * Matches members in any order. A node is a set of tracked members that were written, and whether others were, if that counts.
 * Before all but the first member, a second node follows the comma.
 */
function unorderedMembers(
  { members, dependents, min, max }: ObjectShape,
  { items, other }: MemberPatterns,
  tracked: readonly number[],
): TextPattern {
  const sets = 2 ** tracked.length;
  const bits = members.map((_, i) => (tracked.includes(i) ? 2 ** tracked.indexOf(i) : 0));
  const bitOf = (i: number) => (i < 0 ? 0 : bits[i]!);
  const required = members.reduce((set, { isRequired }, i) => set | (isRequired ? bits[i]! : 0), 0);
  const untracked = [...items.filter((_, i) => !bits[i]), ...(other ? [other] : [])];
  const any = shared(choice(...untracked));
  // The nodes before any others were written. If none are counted, only the first one differs.
  const before = min > 1 ? sets : 1;
  const length = before > 1 && untracked.length === 0 ? sets : before + sets;
  const nodes: PatternNode[] = [];
  const afterComma: PatternNode[] = [];
  for (let index = 0; index < length; index++) {
    const isAfter = index >= before;
    const set = isAfter ? index - before : index;
    const missing = tracked.filter((i) => (set & bits[i]!) === 0);
    const count = tracked.length - missing.length;
    const layer = isAfter || before === 1 ? before : 0;
    const next = count >= max ? [] : missing;
    const edges = next.map((i) => ({ item: items[i]!, to: layer + set + bits[i]! }));
    if (untracked.length > 0) edges.push({ item: any, to: before + set });
    const isComplete =
      (set & required) === required &&
      dependents.every(([a, b]) => (set & bitOf(a)) === 0 || (set & bitOf(b)) > 0);
    const isEnd = isComplete && count + Number(isAfter) >= min;
    nodes.push({ isEnd, edges: index > 0 ? [{ item: COMMA, to: length + index - 1 }] : edges });
    if (index > 0) afterComma.push({ isEnd: false, edges });
  }
  return graph([...nodes, ...afterComma]);
}

class MembersGraph {
  readonly #shape: ObjectShape;
  readonly #items: readonly TextPattern[];
  readonly #other: TextPattern | undefined;
  readonly #max: number;
  readonly #lastCount: number;
  readonly #indexOf = new Map<string, number>();
  readonly #progress: Progress[] = [];

  constructor(shape: ObjectShape, { items, other }: MemberPatterns) {
    const { members, others, min, max } = shape;
    this.#shape = shape;
    this.#items = items;
    this.#other = other;
    const isBinding = others.length > 0 || max < members.length;
    this.#max = isBinding ? max : Number.POSITIVE_INFINITY;
    this.#lastCount = Math.max(
      1,
      min,
      Number.isFinite(this.#max) ? Math.min(this.#max, members.length) : 0,
    );
  }

  pattern(): TextPattern {
    this.#enter({ next: 0, count: 0, written: [] });
    const nodes: { isEnd: boolean; edges: PatternEdge[] }[] = [];
    for (const progress of this.#progress)
      nodes.push({ isEnd: false, edges: this.#edges(progress) });
    // Tails lead to one more node, the end.
    const end = nodes.length;
    for (const { edges } of nodes) {
      for (const [i, edge] of edges.entries()) if (edge.to < 0) edges[i] = { ...edge, to: end };
    }
    return graph([...nodes, { isEnd: true, edges: [] }]);
  }

  #enter(progress: Progress): number {
    const key = `${progress.next} ${progress.count} ${progress.written.join()}`;
    const known = this.#indexOf.get(key);
    if (known !== undefined) return known;
    if (this.#progress.length >= MAX_NODES)
      throw new GrammarError('has too many combinations of members');
    charge('pattern', PROGRESS_BYTES + WRITTEN_BYTES * progress.written.length);
    this.#indexOf.set(key, this.#progress.length);
    return this.#progress.push(progress) - 1;
  }

  #edges({ next, count, written }: Progress): PatternEdge[] {
    const { members, dependents } = this.#shape;
    const following = members[next];
    if (!following) return this.#tail(count);
    const after = (more: readonly number[]) =>
      [...written, ...more].filter((one) =>
        dependents.some(([a, b]) => (a === one && b > next) || (b === one && a > next)),
      );
    const lacks = dependents.some(([a, b]) => a === next && b < next && !written.includes(b));
    const isNeeded = dependents.some(([a, b]) => b === next && written.includes(a));
    const edges: PatternEdge[] = [];
    if (!lacks && count < this.#max) {
      const item = this.#items[next]!;
      edges.push({
        item: count > 0 ? sequence(COMMA, item) : item,
        to: this.#enter({
          next: next + 1,
          count: Math.min(count + 1, this.#lastCount),
          written: after([next]),
        }),
      });
    }
    if (!following.isRequired && !isNeeded)
      edges.push({ item: EMPTY, to: this.#enter({ next: next + 1, count, written: after([]) }) });
    return edges;
  }

  /** Returns the edge of the members after the declared ones. */
  #tail(count: number): PatternEdge[] {
    const missing = Math.max(0, this.#shape.min - count);
    const left = this.#max - count;
    if (missing > (this.#other ? 1 : 0) || missing > left) return [];
    const other = this.#other;
    if (!other) return [{ item: EMPTY, to: -1 }];
    const item =
      count > 0
        ? repeat(sequence(COMMA, other), missing, left)
        : commaSeparated(other, missing, left);
    return [{ item, to: -1 }];
  }
}
