// Changes of the two vocabulary tables [vocabulary, hidden]: the embedding, whose rows are looked up, and the output head,
// whose rows are multiplied with the hidden state.

/** One change of a table. Several add up: each adds `weight` times what it would add alone. */
export type TableChange =
  /** Replaces all rows; `rows` [vocabulary, hidden]. */
  | { readonly kind: 'whole'; readonly weight: number; readonly rows: Float32Array }
  /** Replaces the rows of some tokens; `rows` [ids, hidden]. */
  | {
      readonly kind: 'tokens';
      readonly weight: number;
      readonly ids: readonly number[];
      readonly rows: Float32Array;
    }
  /** Adds a b, for a [vocabulary, rank] and b [rank, hidden], with the scaling in b. */
  | {
      readonly kind: 'update';
      readonly weight: number;
      readonly rank: number;
      readonly a: Float32Array;
      readonly b: Float32Array;
    };

/** A vocabulary whose size differs from the base's. The changes are for the common tokens. */
export interface OwnVocabulary {
  /** The number of its tokens. */
  readonly size: number;
  /** The rows of the tokens that the base lacks, [tokens, hidden]. Empty if the vocabulary is smaller. */
  readonly embedding: Float32Array;
  readonly head: Float32Array;
}

/** The two tables with one row per token. */
export type VocabularyTable = 'embedding' | 'head';

/** The changes of both tables. */
export interface VocabularyChanges {
  readonly embedding: readonly TableChange[];
  readonly head: readonly TableChange[];
  /** Absent: the adapter's tokens are the base's. */
  readonly own?: OwnVocabulary | undefined;
}

export const NO_VOCABULARY_CHANGES: VocabularyChanges = { embedding: [], head: [] };

/** Lists the arrays of a change. */
export function tableArrays(change: TableChange): readonly Float32Array[] {
  return change.kind === 'update' ? [change.a, change.b] : [change.rows];
}

/** Lists all arrays of the changes. The two tables may share arrays. */
export function vocabularyArrays({ embedding, head, own }: VocabularyChanges): Float32Array[] {
  const arrays = [...embedding, ...head].flatMap(tableArrays);
  return own ? [...arrays, own.embedding, own.head] : arrays;
}

/** Computes the row of a base token: `keep` times the base's row plus `added`. Writes `added` [hidden] and returns `keep`. */
export function changedRow(
  changes: readonly TableChange[],
  id: number,
  added: Float32Array,
): number {
  const { length: width } = added;
  added.fill(0);
  let keep = 1;
  const add = (factor: number, rows: Float32Array, row: number) => {
    const from = row * width;
    for (let i = 0; i < width; i++) added[i]! += factor * rows[from + i]!;
  };
  for (const change of changes) {
    const { weight } = change;
    if (change.kind === 'update') {
      const { rank, a, b } = change;
      for (let r = 0; r < rank; r++) add(weight * a[id * rank + r]!, b, r);
      continue;
    }
    const row = change.kind === 'whole' ? id : change.ids.indexOf(id);
    if (row < 0) continue;
    keep -= weight;
    add(weight, change.rows, row);
  }
  return keep;
}
