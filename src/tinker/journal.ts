// A session on this machine's disk: each request before it is acknowledged, each result, and states of its models. A server
// that inherits the folder of a killed one continues the session. A file is complete or absent. Files are not forced to the
// disk, so a machine that loses its power may lose the last ones.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { type PlainError, ServeError } from '../common/errors.ts';
import type { CheckpointPath } from '../contracts/tinker-path.ts';
import type { AdamStep, NewAdapter } from '../contracts/training-service.ts';
import type { FutureValue } from './futures.ts';

/** The facts of a session that never change. */
export interface SessionFacts {
  readonly id: string;
  readonly tenant: string;
  /** The base's digest. */
  readonly base: string;
  readonly metadata: Metadata;
}

/** Metadata from a client. */
export type Metadata = Readonly<Record<string, unknown>> | null;

/** A checkpoint to load. */
export interface LoadRequest {
  readonly path: string;
  readonly withOptimizer: boolean;
  /** The metadata of a new model. */
  readonly metadata: Metadata;
}

/** A new checkpoint. */
export interface SaveRequest {
  readonly folder: CheckpointPath['folder'];
  readonly name: string;
  readonly ttlS: number | null;
  readonly overwrite: boolean;
  readonly metadata: Metadata;
}

/** A new model. */
export interface CreateRequest {
  /** The name that the client uses. */
  readonly baseModel: string;
  readonly adapter: NewAdapter;
  readonly metadata: Metadata;
}

/** The requests to models, by kind. */
export interface JournaledRequests {
  create: CreateRequest;
  /** Creates a model from a checkpoint, or replaces a model by one. */
  load: LoadRequest;
  /** The bytes are a `ForwardBackwardRequest`. */
  pass: { readonly bytes: Uint8Array };
  step: { readonly adam: AdamStep };
  save: SaveRequest;
  /** Makes a sampler of this number within the session. */
  sampler: { readonly sampler: number };
}

/** A request to a model. */
export type JournaledRequest = {
  [K in keyof JournaledRequests]: { readonly kind: K } & JournaledRequests[K];
}[keyof JournaledRequests];

/** A request's result. */
export type JournaledResult = { readonly value: FutureValue } | { readonly error: PlainError };

/** A client's source of samples. */
export interface SamplerFacts {
  /** The name of the model that answers. */
  readonly model: string;
  /** The base, by the name that the client used. */
  readonly baseModel: string;
  /** The checkpoint's path, if it has one. */
  readonly modelPath: string | undefined;
  readonly clones: number;
}

/** The files of a model by the numbers of its requests, in order. */
interface ModelEntries {
  readonly request: number[];
  readonly result: number[];
  /** The last request in each saved state. */
  readonly state: number[];
}

/** Requests of this size take minutes to compute. A client that sends more has to wait for results. */
const MAX_REQUEST_BYTES = 2 ** 30;
const FACTS = 'session';
const NAME = /^(\d+)-(\d+)\.(request|result|state)$/;
const SAMPLER = /^(\d+)\.sampler$/;

