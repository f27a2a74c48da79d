// A session on this machine's disk: each request before it is acknowledged, each result, and states of its models. A server
// that inherits the folder of a killed one continues the session. A file is complete or absent. Files are not forced to the
// disk, so a machine that loses its power may lose the last ones.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { ServeError } from '../common/errors.ts';
import { largest } from '../common/long-arrays.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { TurnQueue } from '../common/turn-queue.ts';
import {
  decodeEntry,
  encodeEntry,
  factsSchema,
  type JournaledRequest,
  type JournaledResult,
  requestSchema,
  resultSchema,
  type SamplingSessionFacts,
  type SessionFacts,
  samplingSessionSchema,
} from './journal-entries.ts';

/** The files of a model by the numbers of its requests, in order. */
interface ModelEntries {
  readonly request: number[];
  readonly result: number[];
  /** The last request in each saved state. */
  readonly state: number[];
}

/** The numbers of a model's requests that have a file of each kind. Results are in order. */
interface ModelFiles {
  /** With the file's size. */
  readonly request: Map<number, number>;
  readonly result: Set<number>;
  readonly state: Set<number>;
}

/** Requests of this size take minutes to compute. A client that sends more has to wait for results. */
const MAX_REQUEST_BYTES = 2 ** 30;
/** The results of a model that are kept, the newest. Clients ask for a result within seconds, and have few requests in flight. */
const MAX_RESULTS = 2500;
const FACTS = 'session';
const NAME = /^(\d+)-(\d+)\.(request|result|state)$/;
const SAMPLING_SESSION = /^(\d+)\.sampler$/;

/** The files of a session. */
export class SessionJournal {
  readonly directory: string;
  readonly #models = new Map<number, ModelFiles>();
  /** Clients may make and join sampling sessions in parallel, and two writes of one file would disturb each other. */
  readonly #samplingWork = new TurnQueue({ maxWaiting: Infinity });
  #requestBytes = 0;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Begins a journal below a folder. */
  static async create(root: string, facts: SessionFacts): Promise<SessionJournal> {
    const journal = new SessionJournal(path.join(root, facts.id));
    await mkdir(journal.directory, { recursive: true });
    await journal.#write(FACTS, encodeEntry(facts));
    return journal;
  }

  /** Finds the journals below a folder, the oldest session first. `open` has to follow before they are used. */
  static async findAll(root: string): Promise<SessionJournal[]> {
    const names = existsSync(root) ? (await readdir(root)).sort() : [];
    return names.map((name) => new SessionJournal(path.join(root, name)));
  }

  /** Reads the session's facts. Rejects if they are missing, damaged or of another version. */
  readFacts(): Promise<SessionFacts> {
    return this.#read(FACTS, factsSchema);
  }

