// Requests and tokens by tenant, model and kind of request: a table that adds rows with equal labels up.
import { z } from 'zod';

/** The counts of a row. */
const COUNTS = ['requests', 'inputTokens', 'cachedTokens', 'outputTokens'] as const;

/** Requests and tokens. Input tokens include cached ones. */
type UsageCounts = Record<(typeof COUNTS)[number], number>;

/** A row of a table. */
export interface UsageRow extends Readonly<UsageCounts> {
  readonly tenant: string;
  /** The base or an adapter, without version and alias. */
  readonly model: string;
  readonly isBatch: boolean;
}

/** A row takes about 60 bytes in the store, so a table has at most 6 MB. Further models count as `other`. */
const MAX_ROWS = 100_000;
/** The model of rows beyond the limit. No adapter has the name of all others. */
const OTHER = 'other';

const count = z.number().int().nonnegative();
/** A table in the store. */
export const usageTableSchema = z.object({
  schema: z.literal(1),
  rows: z.array(z.tuple([z.string(), z.string(), z.boolean(), count, count, count, count])),
});
/** A table in the store. */
export type StoredUsage = z.infer<typeof usageTableSchema>;

/** The sums of rows with equal labels. */
export class UsageTable {
  readonly #rows = new Map<string, { -readonly [Key in keyof UsageRow]: UsageRow[Key] }>();

  /** Adds a row. */
  add(row: UsageRow): void {
    const key = (model: string) => JSON.stringify([row.tenant, model, row.isBatch]);
    const isFull = this.#rows.size >= MAX_ROWS && !this.#rows.has(key(row.model));
    const model = isFull ? OTHER : row.model;
    const sum = this.#rows.get(key(model));
    if (!sum) this.#rows.set(key(model), { ...row, model });
    else for (const name of COUNTS) sum[name] += row[name];
  }

  /** Returns all rows. */
  rows(): readonly UsageRow[] {
    return [...this.#rows.values()];
  }

  /** Converts to the form in the store. */
  toStored(): StoredUsage {
    const rows = this.rows().map(({ tenant, model, isBatch, ...counts }) => {
      const { requests, inputTokens, cachedTokens, outputTokens } = counts;
      return [tenant, model, isBatch, requests, inputTokens, cachedTokens, outputTokens];
    });
    return { schema: 1, rows: rows as StoredUsage['rows'] };
  }
}

/** Restores the rows of a table in the store. */
export function rowsOf({ rows }: Pick<StoredUsage, 'rows'>): UsageRow[] {
  return rows.map(([tenant, model, isBatch, requests, inputTokens, cachedTokens, outputTokens]) => {
    return { tenant, model, isBatch, requests, inputTokens, cachedTokens, outputTokens };
  });
}
