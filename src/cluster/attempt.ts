// One attempt at a job by a pod, as objects in the store: the ticket that says what to do and whether anybody still
// wants it, what the run reads, what its trainer says, and its checkpoints. Server and pod meet nowhere else, and the
// pod writes nowhere else. Knows no cluster.
import { z } from 'zod';
import type { ObjectStore, StoreCall } from '../../adapters/store/store.ts';
import type { TrainerMessage } from '../contracts/training.ts';
import { gateSchema } from '../contracts/training-settings.ts';
import { type JobName, runPrefix } from '../jobs/job-store.ts';
import { type Marked, Records } from '../jobs/records.ts';
import type { RunArchive, RunEnd } from '../jobs/runner.ts';
import { storedFileSchema } from '../jobs/stored-files.ts';
import { createRunArchive } from '../jobs/sync-run.ts';

/** Keys of a trainer's job that name local files; `initAdapter` is a folder. */
export const INPUT_KEYS = ['data', 'validation', 'initAdapter'] as const;

const ticketSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  jobId: z.string(),
  tenant: z.string(),
  /** Of the lease whose server listens. */
  token: z.int().min(0),
  /** False: nobody wants what comes of it any more. */
  isOpen: z.boolean(),
  /** Batches of messages that have been dealt with. */
  heard: z.int().min(0),
  /** Without the keys that name local files, and without the model. */
  job: z.record(z.string(), z.unknown()),
  gate: gateSchema,
  baseDigest: z.string(),
  inputs: z.array(storedFileSchema.extend({ key: z.enum(INPUT_KEYS) })),
});

export type Ticket = z.infer<typeof ticketSchema>;

/** Keys of messages that name local files, or a folder of them. */
export const PATH_KEYS = ['directory', 'resultFile'] as const;

const toldSchema = z.object({
  message: z.looseObject({
    type: z.enum(['step', 'event', 'snapshot', 'card', 'trained', 'fault']),
  }),
  /** What its paths lead to: under a name of its own each. */
  files: z
    .partialRecord(
      z.enum(PATH_KEYS),
      z.object({ folder: z.uuid(), files: z.array(storedFileSchema) }),
    )
    .optional(),
});

const faultSchema = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
  lines: z.array(z.int()).optional(),
});

const batchSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  messages: z.array(toldSchema),
  /** Of the last batch. A pod that was asked to end writes none: another one goes on. */
  end: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('succeeded') }),
      z.object({ kind: z.enum(['failed', 'lost']), error: faultSchema }),
    ])
    .optional(),
});

export type Batch = z.infer<typeof batchSchema>;

/** A message as it lies in the store. */
export interface Told {
  readonly message: TrainerMessage;
  readonly files?: NonNullable<z.infer<typeof toldSchema>['files']>;
}

/** Settings of a job, its files' names and sums. */
const MAX_TICKET_BYTES = 256 * 1024;
/** Some hundred messages; a card with the texts that it generated. */
const MAX_BATCH_BYTES = 4 * 2 ** 20;
const DIGITS = 9;

const numbered = (number: number) => String(number).padStart(DIGITS, '0');

/** What a pod is told. */
export function isAttemptPrefix(text: string): boolean {
  return /^[\w.-]+\/\.jobs\/ftjob-[A-Za-z0-9]+\/run\/pods\/\d{9}\/$/.test(text);
}

const attemptsPrefix = (of: JobName) => `${runPrefix(of)}pods/`;
/** By content: attempts of a job share them. */
export const inputKey = (of: JobName, sha256: string): string => `${runPrefix(of)}inputs/${sha256}`;

/** The newest last. */
export async function attemptNumbers(
  store: ObjectStore,
  of: JobName,
  call: StoreCall,
): Promise<number[]> {
  const prefix = attemptsPrefix(of);
  const numbers: number[] = [];
  for await (const { kind, key } of store.list(prefix, { ...call, delimiter: '/' })) {
    const name = key.slice(prefix.length);
    if (kind === 'folder' && /^\d{9}\/$/.test(name)) numbers.push(Number.parseInt(name, 10));
  }
  return numbers;
}

