// What a pod's trainer says, put into the store in numbered batches, after the files that it speaks of. A number is
// written once: of two pods of one attempt the later one finds its number taken, and stops. Knows no processes.
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Logger } from '../common/log.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { hashFile } from '../common/regular-file.ts';
import type { TrainerMessage } from '../contracts/training.ts';
import type { RunArchive, RunEnd } from '../jobs/runner.ts';
import { describeFiles, type StoredFile } from '../jobs/stored-files.ts';
import { type Attempt, type Batch, PATH_KEYS, type Told } from './attempt.ts';

export interface MessageWriterOptions {
  readonly attempt: Attempt;
  readonly archive: RunArchive;
  readonly runDir: string;
  /** Batches that are there. */
  readonly last: number;
  readonly log: Pick<Logger, 'warn'>;
  /** Between two batches of steps. */
  readonly flushMs: number;
  /** Called once, when nothing more can be written. */
  readonly onStuck: (reason: string) => void;
}

/** A store that is away for longer than this has to be somebody's care; the run's checkpoints stay in the store. */
const GIVE_UP_MS = 15 * 60_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;
/** Of steps, some 300 bytes each. */
const MAX_BATCH_MESSAGES = 500;

/** For people and programs beside the run: the pod's own log has them. */
const UNHEARD: ReadonlySet<TrainerMessage['type']> = new Set(['note', 'plan', 'result']);

export class MessageWriter {
  readonly #options: MessageWriterOptions;
  #waiting: Told[] = [];
  #written: number;
  #flushedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStuck = false;
  /** One at a time. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: MessageWriterOptions) {
    this.#options = options;
    this.#written = options.last;
  }

  /** Resolves when more may be told. Does not reject. */
  async tell(message: TrainerMessage): Promise<void> {
    if (this.#isStuck || UNHEARD.has(message.type)) return;
    const told = await this.#persist(() => this.#withFiles(message));
    if (!told) return;
    this.#waiting.push(told);
    const isFull = this.#waiting.length >= MAX_BATCH_MESSAGES;
    const isDue = performance.now() - this.#flushedMs >= this.#options.flushMs;
    if (isFull || isDue || message.type !== 'step') return this.#flush();
    this.#timer ??= globalThis.setTimeout(() => void this.#flush(), this.#options.flushMs);
  }

  /** Writes what is left. @param end absent: another pod goes on @returns whether it is all in the store */
  async close(end?: RunEnd): Promise<boolean> {
    await this.#flush(end);
    return !this.#isStuck;
  }

  #flush(end?: RunEnd): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write(end));
    return this.#writing;
  }

  async #write(end: RunEnd | undefined): Promise<void> {
    const messages = this.#waiting;
    if (messages.length === 0 && !end) return;
    const batch = { messages, ...(end && { end }) } as Omit<Batch, 'mark' | 'schema'>;
    const number = this.#written + 1;
    const isOwn = await this.#persist(() => this.#options.attempt.writeBatch(number, batch));
    this.#flushedMs = performance.now();
    if (isOwn === undefined) return;
    if (!isOwn) return this.#stop('another pod goes on with this run');
    this.#written = number;
    this.#waiting = this.#waiting.slice(messages.length);
  }

  /** Undefined where what it speaks of is gone: the trainer has gone on by three snapshots. */
  async #withFiles(message: TrainerMessage): Promise<Told | undefined> {
    if (message.type === 'event' && message.code === 'checkpoint') await this.#saveCheckpoint();
    const { attempt } = this.#options;
    const files: NonNullable<Told['files']> = {};
    for (const key of PATH_KEYS) {
      const place = (message as { readonly [K in typeof key]?: string })[key];
      if (place === undefined) continue;
      const folder = randomUUID();
      const described = await describe(place).catch(ifMissing);
      if (!described) return undefined;
      const { root, found } = described;
      await mapBounded(found, ({ name }) =>
        attempt.store.put(attempt.fileKey(folder, name), { file: path.join(root, name) }),
      );
      files[key] = { folder, files: found };
    }
    return { message, ...(Object.keys(files).length > 0 && { files }) };
  }

  async #saveCheckpoint(): Promise<void> {
    const { archive, runDir } = this.#options;
    await archive.save(runDir, { signal: new AbortController().signal });
  }

  /** Tries until it works. Undefined where nothing more can be written. */
  async #persist<T>(work: () => Promise<T>): Promise<T | undefined> {
    const beginMs = performance.now();
    for (let pauseMs = FIRST_PAUSE_MS; !this.#isStuck; pauseMs *= 2) {
      try {
        return await work();
      } catch (error) {
        this.#options.log.warn({ err: error }, 'the store does not take what the trainer says');
        if (performance.now() - beginMs > GIVE_UP_MS) this.#stop('the store does not answer');
      }
      if (!this.#isStuck) await setTimeout(Math.min(pauseMs, LONGEST_PAUSE_MS));
    }
    return undefined;
  }

  #stop(reason: string): void {
    if (this.#isStuck) return;
    this.#isStuck = true;
    clearTimeout(this.#timer);
    this.#options.onStuck(reason);
  }
}

function ifMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

/** A folder's files, or the one file. */
async function describe(place: string): Promise<{ root: string; found: StoredFile[] }> {
  if ((await stat(place)).isDirectory()) return { root: place, found: await describeFiles(place) };
  const { dir, base } = path.parse(place);
  return { root: dir, found: [{ name: base, ...(await hashFile(place)) }] };
}
