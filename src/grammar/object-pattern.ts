// The patterns of JSON objects: declared members in a fixed order or in any, and others.
import { COMMA, commaSeparated, member } from './json-text.ts';
import { stateGraph } from './state-graph.ts';
import { choice, EMPTY, repeat, sequence, shared, type TextPattern, text } from './text-pattern.ts';

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
  /** Whether members may come in other orders as well. */
  readonly isUnordered: boolean;
}

/** In any order, all of this many members are told apart, or this many required ones. That takes 2 ** n states. */
const MAX_TRACKED = 5;
const MAX_REQUIRED = 7;

/** The members as patterns. */
interface Members extends Pick<ObjectShape, 'min' | 'max'> {
  readonly declared: readonly { readonly item: TextPattern; readonly isRequired: boolean }[];
  /** One member with another name. */
  readonly other: TextPattern | undefined;
}

/**
 * Matches an object. Other members may repeat a name, so they count as one towards the least number. If the members come in
 * any order and are more than `MAX_TRACKED`, optional ones may be repeated as well.
 */
export function objectPattern({
  members,
  others,
  min,
  max,
  isUnordered,
}: ObjectShape): TextPattern {
  const declared = members.map(({ name, isRequired, value }) => ({
    item: shared(member(text(JSON.stringify(name)), value)),
    isRequired,
  }));
  const other =
    others.length === 0
      ? undefined
      : shared(choice(...others.map(({ key, value }) => member(key, value))));
  const all: Members = { declared, other, min, max };
  const tracked = isUnordered ? trackedMembers(all) : undefined;
  const inside = tracked ? inAnyOrder(all, tracked) : inOrders(all, isUnordered);
  return sequence(text('{'), inside, text('}'));
}

/** Returns the members of which any order has to know whether they were written. Undefined if they are too many. */
function trackedMembers({ declared, other, min, max }: Members): number[] | undefined {
  if (other && Number.isFinite(max)) return undefined;
  const isCounted = min > 1 || max < declared.length;
  const isTracked = declared.length <= MAX_TRACKED || isCounted;
  const tracked = [...declared.keys()].filter((i) => isTracked || declared[i]!.isRequired);
  return tracked.length <= MAX_REQUIRED ? tracked : undefined;
}

/** Matches members in any order. */
function inAnyOrder({ declared, other, min, max }: Members, tracked: readonly number[]) {
  const untracked = declared.filter((_, i) => !tracked.includes(i)).map(({ item }) => item);
  const any = shared(choice(...untracked, ...(other ? [other] : [])));
  const isEmpty = untracked.length === 0 && !other;
  return stateGraph<{
    readonly before: 'all' | 'member' | 'comma';
    /** The tracked members that were written, and whether others were, if that counts. */
    readonly written: readonly number[];
    readonly hasOthers: boolean;
  }>(
    { before: 'all', written: [], hasOthers: false },
    {
      canEnd: ({ before, written, hasOthers }) =>
        before !== 'member' &&
        tracked.every((i) => !declared[i]!.isRequired || written.includes(i)) &&
        (min > 1 ? written.length + Number(hasOthers) >= min : min === 0 || before === 'comma'),
      next(state) {
        if (state.before === 'comma') return [{ item: COMMA, to: { ...state, before: 'member' } }];
        const { written } = state;
        const missing = written.length >= max ? [] : tracked.filter((i) => !written.includes(i));
        const edges = missing.map((i) => {
          const all = [...written, i].sort((a, b) => a - b);
          return {
            item: declared[i]!.item,
            to: { ...state, before: 'comma' as const, written: all },
          };
        });
        if (isEmpty) return edges;
        return [...edges, { item: any, to: { ...state, before: 'comma', hasOthers: min > 1 } }];
      },
    },
  );
}

/** Matches members in their order and, if that is not the only one, the required ones first. */
function inOrders(members: Members, isUnordered: boolean): TextPattern {
  const { declared } = members;
  const rank = ({ isRequired }: { isRequired: boolean }) => (isRequired ? 0 : 1);
  const requiredFirst = declared.toSorted((a, b) => rank(a) - rank(b));
  const hasTwo = isUnordered && requiredFirst.some((one, i) => one !== declared[i]);
  const orders = hasTwo ? [declared, requiredFirst] : [declared];
  return choice(...orders.map((order) => inOrder({ ...members, declared: order })));
}

function inOrder({ declared, other, min, max }: Members): TextPattern {
  const most = other || max < declared.length ? max : Number.POSITIVE_INFINITY;
  /** Larger counts do not differ. */
  const lastCount = Math.max(1, min, Number.isFinite(most) ? Math.min(most, declared.length) : 0);
  const end = { next: declared.length + 1, count: 0 };
  return stateGraph<{ readonly next: number; readonly count: number }>(
    { next: 0, count: 0 },
    {
      canEnd: ({ next }) => next === end.next,
      next({ next, count }) {
        if (next === end.next) return [];
        const left = most - count;
        const following = declared[next];
        if (!following) {
          const missing = Math.max(0, min - count);
          if (missing > (other ? 1 : 0) || missing > left) return [];
          const some =
            other && count > 0
              ? repeat(sequence(COMMA, other), missing, left)
              : other && commaSeparated(other, missing, left);
          return [{ item: some ?? EMPTY, to: end }];
        }
        const { item, isRequired } = following;
        const to = { next: next + 1, count: Math.min(count + 1, lastCount) };
        return [
          ...(left > 0 ? [{ item: count > 0 ? sequence(COMMA, item) : item, to }] : []),
          ...(isRequired ? [] : [{ item: EMPTY, to: { next: next + 1, count } }]),
        ];
      },
    },
  );
}
