// Training runs in the store: one record each, which lists the run's checkpoints. A checkpoint is a version of the run's adapter,
// and a file of moments if it continues training. Records outlive sessions and servers.
import { LATEST, pointerOf, versionsOf } from '../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { listFolders } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
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
  RUN_KIND,
  type RunCheckpoint,
  type RunRecord,
  requireSpace,
} from './run-record.ts';

/** A checkpoint and its run. */
export interface FoundCheckpoint {
  readonly run: RunRecord;
  readonly checkpoint: RunCheckpoint;
}

const FOLDER = '.tinker';
const RUN_FOLDER = /^tinker-[0-9a-f]{24}-\d{1,6}$/;

/** The parts of a server that keep runs. */
export interface RunsOptions {
  readonly store: GuardedStore;
  readonly repository: AdapterRepository;
  /** Drops what this server has cached about an adapter. */
  readonly onPublished: (tenant: string, name: string) => void;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

/** The runs of all tenants. Methods throw the store's errors. */
export class Runs {
  readonly #options: RunsOptions;
  readonly #records: Records<RunRecord>;

  constructor(options: RunsOptions) {
    this.#options = options;
    this.#records = new Records(options.store, RUN_KIND);
  }

  /** Adds a run. */
  async create(run: Omit<RunRecord, 'schema' | 'changedMs' | 'curve' | 'checkpoints'>) {
    const now = { changedMs: this.#options.now(), curve: NO_STEPS, checkpoints: [] };
    const record = { ...run, schema: 2 as const, ...now };
    await this.#records.create(this.#keyOf(run.tenant, run.id), record);
  }

  /** Reads a run without its expired checkpoints. Throws `ServeError` (404) if the tenant has none with this id. */
  async find(tenant: string, id: string): Promise<RunRecord> {
    const run =
      adapterOfRun(id) === undefined
        ? undefined
        : await this.#records.read(this.#keyOf(tenant, id));
    if (!run) throw new ServeError('not_found', `Unknown training run ${id.slice(0, 64)}.`);
    return this.#withoutExpired(run);
  }

  /** Finds a checkpoint. Throws `ServeError` (404). */
  async checkpoint(tenant: string, path: CheckpointPath): Promise<FoundCheckpoint> {
    const run = await this.find(tenant, path.run);
    const checkpoint = run.checkpoints.find((one) => isAt(one, path));
    if (checkpoint) return { run, checkpoint };
    throw new ServeError('not_found', `Unknown checkpoint ${toTinkerPath(path)}.`);
  }

  /** Lists a page of a tenant's runs, the newest first, and counts all. Reads no other records. */
  async list(
    tenant: string,
    { offset, limit }: { readonly offset: number; readonly limit: number },
  ): Promise<{ readonly runs: RunRecord[]; readonly count: number }> {
    const prefix = `${tenant}/${FOLDER}/`;
    const names = await listFolders(this.#options.store, prefix, RUN_FOLDER);
    const page = names.reverse().slice(offset, offset + limit);
    const runs = await mapBounded(page, (name) => this.#records.read(`${prefix}${name}/run.json`));
    const found = runs.flatMap((run) => (run ? [this.#withoutExpired(run)] : []));
    return { runs: found, count: names.length };
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
    const name = adapterOfRun(id)!;
    const aliases = [aliasOfCheckpoint(checkpoint)];
    const manifest = await repository.publish(
      { tenant, name },
      { directory },
      { baseDigest, job: id, aliases, publicationId },
    );
    const { version } = manifest;
    if (momentsFile !== undefined)
      await store.put(this.#momentsKey(tenant, id, version), { file: momentsFile });
    const sizes = Object.values(manifest.files).map(({ byteSize }) => byteSize);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    let replaced: RunCheckpoint | undefined;
    await this.#change(tenant, id, (run) => {
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
    await this.#change(tenant, id, (run) => ({ ...run, changedMs, curve }));
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
    return (await this.#options.store.get(this.#momentsKey(tenant, id, version)))?.body;
  }

  /** Sets when a checkpoint expires. Throws `ServeError` (404). @param ttlS seconds from now; null: never */
  async expire(tenant: string, path: CheckpointPath, ttlS: number | null): Promise<void> {
    await this.checkpoint(tenant, path);
    const expiresMs = expiryOf(ttlS, this.#options.now());
    await this.#change(tenant, path.run, (run) => ({
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
    await store.delete(this.#momentsKey(tenant, id, version));
    onPublished(tenant, name);
  }

  async #remove({ tenant, id, checkpoints }: RunRecord, removed: RunCheckpoint): Promise<void> {
    const { repository } = this.#options;
    const of = { tenant, name: adapterOfRun(id)! };
    const left = checkpoints.findLast((one) => one.version !== removed.version);
    const aliases = (await repository.readAliases(tenant, of.name))?.aliases.aliases ?? {};
    const next = { [aliasOfCheckpoint(removed)]: undefined, [LATEST]: left };
    for (const [alias, to] of Object.entries(next)) {
      const pointer = pointerOf(aliases, alias);
      // A new checkpoint of this name may have the alias already.
      if (!pointer || !versionsOf(pointer).includes(removed.version)) continue;
      await repository.moveAlias(of, alias, to && { version: to.version });
    }
    await this.removeVersion(tenant, id, removed.version);
    await this.#change(tenant, id, (now) => ({
      ...now,
      checkpoints: now.checkpoints.filter(({ version }) => version !== removed.version),
    }));
  }

  #change(tenant: string, id: string, change: (run: RunRecord) => RunRecord) {
    return this.#records.change(this.#keyOf(tenant, id), change);
  }

  #withoutExpired(run: RunRecord): RunRecord {
    const now = this.#options.now();
    const expired = run.checkpoints.filter(
      ({ expiresMs }) => expiresMs !== null && expiresMs <= now,
    );
    const left = { ...run, checkpoints: run.checkpoints.filter((one) => !expired.includes(one)) };
    for (const one of expired) {
      void this.#remove(left, one).catch(() => {}); // the next reader tries again
    }
    return left;
  }

  #keyOf(tenant: string, id: string): string {
    return `${tenant}/${FOLDER}/${adapterOfRun(id)}/run.json`;
  }

  #momentsKey(tenant: string, id: string, version: number): string {
    return `${tenant}/${FOLDER}/${adapterOfRun(id)}/moments/${version}.safetensors`;
  }
}

/** A version that is gone or in use is left as it is. */
function ignoreRefusal(error: unknown): void {
  const isRefusal = error instanceof ServeError && error.status < 500;
  if (!isRefusal) throw error;
}
