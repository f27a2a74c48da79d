// Carries a trainer's messages from its pod to the server through the store, in numbered batches. Each batch is written after
// the files that its messages name. A number is written once: if an attempt has two pods, the slower one finds its number taken
// and stops.
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { StoreCall } from '../../adapters/store/store.ts';
import { makeFolder } from '../common/folders.ts';
import type { Logger } from '../common/log.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Backoff, retry } from '../common/waiting.ts';
import type { TrainerMessage } from '../contracts/training-messages.ts';
import type { RunEnd } from '../jobs/runner.ts';
import { describePath, fetchFile } from '../jobs/stored-files.ts';
import { type Attempt, type MessageBatch, PATH_KEYS, type StoredMessage } from './attempt.ts';

/** Settings of a `MessageWriter`. */
interface MessageWriterOptions {
  readonly attempt: Attempt;
  readonly runDir: string;
  /** The number of the last written batch. */
  readonly last: number;
  readonly log: Pick<Logger, 'warn'>;
  /** Milliseconds between batches of steps. */
  readonly flushMs: number;
  /** Called once if nothing more can be written. */
  readonly onStuck: (reason: string) => void;
}

/** If the store is away for longer, somebody must look into it. The run's checkpoints stay in the store. */
const GIVE_UP_MS = 15 * 60_000;
const BACKOFF: Backoff = { firstMs: 250, longestMs: 15_000 };
/** A step takes about 300 bytes. */
const MAX_BATCH_MESSAGES = 500;

/** Messages that only the pod's own log shows. */
const LOCAL_TYPES: ReadonlySet<TrainerMessage['type']> = new Set([
  'note',
  'plan',
  'progress',
  'result',
]);

/** Writes the messages. The pod's side. */
export class MessageWriter {
  readonly #options: MessageWriterOptions;
  #waiting: StoredMessage[] = [];
  #written: number;
  #flushedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Aborts when nothing more can be written. */
  readonly #stuck = new AbortController();
  /** Writes run one at a time. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: MessageWriterOptions) {
    this.#options = options;
    this.#written = options.last;
  }

  /** Resolves when the next message may come. Does not throw. */
  async write(message: TrainerMessage): Promise<void> {
    if (this.#stuck.signal.aborted || LOCAL_TYPES.has(message.type)) return;
    const stored = await this.#persist(() => this.#putFiles(message));
    if (!stored) return;
    this.#waiting.push(stored);
    const isFull = this.#waiting.length >= MAX_BATCH_MESSAGES;
    const isDue = performance.now() - this.#flushedMs >= this.#options.flushMs;
    if (isFull || isDue || message.type !== 'step') return this.#flush();
    this.#timer ??= setTimeout(() => void this.#flush(), this.#options.flushMs);
  }

  /** Writes the remaining messages, and the end unless another pod continues. Returns whether everything is in the store. */
  async close(end?: RunEnd): Promise<boolean> {
    await this.#flush(end);
    return !this.#stuck.signal.aborted;
  }

  #flush(end?: RunEnd): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#writeBatch(end));
    return this.#writing;
  }

  async #writeBatch(end: RunEnd | undefined): Promise<void> {
    // Copied, because the list grows while the batch is written.
    const messages = [...this.#waiting];
    if (messages.length === 0 && !end) return;
    const batch = { messages, ...(end && { end }) };
    const number = this.#written + 1;
    const isOwn = await this.#persist(() => this.#options.attempt.writeBatch(number, batch));
    this.#flushedMs = performance.now();
    if (isOwn === undefined) return;
    if (!isOwn) return this.#giveUp('another pod continues this run');
    this.#written = number;
    this.#waiting = this.#waiting.slice(messages.length);
  }

  /** Returns undefined if the files are gone because the trainer has made three newer snapshots since. */
  async #putFiles(message: TrainerMessage): Promise<StoredMessage | undefined> {
    const { attempt, runDir } = this.#options;
    if (message.type === 'event' && message.code === 'checkpoint') {
      await attempt.archive.save(runDir, { signal: new AbortController().signal });
    }
    const files: NonNullable<StoredMessage['files']> = {};
    for (const key of PATH_KEYS) {
      const local = (message as { readonly [K in typeof key]?: string })[key];
      if (local === undefined) continue;
      const folder = randomUUID();
      const content = await describePath(local).catch(ifMissing);
      if (!content) return undefined;
      await mapBounded(content.files, ({ name }) =>
        attempt.store.put(attempt.fileKey(folder, name), { file: path.join(content.root, name) }),
      );
      files[key] = { folder, files: content.files };
    }
    return { message, ...(Object.keys(files).length > 0 && { files }) };
  }

  /** Retries until the call succeeds. Returns undefined if nothing more can be written. */
  async #persist<T>(work: () => Promise<T>): Promise<T | undefined> {
    const beginMs = performance.now();
    const isRetryable = (error: unknown) => {
      this.#options.log.warn({ err: error }, 'trainer messages not written');
      return performance.now() - beginMs <= GIVE_UP_MS;
    };
    try {
      return await retry(work, { ...BACKOFF, signal: this.#stuck.signal, isRetryable });
    } catch {
      this.#giveUp('the store does not answer');
      return undefined;
    }
  }

  #giveUp(reason: string): void {
    if (this.#stuck.signal.aborted) return;
    this.#stuck.abort();
    clearTimeout(this.#timer);
    this.#options.onStuck(reason);
  }
}

function ifMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

/** A message whose files are on this machine. */
interface FetchedMessage {
  readonly message: TrainerMessage;
  /** Removes the files here and in the store. */
  removeFiles(): Promise<void>;
}

/**
 * Reads the messages. The server's side. Every path in a message becomes a path below `dir`, so a pod cannot name the server's
 * paths.
 */
export class MessageReader {
  readonly #attempt: Attempt;
  readonly #dir: string;
  #number = 0;

  /** @param dir for the files of messages */
  constructor(attempt: Attempt, dir: string) {
    this.#attempt = attempt;
    this.#dir = dir;
  }

  /** The number of the last batch that was read. */
  get number(): number {
    return this.#number;
  }

  /** Returns the next batch, or undefined if it has not been written yet. */
  async next(call: StoreCall): Promise<MessageBatch | undefined> {
    const batch = await this.#attempt.readBatch(this.#number + 1, call);
    if (batch) this.#number++;
    return batch;
  }

  /** Fetches the files of a message. Returns undefined if the store no longer has them as they were stored. */
  async fetch(
    { message, files = {} }: StoredMessage,
    call: StoreCall,
  ): Promise<FetchedMessage | undefined> {
    const local: Record<string, unknown> = { ...message };
    for (const key of PATH_KEYS) {
      if (!(key in message)) continue;
      const stored = files[key];
      if (!stored || stored.files.length === 0) return undefined;
      const dir = path.join(this.#dir, stored.folder);
      await makeFolder(dir);
      const isThere = await mapBounded(stored.files, (file) => {
        const target = path.join(dir, file.name);
        const from = this.#attempt.fileKey(stored.folder, file.name);
        return fetchFile(this.#attempt.store, from, { file, target, call });
      });
      if (isThere.includes(false)) return undefined;
      local[key] = key === 'directory' ? dir : path.join(dir, stored.files[0]!.name);
    }
    const attempt = this.#attempt;
    const removeFiles = async () => {
      for (const { folder, files: stored } of Object.values(files)) {
        await mapBounded(stored, ({ name }) => attempt.store.delete(attempt.fileKey(folder, name)));
        await rm(path.join(this.#dir, folder), { recursive: true, force: true });
      }
    };
    return { message: local as unknown as TrainerMessage, removeFiles };
  }
}
