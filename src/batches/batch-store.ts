// Batches in the store: their records, and the parts that contain their results until the batch ends.
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { StoreCall } from '../../adapters/store/store.ts';
import type { Clock } from '../common/waiting.ts';
import { BATCH_STATUSES } from '../contracts/batch-status.ts';
import { type RecordKind, type RecordName, RecordStore } from '../jobs/record-store.ts';
import { type BatchRecord, batchSchema } from './batch.ts';

/** Matches batch ids that are safe to use in a key. */
const BATCH_ID = /^batch-[A-Za-z0-9]{1,64}$/;
/** Metadata takes up to 10 KB, and the open lines of a large server some more. */
const MAX_BATCH_BYTES = 2 ** 20;
const SEQ_DIGITS = 9;

const BATCHES: RecordKind<BatchRecord> = {
  schema: batchSchema,
  maxBytes: MAX_BATCH_BYTES,
  folder: '.batches',
  file: 'batch.json',
  statuses: BATCH_STATUSES,
  marks: '.active-batches/',
  idPattern: BATCH_ID,
  plural: 'batches',
  unknown: { message: 'No such Batch object', param: 'batch_id' },
};

/** The files that a batch's results go to. */
const RESULT_KINDS = ['output', 'errors'] as const;
/** One of the files that a batch's results go to. */
export type ResultKind = (typeof RESULT_KINDS)[number];

/** Identifies a part. Each lease writes its own parts, so an owner that lost its lease overwrites none. */
interface PartName {
  readonly fencingToken: number;
  readonly seq: number;
}

/** The batches of all tenants. Methods throw the guarded store's errors. */
export class BatchStore extends RecordStore<BatchRecord> {
  constructor(store: GuardedStore, clock?: Clock) {
    super(store, BATCHES, clock);
  }

  /** Writes the result lines of a part. It counts once it is in the record. */
  async putPart(
    batch: RecordName,
    part: PartName,
    lines: Readonly<Record<ResultKind, readonly string[]>>,
    call?: StoreCall,
  ): Promise<void> {
    for (const kind of RESULT_KINDS) {
      if (lines[kind].length === 0) continue;
      const bytes = Buffer.from(lines[kind].map((line) => `${line}\n`).join(''));
      await this.store.put(this.#partKey(batch, part, kind), bytes, call);
    }
  }

  /** Reads the results of one kind in the parts that the record lists. */
  async *readParts(
    batch: BatchRecord,
    kind: ResultKind,
    call?: StoreCall,
  ): AsyncGenerator<Uint8Array> {
    for (const { token: fencingToken, count } of batch.parts) {
      for (let seq = 0; seq < count; seq++) {
        const part = await this.store.get(this.#partKey(batch, { fencingToken, seq }, kind), call);
        if (part) yield* part.body;
      }
    }
  }

  /** Removes all parts. */
  async removeParts(batch: RecordName): Promise<void> {
    for await (const { key } of this.store.list(this.#partPrefix(batch))) {
      await this.store.delete(key);
    }
  }

  #partPrefix(batch: RecordName): string {
    return `${this.folderOf(batch)}parts/`;
  }

  #partKey(batch: RecordName, { fencingToken, seq }: PartName, kind: ResultKind): string {
    return `${this.#partPrefix(batch)}${fencingToken}-${String(seq).padStart(SEQ_DIGITS, '0')}-${kind}.jsonl`;
  }
}
