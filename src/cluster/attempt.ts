// One attempt of a pod at a job, as objects in the store: the attempt's record, the files that the run reads, the
// trainer's messages, and checkpoints. Server and pod meet nowhere else, and the pod writes nowhere else. Knows no
// cluster.

import { z } from 'zod';
import { type Marked, Records } from '../../adapters/store/records.ts';
import type { ObjectStore, StoreCall } from '../../adapters/store/store.ts';
import type { TrainerMessage } from '../contracts/training-messages.ts';
import { faultSchema } from '../contracts/training-messages.ts';
import { gateSchema } from '../contracts/training-settings.ts';
import { type JobName, runPrefix } from '../jobs/job-store.ts';
import { RunArchive } from '../jobs/run-archive.ts';
import type { RunEnd } from '../jobs/runner.ts';
import { storedFileSchema } from '../jobs/stored-files.ts';

/** Keys of a trainer's job that name local files. `initAdapter` is a folder. */
export const INPUT_KEYS = ['data', 'validation', 'initAdapter'] as const;

const recordSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  jobId: z.string(),
  tenant: z.string(),
  /** The lease of the server that follows the attempt. */
  token: z.int().min(0),
  /** False if nobody wants the result any more. */
  isOpen: z.boolean(),
  /** How many batches of messages have been handled. */
  heard: z.int().min(0),
  /** The trainer's job without the model and the keys that name local files. */
  job: z.record(z.string(), z.unknown()),
  gate: gateSchema,
  baseDigest: z.string(),
  inputs: z.array(storedFileSchema.extend({ key: z.enum(INPUT_KEYS) })),
});

/** Tells a pod what to do, and whether anybody still wants the result. */
export type AttemptRecord = z.infer<typeof recordSchema>;

/** Keys of messages that name a local file or folder. */
export const PATH_KEYS = ['directory', 'resultFile'] as const;

const storedMessageSchema = z.object({
  message: z.looseObject({
    type: z.enum(['step', 'event', 'snapshot', 'card', 'trained', 'fault']),
  }),
  /** The files behind the message's paths, each path in a folder of its own. */
  files: z
    .partialRecord(
      z.enum(PATH_KEYS),
      z.object({ folder: z.uuid(), files: z.array(storedFileSchema) }),
    )
    .optional(),
});

const batchSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  messages: z.array(storedMessageSchema),
  /** Only in the last batch. A pod that was asked to end writes none, because another pod continues. */
  end: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('succeeded') }),
      z.object({ kind: z.enum(['failed', 'lost']), error: faultSchema }),
    ])
    .optional(),
});

type BatchRecord = z.infer<typeof batchSchema>;

/** A message as it is stored. */
export interface StoredMessage {
  readonly message: TrainerMessage;
  readonly files?: NonNullable<z.infer<typeof storedMessageSchema>['files']>;
}

/** Consecutive messages, and the end of the run if these are the last ones. */
export interface MessageBatch {
  readonly messages: readonly StoredMessage[];
  readonly end?: RunEnd | undefined;
}

/** Holds a job's settings and the names and hashes of its files. */
const MAX_RECORD_BYTES = 256 * 1024;
/** Holds some hundred messages, or a card with generated texts. */
const MAX_BATCH_BYTES = 4 * 2 ** 20;
const DIGITS = 9;

const padded = (number: number) => String(number).padStart(DIGITS, '0');

/** Whether a pod's argument is the prefix of an attempt. */
export function isAttemptPrefix(text: string): boolean {
  return /^[\w.-]+\/\.jobs\/ftjob-[A-Za-z0-9]+\/run\/pods\/\d{9}\/$/.test(text);
}

const attemptsPrefix = (job: JobName) => `${runPrefix(job)}pods/`;
/** The key of an input. It depends on the content only, so the attempts of a job share it. */
export const inputKey = (job: JobName, sha256: string): string =>
  `${runPrefix(job)}inputs/${sha256}`;

