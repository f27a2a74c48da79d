// One attempt at a job, as objects in the store: the attempt's record, the files that the run reads, the trainer's messages,
// and checkpoints. Server and pod communicate only through these objects, and the pod writes nothing else. Makes no calls to
// the cluster.

import { z } from 'zod';
import { Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { listFolders, type StoreCall } from '../../adapters/store/store.ts';
import { faultSchema, type TrainerMessage } from '../contracts/training-messages.ts';
import { gateSchema } from '../contracts/training-settings.ts';
import { runPrefix } from '../jobs/job-store.ts';
import type { RecordName } from '../jobs/record-store.ts';
import { RunArchive } from '../jobs/run-archive.ts';
import type { RunEnd } from '../jobs/runner.ts';
import { storedFileSchema } from '../jobs/stored-files.ts';

/** Keys of a trainer's job that name local files. `initAdapter` is a folder. */
export const INPUT_KEYS = ['data', 'validation', 'initAdapter'] as const;

const recordSchema = z.looseObject({
  schema: z.literal(1),
  jobId: z.string(),
  tenant: z.string(),
  /** The lease of the server that follows the attempt. */
  token: z.int().min(0),
  /** False if the result is no longer wanted. */
  isOpen: z.boolean(),
  /** How many batches of messages have been handled. */
  acknowledgedBatches: z.int().min(0),
  /** The trainer's job without the model and the keys that name local files. */
  job: z.record(z.string(), z.unknown()),
  gate: gateSchema,
  baseDigest: z.string(),
  inputs: z.array(storedFileSchema.extend({ key: z.enum(INPUT_KEYS) })),
});

/** Tells a pod what to do, and whether the result is still wanted. */
export type AttemptRecord = z.infer<typeof recordSchema>;

const RECORD = 'attempt.json';

/** Keys of messages that name a local file or folder. */
export const PATH_KEYS = ['directory', 'resultFile'] as const;

const storedMessageSchema = z.object({
  message: z.looseObject({
    type: z.enum(['step', 'samples', 'event', 'snapshot', 'card', 'trained', 'fault']),
  }),
  /** The files behind the message's paths. Each path gets its own folder. */
  files: z
    .partialRecord(
      z.enum(PATH_KEYS),
      z.object({ folder: z.uuid(), files: z.array(storedFileSchema) }),
    )
    .optional(),
});

const batchSchema = z.object({
  schema: z.literal(1),
  messages: z.array(storedMessageSchema),
  /** Only in the last batch. A pod that was asked to end writes no end, because another pod continues. */
  end: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('succeeded') }),
      z.object({ kind: z.enum(['failed', 'lost']), error: faultSchema }),
    ])
    .optional(),
});

type BatchRecord = z.infer<typeof batchSchema>;

/** A message in its stored form. */
export interface StoredMessage {
  readonly message: TrainerMessage;
  readonly files?: NonNullable<z.infer<typeof storedMessageSchema>['files']>;
}

/** Consecutive messages, and the end of the run if these are the last ones. */
export interface MessageBatch {
  readonly messages: readonly StoredMessage[];
  readonly end?: RunEnd | undefined;
}

/** Fits a job's settings and the names and hashes of its files. */
const MAX_RECORD_BYTES = 256 * 1024;
/** Fits several hundred messages, or a card with generated texts. */
const MAX_BATCH_BYTES = 4 * 2 ** 20;
const DIGITS = 9;

const padded = (number: number) => String(number).padStart(DIGITS, '0');

/** Whether a pod's argument is the prefix of an attempt. */
export function isAttemptPrefix(text: string): boolean {
  return /^[\w.-]+\/\.jobs\/ftjob-[A-Za-z0-9]+\/run\/pods\/\d{9}\/$/.test(text);
}

const attemptsPrefix = (job: RecordName) => `${runPrefix(job)}pods/`;
/** The key of an input. It depends only on the content, so the attempts of a job share it. */
export const inputKey = (job: RecordName, sha256: string): string =>
  `${runPrefix(job)}inputs/${sha256}`;

/** Lists the numbers of a job's attempts, newest last. */
export async function attemptNumbers(
  store: GuardedStore,
  job: RecordName,
  call: StoreCall,
): Promise<number[]> {
  return (await listFolders(store, attemptsPrefix(job), /^\d{9}$/, call)).map(Number);
}

