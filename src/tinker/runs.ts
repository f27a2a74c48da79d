// Training runs in the store: one record each, which lists the run's checkpoints. A checkpoint is a version of the run's adapter,
// and a file of moments if it continues training. Records outlive sessions and servers.
import { LATEST } from '../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { GuardedStore, StoreLog } from '../../adapters/store/guarded-store.ts';
import type { StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import {
  adapterOfRun,
  aliasOfCheckpoint,
  type CheckpointPath,
  toTinkerPath,
} from '../contracts/tinker-path.ts';
import { type LossCurveData, NO_STEPS } from './loss-curve.ts';
import {
  expiryOf,
  isAt,
  type NewCheckpoint,
  type RunCheckpoint,
  type RunRecord,
  requireSpace,
} from './run-record.ts';
import { compareRuns, momentsKey, RunStore } from './run-store.ts';

/** A checkpoint and its run. */
export interface FoundCheckpoint {
  readonly run: RunRecord;
  readonly checkpoint: RunCheckpoint;
}

/** The checkpoint after which a list continues: a version of a run's adapter. */
export interface CheckpointCursor {
  readonly name: string;
  readonly version: number;
}

/** A part of a list. */
interface Page {
  readonly offset: number;
  readonly limit: number;
}

/** A list of checkpoints reads all runs if none has one, which takes a second of CPU. */
const MAX_RUNS = 1000;
/** When there are too many, this part of them goes, so that not each new run has to look for an old one. */
const REMOVED_PART = 0.1;
/** A run that has not changed for this long is not in training. */
const IDLE_MS = 86_400_000;

/** The parts of a server that keep runs. */
export interface RunsOptions {
  readonly store: GuardedStore;
  readonly repository: AdapterRepository;
  /** Drops what this server has cached about an adapter. */
  readonly onPublished: (tenant: string, name: string) => void;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  readonly log?: StoreLog;
  /** The most runs of a tenant. Tests lower it. */
  readonly maxRuns?: number;
}

/** The runs of all tenants. Methods throw the store's errors. */
export class Runs {
  readonly #options: RunsOptions;
  readonly #records: RunStore;

  constructor(options: RunsOptions) {
    this.#options = options;
    this.#records = new RunStore(options.store, options.log);
  }

  /**
   * Adds a run. If the tenant has too many, removes the oldest ones without checkpoints. Throws `ServeError` (429) if that is not
   * enough.
   */
  async create(run: Omit<RunRecord, 'schema' | 'changedMs' | 'curve' | 'checkpoints'>) {
    const now = { changedMs: this.#options.now(), curve: NO_STEPS, checkpoints: [] };
    const record = { ...run, schema: 2 as const, ...now };
    await this.#makeRoom(run.tenant, run.id);
    await this.#records.create(record);
  }

  /** Reads a run without its expired checkpoints. Throws `ServeError` (404) if the tenant has none with this id. */
  async find(tenant: string, id: string): Promise<RunRecord> {
    return this.#withoutExpired(await this.#records.read(tenant, id));
  }

  /** Finds a checkpoint. Throws `ServeError` (404). */
  async checkpoint(tenant: string, path: CheckpointPath): Promise<FoundCheckpoint> {
    const run = await this.find(tenant, path.run);
    const checkpoint = run.checkpoints.find((one) => isAt(one, path));
    if (checkpoint) return { run, checkpoint };
    throw new ServeError('not_found', `Unknown checkpoint ${toTinkerPath(path)}.`);
  }

  /** Lists a page of a tenant's runs, the newest first, without damaged ones, and counts all. Reads no other records. */
  async list(
    tenant: string,
    { offset, limit }: Page,
  ): Promise<{ readonly runs: RunRecord[]; readonly count: number }> {
    const names = (await this.#records.names(tenant)).reverse();
    const runs: RunRecord[] = [];
    for await (const run of this.#records.readAll(tenant, names.slice(offset, offset + limit))) {
      runs.push(this.#withoutExpired(run));
    }
    return { runs, count: names.length };
  }

  /** Lists a page of a tenant's checkpoints, by run, the newest first. Leaves out damaged runs. Reads no further runs. */
  async checkpoints(
    tenant: string,
    { offset, limit, after }: Page & { readonly after?: CheckpointCursor | undefined },
  ): Promise<{ readonly items: FoundCheckpoint[]; readonly hasMore: boolean }> {
    const names = (await this.#records.names(tenant)).filter(
      (name) => !after || compareRuns(name, after.name) <= 0,
    );
    const items: FoundCheckpoint[] = [];
    let skipped = 0;
    for await (const run of this.#records.readAll(tenant, names.reverse())) {
      const before = adapterOfRun(run.id) === after?.name ? after!.version : Infinity;
      const { checkpoints } = this.#withoutExpired(run);
      for (const checkpoint of checkpoints.toSorted((a, b) => b.version - a.version)) {
        if (checkpoint.version >= before) continue;
        if (skipped < offset) skipped++;
        else if (items.length < limit) items.push({ run, checkpoint });
        else return { items, hasMore: true };
      }
    }
    return { items, hasMore: false };
  }

  /** Removes the expired checkpoints of all tenants. */
  async sweep(call?: StoreCall): Promise<void> {
    for await (const run of this.#records.readEveryone(call)) {
      await this.#removeExpired(run).catch((err) => {
        this.#options.log?.warn({ err, run: run.id }, 'cannot remove expired checkpoints');
      });
    }
  }

  async #makeRoom(tenant: string, id: string): Promise<void> {
    const { now, maxRuns = MAX_RUNS } = this.#options;
    const names = await this.#records.names(tenant);
    if (names.length < maxRuns || names.includes(adapterOfRun(id)!)) return;
    let count = names.length;
    for await (const run of this.#records.readAll(tenant, names)) {
      if (count <= maxRuns * (1 - REMOVED_PART)) return;
      if (run.checkpoints.length > 0 || run.changedMs > now() - IDLE_MS) continue;
      await this.#records.delete(run);
      count--;
    }
    if (count < maxRuns) return;
    const message = `You have ${count} training runs, and at most ${maxRuns} are kept. Remove the checkpoints of old ones.`;
    throw new ServeError('rate_limit_exceeded', message);
  }

  /**
   * Publishes a PEFT folder as a checkpoint, and keeps its moments if there is a file. Throws `ServeError` if the run's record
   * is full.
   * @param publicationId the same for repeated tries
   */
  async save(
    before: RunRecord,
    checkpoint: NewCheckpoint,
    files: { directory: string; momentsFile: string | undefined; publicationId: string },
  ): Promise<void> {
    const { store, repository, onPublished } = this.#options;
    const { directory, momentsFile, publicationId } = files;
    const { tenant, id, baseDigest } = before;
    requireSpace(before, checkpoint);
    await this.#removeExpired(await this.#records.read(tenant, id));
    const name = adapterOfRun(id)!;
    const aliases = [aliasOfCheckpoint(checkpoint)];
    const manifest = await repository.publish(
      { tenant, name },
      { directory },
      { baseDigest, job: id, aliases, publicationId },
    );
    const { version } = manifest;
    if (momentsFile !== undefined)
      await store.put(momentsKey(tenant, id, version), { file: momentsFile });
    const sizes = Object.values(manifest.files).map(({ byteSize }) => byteSize);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    let replaced: RunCheckpoint | undefined;
    await this.#records.change(tenant, id, (run) => {
      replaced = run.checkpoints.find((one) => isAt(one, checkpoint));
      const createdMs = this.#options.now();
      const rest = run.checkpoints.filter((one) => one !== replaced);
      return {
        ...run,
        changedMs: createdMs,
        checkpoints: [...rest, { ...checkpoint, version, bytes, createdMs }],
      };
    });
    onPublished(tenant, name);
    if (replaced && replaced.version !== version)
      await this.removeVersion(tenant, id, replaced.version);
  }

  /** Records how far a run is. @param changedMs the time of its last request, in Unix milliseconds */
  async note(tenant: string, id: string, curve: LossCurveData, changedMs: number): Promise<void> {
    await this.#records.change(tenant, id, (run) => ({ ...run, changedMs, curve }));
  }

  /** Publishes a PEFT folder under its number alone. Returns the model's name. */
  async saveAside(
    { tenant, id, baseDigest }: RunRecord,
    { directory, publicationId }: { directory: string; publicationId: string },
  ): Promise<{ readonly model: string; readonly version: number }> {
    const { repository, onPublished } = this.#options;
    const name = adapterOfRun(id)!;
    const options = { baseDigest, job: id, isAside: true as const, publicationId };
    const { version } = await repository.publish({ tenant, name }, { directory }, options);
    onPublished(tenant, name);
    return { model: `${name}@${version}`, version };
  }

  /** Opens a checkpoint's moments; undefined if it has none. */
  async openMoments({ tenant, id }: RunRecord, { version }: RunCheckpoint) {
    return (await this.#options.store.get(momentsKey(tenant, id, version)))?.body;
  }

  /** Sets when a checkpoint expires. Throws `ServeError` (404). @param ttlS seconds from now; null: never */
  async expire(tenant: string, path: CheckpointPath, ttlS: number | null): Promise<void> {
    await this.checkpoint(tenant, path);
    const expiresMs = expiryOf(ttlS, this.#options.now());
    await this.#records.change(tenant, path.run, (run) => ({
      ...run,
      checkpoints: run.checkpoints.map((one) => (isAt(one, path) ? { ...one, expiresMs } : one)),
    }));
  }

  /** Removes a checkpoint. Throws `ServeError` (404). */
  async remove(tenant: string, path: CheckpointPath): Promise<void> {
    const { run, checkpoint } = await this.checkpoint(tenant, path);
    await this.#remove(run, checkpoint);
  }

  /** Removes a version's moments, and the version itself unless an alias that the tenant has added points to it. */
  async removeVersion(tenant: string, id: string, version: number): Promise<void> {
    const { store, repository, onPublished } = this.#options;
    const name = adapterOfRun(id)!;
    await repository.removeVersion({ tenant, name }, version).catch(ignoreRefusal);
    await store.delete(momentsKey(tenant, id, version));
    onPublished(tenant, name);
  }

  async #remove({ tenant, id, checkpoints }: RunRecord, removed: RunCheckpoint): Promise<void> {
    const { repository } = this.#options;
    const of = { tenant, name: adapterOfRun(id)! };
    const left = checkpoints.findLast((one) => one.version !== removed.version);
    const next = { [aliasOfCheckpoint(removed)]: undefined, [LATEST]: left };
    for (const [alias, to] of Object.entries(next)) {
      // A new checkpoint of this name may have the alias already.
      const { version: from } = removed;
      await repository.moveAlias(of, alias, to && { version: to.version }, { from });
    }
    await this.removeVersion(tenant, id, removed.version);
    await this.#records.change(tenant, id, (now) => ({
      ...now,
      checkpoints: now.checkpoints.filter(({ version }) => version !== removed.version),
    }));
  }

  #isExpired({ expiresMs }: RunCheckpoint): boolean {
    return expiresMs !== null && expiresMs <= this.#options.now();
  }

  #withoutExpired(run: RunRecord): RunRecord {
    return { ...run, checkpoints: run.checkpoints.filter((one) => !this.#isExpired(one)) };
  }

  async #removeExpired(run: RunRecord): Promise<void> {
    const left = this.#withoutExpired(run);
    for (const one of run.checkpoints) if (this.#isExpired(one)) await this.#remove(left, one);
  }
}

/** A version that is gone or in use is left as it is. */
function ignoreRefusal(error: unknown): void {
  const isRefusal = error instanceof ServeError && error.status < 500;
  if (!isRefusal) throw error;
}
