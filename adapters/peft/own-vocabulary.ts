// Reads the tables of an adapter that was trained after its base's vocabulary was resized. peft then saves both tables whole.
// Rows equal to the base's are dropped, so a few new tokens cost a few rows.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { assert } from '../../src/common/assert.ts';
import { DTYPE_BYTES, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { MAX_NEW_ROWS } from '../../src/contracts/added-tokens.ts';
import { embeddingName, headName } from '../../src/model/names.ts';
import { TOP_LOGITS_COUNT } from '../../src/model/top-logits.ts';
import {
  changedRow,
  type OwnVocabulary,
  type TableChange,
  type VocabularyTable,
} from '../../src/model/vocabulary-changes.ts';
import type { OutputSource } from './outputs.ts';
import { invalidAdapter } from './refusal.ts';
import { EMBEDDING, HEAD, type ModuleTensor, tensorName } from './tensor-names.ts';
import { checkedValues, expectTensor } from './tensors.ts';

/** The differing rows are looked up one by one. With more of them, the whole table is kept. */
const MAX_CHANGED_ROWS = 4096;
/** Rows compared between two turns of the event loop. */
const PIECE_ROWS = 1024;

/** An adapter's file and the model that it changes. Without the base, a resized vocabulary is refused. */
export interface VocabularySource extends OutputSource {
  /** Multiplies updates of tokens that the base lacks. */
  readonly weight: number;
}

/** The size of a resized vocabulary, and the tensor that shows it. */
interface Resized {
  readonly size: number;
  readonly key: string;
}

/** The tensors with a row or a column for each token, and the axis of the tokens. */
const TOKEN_AXES: readonly (readonly [ModuleTensor, axis: 0 | 1])[] = [
  ['embeddingA', 1],
  ['b', 0],
  ['whole', 0],
  ['copy', 0],
  ['tokensCopy', 0],
  ['original', 0],
  ['wholeAgain', 0],
];

/** Returns the number of tokens that a tensor has rows or columns for; undefined if it has neither. */
export function tokensOf(
  module: string,
  tensor: ModuleTensor,
  shape: readonly number[],
): number | undefined {
  if (module !== EMBEDDING && module !== HEAD) return undefined;
  const axis = TOKEN_AXES.find(([name]) => name === tensor)?.[1];
  return axis === undefined ? undefined : shape[axis];
}

/** Returns the vocabulary size if it differs from the base's. Throws `ServeError` if two tensors disagree. */
export function resizedTo({ tensors, model }: VocabularySource): Resized | undefined {
  let first: Resized | undefined;
  for (const module of [EMBEDDING, HEAD])
    for (const [tensor, axis] of TOKEN_AXES) {
      const key = tensorName(module, tensor);
      const size = tensors.get(key)?.shape[axis];
      if (size === undefined) continue;
      first ??= { size, key };
      if (size !== first.size)
        throw invalidAdapter(key, `has ${size} tokens, ${first.key} has ${first.size}`);
    }
  if (!first || first.size === model.vocabSize) return undefined;
  const { size, key } = first;
  const least = Math.min(TOP_LOGITS_COUNT, model.vocabSize);
  const most = model.vocabSize + MAX_NEW_ROWS;
  if (size >= least && size <= most) return first;
  throw invalidAdapter(key, `has ${size} tokens; from ${least} to ${most} are supported`);
}

/** Refuses tables of the base's size that the configuration does not announce. */
export function refuseUnaskedTables({ tensors, config, model }: VocabularySource): void {
  for (const module of [EMBEDDING, HEAD]) {
    const isSaved = config.isSaved(module) || (config.tiesWeights && config.isSaved(EMBEDDING));
    const key = tensorName(module, 'whole');
    if (tensors.has(key) && !isSaved)
      throw invalidAdapter(key, 'is not in modules_to_save of adapter_config.json');
  }
  const tokens = tensorName(HEAD, 'tokens');
  if (tensors.has(tokens) && !config.trainedTokens.has(HEAD) && !model.tiedEmbeddings)
    throw invalidAdapter(tokens, 'is not in trainable_token_indices of adapter_config.json');
}

/** A table as the file stores it. */
interface StoredTable {
  readonly key: string;
  readonly tensor: Tensor;
}

/** The rows of one adapter's tables. */
export class OwnTables {
  /** The rows of the base that the adapter replaces. */
  readonly changes: [VocabularyTable, TableChange][] = [];
  readonly #baseSize: number;
  readonly #weight: number;
  #vocabulary: OwnVocabulary;

  /** Reads the tables. Throws `ServeError` if one is missing, or if there is no base to compare with. */
  static async read(source: VocabularySource, { size, key }: Resized): Promise<OwnTables> {
    const { model, base } = source;
    const { vocabSize, hiddenSize, tiedEmbeddings } = model;
    const tableOf = base?.table;
    if (!tableOf)
      throw invalidAdapter(
        key,
        `has ${size} tokens, the base has ${vocabSize}: such an adapter can be served, but not trained, merged or evaluated`,
      );
    const common = Math.min(size, vocabSize);
    const read = async (module: string, name: string) => {
      const table = storedTable(source, module);
      if (!table)
        throw invalidAdapter(
          key,
          `has ${size} tokens, the base has ${vocabSize}, and the file lacks the new rows of ${module}`,
        );
      const tensor = expectTensor(source.tensors, table.key, [size, hiddenSize]);
      const stored = { key: table.key, tensor };
      return {
        key: table.key,
        change: await differences(stored, await tableOf(name), common),
        added: valuesOf(stored, common, size),
      };
    };
    const embedding = await read(EMBEDDING, embeddingName);
    const isOne = tiedEmbeddings && storedTable(source, HEAD)?.key === embedding.key;
    const head = isOne ? embedding : await read(HEAD, tiedEmbeddings ? embeddingName : headName);
    const tables = new OwnTables(source, {
      size,
      embedding: embedding.added,
      head: isEqual(embedding.added, head.added) ? embedding.added : head.added,
    });
    if (embedding.change) tables.changes.push(['embedding', embedding.change]);
    if (head.change) tables.changes.push(['head', head.change]);
    return tables;
  }

  private constructor({ model, weight }: VocabularySource, vocabulary: OwnVocabulary) {
    this.#baseSize = model.vocabSize;
    this.#weight = weight;
    this.#vocabulary = vocabulary;
  }

  /** The tokens that the base lacks, with all changes so far applied. */
  get vocabulary(): OwnVocabulary {
    return this.#vocabulary;
  }

  /**
   * Applies a change to the tokens that the base lacks. Returns the change of the remaining tokens; undefined if there is none.
   */
  apply(tables: readonly VocabularyTable[], change: TableChange): TableChange | undefined {
    const { size, ...rows } = this.#vocabulary;
    const baseSize = this.#baseSize;
    const changed = new Map<Float32Array, Float32Array>();
    for (const table of tables) {
      const before = rows[table];
      const after = changed.get(before) ?? this.#changed(before, change);
      changed.set(before, after);
      rows[table] = after;
    }
    this.#vocabulary = { size, ...rows };
    assert(change.kind !== 'whole', 'whole tables are read as differences');
    if (change.kind === 'update')
      return { ...change, a: change.a.subarray(0, baseSize * change.rank) };
    const kept = change.ids.flatMap((id, i) => (id < baseSize ? [{ id, i }] : []));
    if (kept.length === 0) return undefined;
    const width = change.rows.length / change.ids.length;
    const own = new Float32Array(kept.length * width);
    kept.forEach(({ i }, to) => {
      own.set(change.rows.subarray(i * width, (i + 1) * width), to * width);
    });
    return { ...change, ids: kept.map(({ id }) => id), rows: own };
  }

  /**
   * Returns the rows of the new tokens after a change. Updates are multiplied by the adapter's weight; other rows replace the
   * old ones.
   */
  #changed(rows: Float32Array, change: TableChange): Float32Array {
    const count = this.#vocabulary.size - this.#baseSize;
    if (count <= 0) return rows;
    const width = rows.length / count;
    const result = rows.slice();
    const weighted = change.kind === 'update' ? { ...change, weight: this.#weight } : change;
    const added = new Float32Array(width);
    for (let row = 0; row < count; row++) {
      const keep = changedRow([weighted], this.#baseSize + row, added);
      for (let i = 0; i < width; i++) {
        const at = row * width + i;
        result[at] = keep * rows[at]! + added[i]!;
      }
    }
    return result;
  }
}

/** Returns a module's table in the file: the trained one, or a copy of the original. Tied modules share one. */
function storedTable(source: VocabularySource, module: string): StoredTable | undefined {
  const { tensors, config, model } = source;
  const find = (of: string, names: readonly ModuleTensor[]): StoredTable | undefined => {
    const key = names.map((name) => tensorName(of, name)).find((name) => tensors.has(name));
    return key === undefined ? undefined : { key, tensor: tensors.get(key)! };
  };
  const copies: ModuleTensor[] = ['copy', 'tokensCopy'];
  const own = find(module, ['whole', ...copies]);
  if (own || !model.tiedEmbeddings) return own;
  const other = module === HEAD ? EMBEDDING : HEAD;
  const isTrainedAlone = config.isSaved(other) && !config.tiesWeights;
  return find(other, isTrainedAlone ? ['original'] : ['whole', ...copies]);
}

/** Returns the rows [from, to) of a table. Throws `ServeError` if a value is NaN or too large. */
function valuesOf({ key, tensor }: StoredTable, from: number, to: number): Float32Array {
  return checkedValues(key, rowsOf(tensor, from, Math.max(from, to)));
}

/** Returns the rows [from, to) of a matrix, as a view. */
function rowsOf({ dtype, shape, data }: Tensor, from: number, to: number): Tensor {
  const width = shape[1]!;
  const rowBytes = width * DTYPE_BYTES[dtype];
  const part = data.subarray(from * rowBytes, to * rowBytes);
  return { dtype, shape: [to - from, width], data: part };
}

/** Returns the change from the base's table in its first `count` rows; undefined if they are equal. */
async function differences(
  stored: StoredTable,
  base: Tensor,
  count: number,
): Promise<TableChange | undefined> {
  const width = base.shape[1]!;
  const ids: number[] = [];
  const rows: Float32Array[] = [];
  for (let from = 0; from < count; from += PIECE_ROWS) {
    const to = Math.min(count, from + PIECE_ROWS);
    const mine = valuesOf(stored, from, to);
    const theirs = toFloat32(rowsOf(base, from, to));
    for (let row = 0; row < to - from; row++) {
      const own = mine.subarray(row * width, (row + 1) * width);
      if (isEqual(own, theirs.subarray(row * width, (row + 1) * width))) continue;
      ids.push(from + row);
      if (ids.length <= MAX_CHANGED_ROWS) rows.push(own.slice());
    }
    await nextTurn();
  }
  if (ids.length === 0) return undefined;
  if (ids.length > MAX_CHANGED_ROWS)
    return { kind: 'whole', weight: 1, rows: valuesOf(stored, 0, count) };
  const joined = new Float32Array(ids.length * width);
  rows.forEach((row, i) => {
    joined.set(row, i * width);
  });
  return { kind: 'tokens', weight: 1, ids, rows: joined };
}

function isEqual(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
