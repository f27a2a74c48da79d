// Which rows of a batch use which adapter slot: pure index arithmetic, no weights.
// G groups of m places each; a place holds a row of its group, or repeats one as padding.

export interface GroupPlan {
  /** The groups are the adapter slots first, first + 1, …, first + groupCount - 1. */
  readonly first: number;
  readonly groupCount: number;
  /** m, the rows of the largest group. */
  readonly rowsPerGroup: number;
  /** [G * m]: the row in each place. */
  readonly groupRows: readonly number[];
  /** [rows]: the place of each row. */
  readonly rowPlaces: readonly number[];
}

/** Adapter slot 0 holds zeros: the group of rows without an adapter. */
export const ZERO_SLOT = 0;

/**
 * Groups rows by adapter slot. `rowSlots[i]` is row i's slot, `usedSlots` how many slots are taken in all,
 * the zero slot included; they are one range from the front, which begins at `lastStart` at the latest. A padding place repeats its group's first row
 * (any row where the group has none): its product is dropped.
 */
export function planGroups(
  rowSlots: readonly number[],
  usedSlots: number,
  lastStart = 1,
): GroupPlan {
  const first = rowSlots.includes(ZERO_SLOT) ? ZERO_SLOT : lastStart;
  const groupCount = usedSlots - first;
  const members: number[][] = Array.from({ length: groupCount }, () => []);
  rowSlots.forEach((slot, row) => {
    members[slot - first]!.push(row);
  });
  const rowsPerGroup = Math.max(...members.map((rows) => rows.length));
  const groupRows: number[] = [];
  const rowPlaces = new Array<number>(rowSlots.length);
  for (const rows of members) {
    for (let place = 0; place < rowsPerGroup; place++) {
      const row = rows[place];
      if (row !== undefined) rowPlaces[row] = groupRows.length;
      groupRows.push(row ?? rows[0] ?? 0);
    }
  }
  return { first, groupCount, rowsPerGroup, groupRows, rowPlaces };
}