/** The files of a session. */
export class SessionJournal {
  readonly #directory: string;
  #requestBytes = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Begins a journal below a folder. */
  static async create(root: string, facts: SessionFacts): Promise<SessionJournal> {
    const journal = new SessionJournal(path.join(root, facts.id));
    await mkdir(journal.#directory, { recursive: true });
    await journal.#write(FACTS, facts);
    return journal;
  }

  /** Finds the journals below a folder, the oldest session first. `open` has to follow. */
  static async findAll(root: string): Promise<SessionJournal[]> {
    const names = existsSync(root) ? (await readdir(root)).sort() : [];
    return names.map((name) => new SessionJournal(path.join(root, name)));
  }

  /** Removes what was cut off. Resolves with the session's facts; rejects if they are missing or damaged. */
  async open(): Promise<SessionFacts> {
    for (const name of await readdir(this.#directory)) {
      const file = this.#pathOf(name);
      if (name.endsWith('.tmp')) await rm(file, { recursive: true, force: true });
      else if (name.endsWith('.request')) this.#requestBytes += (await stat(file)).size;
    }
    return this.#read(FACTS);
  }

  /** Keeps a request. Throws `ServeError` (429) if those that are not done take too much space. */
  async addRequest(model: number, seq: number, request: JournaledRequest): Promise<void> {
    if (this.#requestBytes > MAX_REQUEST_BYTES) {
      const message = 'Too many requests are unfinished. Wait for their results.';
      throw new ServeError('rate_limit_exceeded', message);
    }
    this.#requestBytes += await this.#write(`${model}-${seq}.request`, request);
  }

  readRequest(model: number, seq: number): Promise<JournaledRequest> {
    return this.#read(`${model}-${seq}.request`);
  }

  async addResult(model: number, seq: number, result: JournaledResult): Promise<void> {
    await this.#write(`${model}-${seq}.result`, result);
  }

  /** Returns undefined if the result was not kept, for lack of space, or if it is damaged. */
  readResult(model: number, seq: number): Promise<JournaledResult | undefined> {
    return this.#read<JournaledResult>(`${model}-${seq}.result`).catch(() => undefined);
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
    const { request, result, state } = (await this.entries()).get(model)!;
    const earlier = state.filter((one) => one < seq);
    const answered = new Set(result);
    const replaced = request.filter((one) => answered.has(one));
    await this.#remove(model, 'request', replaced, seq);
    await this.#remove(model, 'result', result, earlier.at(-1) ?? -1);
    await this.#remove(model, 'state', earlier, seq);
  }

  /** Returns the files of all models, by the model's number. */
  async entries(): Promise<Map<number, ModelEntries>> {
    const models = new Map<number, ModelEntries>();
    for (const name of await readdir(this.#directory)) {
      const [, model, seq, kind] = NAME.exec(name) ?? [];
      if (kind === undefined) continue;
      const entries = models.get(Number(model)) ?? { request: [], result: [], state: [] };
      entries[kind as keyof ModelEntries].push(Number(seq));
      models.set(Number(model), entries);
    }
    for (const { request, result, state } of models.values()) {
      for (const numbers of [request, result, state]) numbers.sort((a, b) => a - b);
    }
    return models;
  }

  async writeSampler(number: number, sampler: SamplerFacts): Promise<void> {
    await this.#write(`${number}.sampler`, sampler);
  }

  /** Returns the samplers by number, in order. */
  async samplers(): Promise<[number, SamplerFacts][]> {
    const numbers = (await readdir(this.#directory)).flatMap(
      (name) => SAMPLER.exec(name)?.[1] ?? [],
    );
    const samplers: [number, SamplerFacts][] = [];
    for (const number of numbers.map(Number).sort((a, b) => a - b)) {
      samplers.push([number, await this.#read(`${number}.sampler`)]);
    }
    return samplers;
  }

  /** Returns when the last file was added, in Unix milliseconds. */
  async changedMs(): Promise<number> {
    return (await stat(this.#directory)).mtimeMs;
  }

  /** Removes the session. */
  async remove(): Promise<void> {
    // A request that is being written may come in between.
    await rm(this.#directory, { recursive: true, force: true, maxRetries: 3 });
  }

  async #remove(
    model: number,
    kind: string,
    numbers: readonly number[],
    to: number,
  ): Promise<void> {
    for (const seq of numbers) {
      if (seq > to) continue;
      const file = this.#pathOf(`${model}-${seq}.${kind}`);
      if (kind === 'request') this.#requestBytes -= (await stat(file)).size;
      await rm(file, { recursive: true, force: true });
    }
  }

  async #write(name: string, value: unknown): Promise<number> {
    const file = this.#pathOf(name);
    const bytes = serialize(value);
    await writeFile(`${file}.tmp`, bytes);
    await rename(`${file}.tmp`, file);
    return bytes.length;
  }

  async #read<T>(name: string): Promise<T> {
    return deserialize(await readFile(this.#pathOf(name))) as T;
  }

  #pathOf(name: string): string {
    return path.join(this.#directory, name);
  }
}