/** Lists the numbers of a job's attempts, newest last. */
export async function attemptNumbers(
  store: ObjectStore,
  job: JobName,
  call: StoreCall,
): Promise<number[]> {
  const prefix = attemptsPrefix(job);
  const numbers: number[] = [];
  for await (const { kind, key } of store.list(prefix, { ...call, delimiter: '/' })) {
    const name = key.slice(prefix.length);
    if (kind === 'folder' && /^\d{9}\/$/.test(name)) numbers.push(Number.parseInt(name, 10));
  }
  return numbers;
}

/** Removes attempts with lower numbers. They are closed, and their results are elsewhere. */
export async function removeAttempts(
  store: ObjectStore,
  job: JobName,
  { before, call }: { readonly before: number; readonly call: StoreCall },
): Promise<void> {
  for (const number of await attemptNumbers(store, job, call)) {
    if (number >= before) continue;
    const { prefix } = Attempt.of(store, job, number);
    for await (const { key } of store.list(prefix, call)) await store.delete(key, call);
  }
}

/** The part of the store that belongs to one attempt. */
export class Attempt {
  /** The prefix of all its keys, with a slash at the end. It also names the attempt. */
  readonly prefix: string;
  readonly store: ObjectStore;
  readonly #records: Records<AttemptRecord & Marked>;
  readonly #batches: Records<BatchRecord & Marked>;

  /** @param store guarded @param number the token of the lease that started it */
  static of(store: ObjectStore, job: JobName, number: number): Attempt {
    return new Attempt(store, `${attemptsPrefix(job)}${padded(number)}/`);
  }

  constructor(store: ObjectStore, prefix: string) {
    this.store = store;
    this.prefix = prefix;
    this.#records = new Records(store, { schema: recordSchema, maxBytes: MAX_RECORD_BYTES });
    this.#batches = new Records(store, { schema: batchSchema, maxBytes: MAX_BATCH_BYTES });
  }

  /** Holds the run's checkpoints. */
  get archive(): RunArchive {
    return new RunArchive(this.store, `${this.prefix}run/`);
  }

  /** Returns the record that is there afterwards: the new one or an earlier one. */
  async create(record: Omit<AttemptRecord, 'mark'>, call: StoreCall): Promise<AttemptRecord> {
    return (await this.#records.create(this.#recordKey, record, call)).value;
  }

  /** Returns undefined if there is no record. */
  async read(call?: StoreCall): Promise<AttemptRecord | undefined> {
    return this.#records.read(this.#recordKey, call);
  }

  /** Changes the record for the server under this lease. Returns false if it is closed or has a later lease. */
  async change(
    token: number,
    changes: Partial<Pick<AttemptRecord, 'isOpen' | 'heard'>>,
    call?: StoreCall,
  ): Promise<boolean> {
    let isOwn = false;
    await this.#records.change(
      this.#recordKey,
      (now) => {
        isOwn = now.isOpen && now.token === token;
        return isOwn ? { ...now, ...changes } : undefined;
      },
      call,
    );
    return isOwn;
  }

  /** Hands the attempt to a later lease. Returns the record as it is then. */
  async take(token: number, call: StoreCall): Promise<AttemptRecord | undefined> {
    return this.#records.change(
      this.#recordKey,
      (now) => (now.isOpen && now.token < token ? { ...now, token } : undefined),
      call,
    );
  }

  /** Returns a batch, or undefined if it is not there yet. Batches count from 1 without gaps. */
  async readBatch(number: number, call: StoreCall): Promise<MessageBatch | undefined> {
    const batch = await this.#batches.read(this.#batchKey(number), call);
    return batch as unknown as MessageBatch | undefined;
  }

  /** Returns false if another pod has written this number. */
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

  get #recordKey(): string {
    return `${this.prefix}ticket.json`;
  }

  #batchKey(number: number): string {
    return `${this.prefix}messages/${padded(number)}.json`;
  }
}