  /** Finds the files, and removes what was cut off. */
  async open(): Promise<void> {
    const found: { model: number; seq: number; kind: keyof ModelFiles; name: string }[] = [];
    for (const name of await readdir(this.directory)) {
      if (name.endsWith('.tmp')) await rm(this.#pathOf(name), { recursive: true, force: true });
      const [, model, seq, kind] = NAME.exec(name) ?? [];
      if (!kind) continue;
      found.push({ model: Number(model), seq: Number(seq), kind: kind as keyof ModelFiles, name });
    }
    for (const { model, seq, kind, name } of found.sort((a, b) => a.seq - b.seq)) {
      if (kind !== 'request') this.#filesOf(model)[kind].add(seq);
      else this.#noteRequest(model, seq, (await stat(this.#pathOf(name))).size);
    }
  }

  /** Keeps a request. Throws `ServeError` (429) if the session's requests take too much space. */
  async addRequest(model: number, seq: number, request: JournaledRequest): Promise<void> {
    const content = encodeEntry(request);
    if (this.#requestBytes + content.length > MAX_REQUEST_BYTES) {
      const message = 'Too many requests are unfinished. Wait for their results.';
      throw new ServeError('rate_limit_exceeded', message);
    }
    this.#noteRequest(model, seq, content.length); // before others are checked
    await this.#write(`${model}-${seq}.request`, content).catch((error) => {
      this.#forgetRequest(model, seq);
      throw error;
    });
  }

  readRequest(model: number, seq: number): Promise<JournaledRequest> {
    return this.#read(`${model}-${seq}.request`, requestSchema);
  }

  /** Removes a request that no new trainer would have to repeat. */
  async removeRequest(model: number, seq: number): Promise<void> {
    await rm(this.#pathOf(`${model}-${seq}.request`), { force: true });
    this.#forgetRequest(model, seq);
  }

  /** Returns the size of a model's requests that are done and that no state contains yet. */
  doneBytes(model: number): number {
    return this.#doneRequests(model).reduce((sum, [, size]) => sum + size, 0);
  }

  /** Keeps a result, and removes the oldest ones if there are too many. */
  async addResult(model: number, seq: number, result: JournaledResult): Promise<void> {
    await this.#write(`${model}-${seq}.result`, encodeEntry(result));
    const { result: results } = this.#filesOf(model);
    results.add(seq);
    for (const oldest of results) {
      if (results.size <= MAX_RESULTS) return;
      await this.#removeResult(model, oldest);
    }
  }

  /** Returns undefined if the result was not kept, for lack of space, or if it is damaged. */
  readResult(model: number, seq: number): Promise<JournaledResult | undefined> {
    return this.#read(`${model}-${seq}.result`, resultSchema).catch(() => undefined);
  }

  /** Whether a model's state after a request is kept. */
  hasState(model: number, seq: number): boolean {
    return existsSync(this.stateFolder(model, seq));
  }

  /** Returns the folder of a model's state after a request. */
  stateFolder(model: number, seq: number): string {
    return this.#pathOf(`${model}-${seq}.state`);
  }

  /**
   * Keeps a model's state after a request, and removes what it replaces: requests that have a result, and the results before the
   * last state, whose clients have had the time between two states to ask for them.
   */
  async addState(
    model: number,
    seq: number,
    fill: (directory: string) => Promise<unknown>,
  ): Promise<void> {
    const temporary = `${this.stateFolder(model, seq)}.tmp`;
    try {
      await mkdir(temporary);
      await fill(temporary);
      await rename(temporary, this.stateFolder(model, seq));
    } catch (error) {
      await rm(temporary, { recursive: true, force: true }); // a full disk needs the space
      throw error;
    }
    const { result, state } = this.#filesOf(model);
    const last = largest([-1, ...state]);
    state.add(seq);
    for (const [one] of this.#doneRequests(model)) {
      if (one <= seq) await this.removeRequest(model, one);
    }
    for (const one of result) if (one <= last) await this.#removeResult(model, one);
    for (const one of state) {
      if (one === seq) continue;
      await rm(this.stateFolder(model, one), { recursive: true, force: true });
      state.delete(one);
    }
  }

  /** Returns the files of all models, by the model's number. */
  entries(): Map<number, ModelEntries> {
    const sorted = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b);
    const entries = [...this.#models].map(([model, { request, result, state }]) => {
      const lists = { request: sorted(request.keys()), result: [...result], state: sorted(state) };
      return [model, lists] as const;
    });
    return new Map(entries);
  }

  /** Keeps a sampling session. Of several calls for one sampling session, the last one counts. */
  async writeSamplingSession(number: number, facts: SamplingSessionFacts): Promise<void> {
    const write = () => this.#write(`${number}.sampler`, encodeEntry(facts));
    await this.#samplingWork.take({ tenant: '' }, write);
  }

  async removeSamplingSession(number: number): Promise<void> {
    const remove = () => rm(this.#pathOf(`${number}.sampler`), { force: true });
    await this.#samplingWork.take({ tenant: '' }, remove);
  }

  /** Returns the last sampling sessions by number, in order, and removes all others. */
  async samplingSessions(max: number): Promise<(readonly [number, SamplingSessionFacts])[]> {
    const names = await readdir(this.directory);
    const numbers = names.flatMap((name) => SAMPLING_SESSION.exec(name)?.[1] ?? []).map(Number);
    numbers.sort((a, b) => a - b);
    await mapBounded(numbers.slice(0, -max), (number) => this.removeSamplingSession(number));
    return mapBounded(numbers.slice(-max), async (number) => {
      return [number, await this.#read(`${number}.sampler`, samplingSessionSchema)] as const;
    });
  }

  /** Returns when the last file was added, in Unix milliseconds. */
  async changedMs(): Promise<number> {
    return (await stat(this.directory)).mtimeMs;
  }

  /** Removes the session. */
  async remove(): Promise<void> {
    // A request that is being written may come in between.
    await rm(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }

  #filesOf(model: number): ModelFiles {
    const files = this.#models.get(model) ?? {
      request: new Map(),
      result: new Set(),
      state: new Set(),
    };
    this.#models.set(model, files);
    return files;
  }

  /** Lists the requests up to the last result, with their sizes. */
  #doneRequests(model: number): [seq: number, size: number][] {
    const { request, result } = this.#filesOf(model);
    const done = [...result].at(-1) ?? -1;
    return [...request].filter(([seq]) => seq <= done);
  }

  #noteRequest(model: number, seq: number, size: number): void {
    this.#filesOf(model).request.set(seq, size);
    this.#requestBytes += size;
  }

  #forgetRequest(model: number, seq: number): void {
    const { request } = this.#filesOf(model);
    this.#requestBytes -= request.get(seq) ?? 0;
    request.delete(seq);
  }

  async #removeResult(model: number, seq: number): Promise<void> {
    await rm(this.#pathOf(`${model}-${seq}.result`), { force: true });
    this.#filesOf(model).result.delete(seq);
  }

  async #write(name: string, content: Uint8Array): Promise<void> {
    const file = this.#pathOf(name);
    await writeFile(`${file}.tmp`, content);
    await rename(`${file}.tmp`, file);
  }

  async #read<T>(name: string, schema: z.ZodType<T>): Promise<T> {
    return decodeEntry(await readFile(this.#pathOf(name)), schema, name);
  }

  #pathOf(name: string): string {
    return path.join(this.directory, name);
  }
}
