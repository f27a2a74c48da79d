// Groups the rows of a batch by adapter slot. Pure index arithmetic. There are G groups, padded to the same number of
// positions; a position holds a row of its group or, as padding, repeats one.
import { largest } from '../../common/long-arrays.ts';

/** The groups of one batch, as indices for gathering rows into groups and back. */
export interface GroupPlan {
  /** The groups are the adapter slots first, first + 1, …, first + groupCount - 1. */
  readonly first: number;
  readonly groupCount: number;
  /** n: the rows of the largest group. */
  readonly rowsPerGroup: number;
  /** [G * n]: the row at each padded position. */
  readonly groupRows: readonly number[];
  /** [rows]: the padded position of each row. */
  readonly paddedPositions: readonly number[];
  /** [rows]: the group of each row. */
  readonly rowGroups: readonly number[];
}

/** Adapter slot 0 holds zeros. Rows without an adapter belong to its group. */
export const ZERO_SLOT = 0;

/**
 * Groups rows by adapter slot. `rowSlots[i]` is the slot of row i. `usedSlots` is the number of slots in use, including slot 0. The
 * groups cover one range of slots: one slot if all rows use it, otherwise all slots from 0 on, or from `lastStart`
 * if no row uses slot 0. Padding repeats the first row of its group, or row 0 in an empty group; its product is dropped.
 */
export function planGroups(
  rowSlots: readonly number[],
  usedSlots: number,
  lastStart = 1,
): GroupPlan {
  const isSingle = rowSlots.every((slot) => slot === rowSlots[0]);
  const first = isSingle ? rowSlots[0]! : rowSlots.includes(ZERO_SLOT) ? ZERO_SLOT : lastStart;
  const groupCount = isSingle ? 1 : usedSlots - first;
  const rowGroups = rowSlots.map((slot) => slot - first);
  const members: number[][] = Array.from({ length: groupCount }, () => []);
  for (const [row, group] of rowGroups.entries()) members[group]!.push(row);
  const rowsPerGroup = largest(members.map((rows) => rows.length));
  const groupRows: number[] = [];
  const paddedPositions = new Array<number>(rowSlots.length);
  for (const rows of members) {
    for (let i = 0; i < rowsPerGroup; i++) {
      const row = rows[i];
      if (row !== undefined) paddedPositions[row] = groupRows.length;
      groupRows.push(row ?? rows[0] ?? 0);
    }
  }
  return { first, groupCount, rowsPerGroup, groupRows, paddedPositions, rowGroups };
}