/** Removes attempts with lower numbers. They are closed, and their results have been stored elsewhere. */
export async function removeAttempts(
  store: GuardedStore,
  job: RecordName,
  { before, call }: { readonly before: number; readonly call: StoreCall },
): Promise<void> {
  for (const number of await attemptNumbers(store, job, call)) {
    if (number >= before) continue;
    const { prefix } = Attempt.of(store, job, number);
    for await (const { key } of store.list(prefix, call)) await store.delete(key, call);
  }
}

/** One attempt's part of the store. */
export class Attempt {
  /** The prefix of all its keys, with a slash at the end. It also names the attempt. */
  readonly prefix: string;
  readonly store: GuardedStore;
  readonly #records: Records<AttemptRecord>;
  readonly #batches: Records<BatchRecord>;

  /** @param number the fencing token of the lease that started it */
  static of(store: GuardedStore, job: RecordName, number: number): Attempt {
    return new Attempt(store, `${attemptsPrefix(job)}${padded(number)}/`);
  }

  constructor(store: GuardedStore, prefix: string) {
    this.store = store;
    this.prefix = prefix;
    this.#records = new Records(store, { schema: recordSchema, maxBytes: MAX_RECORD_BYTES });
    this.#batches = new Records(store, { schema: batchSchema, maxBytes: MAX_BATCH_BYTES });
  }

  /** Holds the run's checkpoints. */
  get archive(): RunArchive {
    return new RunArchive(this.store, `${this.prefix}run/`);
  }

  /** Creates the record. Returns the record that exists afterwards: the new one or an earlier one. */
  async create(record: AttemptRecord, call: StoreCall): Promise<AttemptRecord> {
    return (await this.#records.create(this.prefix + RECORD, record, call)).value;
  }

  /** Returns the record, or undefined if there is none. */
  async read(call?: StoreCall): Promise<AttemptRecord | undefined> {
    return this.#records.read(this.prefix + RECORD, call);
  }

  /**
   * Changes the record on behalf of the server with this lease. Returns false if the attempt is closed or has a later lease.
   */
  async change(
    fencingToken: number,
    changes: Partial<Pick<AttemptRecord, 'isOpen' | 'acknowledgedBatches'>>,
    call?: StoreCall,
  ): Promise<boolean> {
    let isOwn = false;
    await this.#change((now) => {
      isOwn = now.isOpen && now.token === fencingToken;
      return isOwn ? { ...now, ...changes } : undefined;
    }, call);
    return isOwn;
  }

  /** Hands the attempt to a later lease. Returns the resulting record. */
  async take(fencingToken: number, call: StoreCall): Promise<AttemptRecord | undefined> {
    return this.#change((now) => {
      const isLater = now.isOpen && now.token < fencingToken;
      return isLater ? { ...now, token: fencingToken } : undefined;
    }, call);
  }

  async #change(
    change: (now: AttemptRecord) => AttemptRecord | undefined,
    call: StoreCall | undefined,
  ): Promise<AttemptRecord | undefined> {
    return this.#records.change(this.prefix + RECORD, change, call);
  }

  /** Returns a batch, or undefined if it has not been written yet. Batches count from 1 without gaps. */
  async readBatch(number: number, call: StoreCall): Promise<MessageBatch | undefined> {
    const batch = await this.#batches.read(this.#batchKey(number), call);
    return batch as unknown as MessageBatch | undefined;
  }

  /** Writes a batch. Returns false if another pod has written this number. */
  async writeBatch(number: number, batch: MessageBatch): Promise<boolean> {
    const record = { schema: 1, ...batch } as unknown as BatchRecord;
    return (await this.#batches.create(this.#batchKey(number), record)).isNew;
  }

  /** Returns the number of the last batch, or 0. */
  async lastBatch(): Promise<number> {
    const prefix = `${this.prefix}messages/`;
    let last = 0;
    for await (const { key } of this.store.list(prefix)) {
      last = Number.parseInt(key.slice(prefix.length), 10);
    }
    return last;
  }

  /** The key of a message's file. */
  fileKey(folder: string, name: string): string {
    return `${this.prefix}files/${folder}/${name}`;
  }

  #batchKey(number: number): string {
    return `${this.prefix}messages/${padded(number)}.json`;
  }
}