/** Those that are closed: what came of them is elsewhere. */
export async function removeAttempts(
  store: ObjectStore,
  of: JobName,
  { before, call }: { readonly before: number; readonly call: StoreCall },
): Promise<void> {
  for (const number of await attemptNumbers(store, of, call)) {
    if (number >= before) continue;
    const { prefix } = Attempt.of(store, of, number);
    for await (const { key } of store.list(prefix, call)) await store.delete(key, call);
  }
}

export class Attempt {
  /** Of all its keys, with a slash at its end; it also names the attempt. */
  readonly prefix: string;
  readonly store: ObjectStore;
  readonly #tickets: Records<Ticket & Marked>;
  readonly #batches: Records<Batch & Marked>;

  /** @param store guarded @param number the token of the lease that began it */
  static of(store: ObjectStore, job: JobName, number: number): Attempt {
    return new Attempt(store, `${attemptsPrefix(job)}${numbered(number)}/`);
  }

  constructor(store: ObjectStore, prefix: string) {
    this.store = store;
    this.prefix = prefix;
    this.#tickets = new Records(store, { schema: ticketSchema, maxBytes: MAX_TICKET_BYTES });
    this.#batches = new Records(store, { schema: batchSchema, maxBytes: MAX_BATCH_BYTES });
  }

  /** Of the run's checkpoints. */
  get archive(): RunArchive {
    return createRunArchive(this.store, `${this.prefix}run/`);
  }

  /** Or the one that is there. */
  async create(ticket: Omit<Ticket, 'mark'>, call: StoreCall): Promise<Ticket> {
    return (await this.#tickets.create(this.#ticketKey, ticket, call)).value;
  }

  async readTicket(call?: StoreCall): Promise<Ticket | undefined> {
    return (await this.#tickets.read(this.#ticketKey, call))?.value;
  }

  /** For the server under this lease only. @returns false where a later one has the attempt, or it is closed */
  async change(
    token: number,
    changes: Partial<Pick<Ticket, 'isOpen' | 'heard'>>,
    call?: StoreCall,
  ): Promise<boolean> {
    const isOwn = (now: Ticket) => now.isOpen && now.token === token;
    let wasOwn = false;
    await this.#tickets.change(
      this.#ticketKey,
      (now) => {
        wasOwn = isOwn(now);
        return wasOwn ? { ...now, ...changes } : undefined;
      },
      call,
    );
    return wasOwn;
  }

  /** A later lease takes over. @returns the ticket as it is then */
  async take(token: number, call: StoreCall): Promise<Ticket | undefined> {
    return this.#tickets.change(
      this.#ticketKey,
      (now) => (now.isOpen && now.token < token ? { ...now, token } : undefined),
      call,
    );
  }

  /** Batches are numbered from 1, without gaps. Undefined: not yet. */
  async readBatch(number: number, call: StoreCall): Promise<Batch | undefined> {
    return (await this.#batches.read(this.#batchKey(number), call))?.value;
  }

  /** @returns false where somebody else has written this number */
  async writeBatch(number: number, batch: Omit<Batch, 'mark' | 'schema'>): Promise<boolean> {
    const value = { schema: 1 as const, ...batch };
    return (await this.#batches.create(this.#batchKey(number), value)).isNew;
  }

  async lastBatch(): Promise<number> {
    const prefix = `${this.prefix}messages/`;
    let last = 0;
    for await (const { key } of this.store.list(prefix)) {
      last = Number.parseInt(key.slice(prefix.length), 10);
    }
    return last;
  }

  /** Of a file of a message. */
  fileKey(folder: string, name: string): string {
    return `${this.prefix}files/${folder}/${name}`;
  }

  get #ticketKey(): string {
    return `${this.prefix}ticket.json`;
  }

  #batchKey(number: number): string {
    return `${this.prefix}messages/${numbered(number)}.json`;
  }
}

/** As a runner's: what the schema leaves open is a `RunEnd`'s. */
export function toRunEnd(end: NonNullable<Batch['end']>): RunEnd {
  return end as RunEnd;
}
