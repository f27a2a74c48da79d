// Training runs in the store: one record each, which lists the run's checkpoints. A checkpoint is a version of the run's adapter,
// and a file of moments if it continues training. Records outlive sessions and servers.
import { z } from 'zod';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { type DocumentKind, Records } from '../../adapters/store/documents.ts';
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
import { type LossCurveData, lossCurveSchema, NO_STEPS } from './loss-curve.ts';

/** Metadata that a client gives to a run or a checkpoint. */
const metadataSchema = z.record(z.string().max(256), z.unknown());

const checkpointSchema = z.object({
  folder: z.enum(['weights', 'sampler_weights']),
  name: z.string(),
  version: z.int().positive(),
  bytes: z.int(),
  /** Unix seconds. */
  created: z.int(),
  /** Unix seconds; null: never. */
  expires: z.int().nullable(),
  metadata: metadataSchema.nullable(),
  /** The number of the request that saved it. */
  request: z.int().optional(),
});
/** A checkpoint, as its run's record lists it. */
export type RunCheckpoint = z.infer<typeof checkpointSchema>;

const runSchema = z.object({
  schema: z.literal(1),
  id: z.string(),
  tenant: z.string(),
  /** The name of the base that the client used. */
  base_model: z.string(),
  base_digest: z.string(),
  rank: z.int().positive(),
  /** Unix seconds of the last request that is recorded. */
  changed: z.int(),
  /** Up to then. */
  curve: lossCurveSchema.default(NO_STEPS),
  metadata: metadataSchema.nullable(),
  checkpoints: z.array(checkpointSchema),
});
/** A training run. */
export type RunRecord = z.infer<typeof runSchema>;

/** Enough for 1,000 checkpoints, which is also the limit of an adapter's aliases. */
const MAX_RECORD_BYTES = 1024 * 1024;
const RUN_KIND: DocumentKind<RunRecord> = { schema: runSchema, maxBytes: MAX_RECORD_BYTES };
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
  async create(run: Omit<RunRecord, 'schema' | 'changed' | 'curve' | 'checkpoints'>) {
    const changed = this.#nowS();
    const record = { ...run, schema: 1 as const, changed, curve: NO_STEPS, checkpoints: [] };
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
  async checkpoint(
    tenant: string,
    path: CheckpointPath,
  ): Promise<{ readonly run: RunRecord; readonly checkpoint: RunCheckpoint }> {
    const run = await this.find(tenant, path.run);
    const checkpoint = run.checkpoints.find((one) => isAt(one, path));
    if (checkpoint) return { run, checkpoint };
    throw new ServeError('not_found', `Unknown checkpoint ${toTinkerPath(path)}.`);
  }

  /** Lists a tenant's runs, the newest first. */
  async list(tenant: string): Promise<RunRecord[]> {
    const prefix = `${tenant}/${FOLDER}/`;
    const names = await listFolders(this.#options.store, prefix, RUN_FOLDER);
    const runs = await mapBounded(names.reverse(), (name) =>
      this.#records.read(`${prefix}${name}/run.json`),
    );
    return runs.flatMap((run) => (run ? [this.#withoutExpired(run)] : []));
  }

  /**
   * Publishes a PEFT folder as a checkpoint, and keeps its moments if there is a file.
   * @param publicationId the same for repeated tries
   */
  async save(
    { tenant, id, base_digest: baseDigest }: RunRecord,
    checkpoint: Omit<RunCheckpoint, 'version' | 'bytes' | 'created'>,
    files: { directory: string; momentsFile: string | undefined; publicationId: string },
  ): Promise<void> {
    const { store, repository, onPublished } = this.#options;
    const { directory, momentsFile, publicationId } = files;
    const name = adapterOfRun(id)!;
    const path = { ...checkpoint, run: id };
    const aliases = [aliasOfCheckpoint(path)];
    const manifest = await repository.publish(
      { tenant, name },
      { directory },
      { baseDigest, job: id, aliases, publicationId },
    );
    if (momentsFile !== undefined)
      await store.put(this.#momentsKey(tenant, path), { file: momentsFile });
    const sizes = Object.values(manifest.files).map(({ byteSize }) => byteSize);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const { version } = manifest;
    let replaced: RunCheckpoint | undefined;
    await this.#change(tenant, id, (run) => {
      replaced = run.checkpoints.find((one) => isAt(one, path));
      const created = this.#nowS();
      const rest = run.checkpoints.filter((one) => one !== replaced);
      return {
        ...run,
        changed: created,
        checkpoints: [...rest, { ...checkpoint, version, bytes, created }],
      };
    });
    onPublished(tenant, name);
    if (replaced && replaced.version !== version)
      await this.removeVersion(tenant, id, replaced.version);
  }

  /** Records how far a run is. @param changedMs the time of its last request, in Unix milliseconds */
  async note(tenant: string, id: string, curve: LossCurveData, changedMs: number): Promise<void> {
    const changed = Math.floor(changedMs / 1000);
    await this.#change(tenant, id, (run) => ({ ...run, changed, curve }));
  }

  /** Publishes a PEFT folder under its number alone. Returns the model's name. */
  async saveAside(
    { tenant, id, base_digest: baseDigest }: RunRecord,
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
  async openMoments(tenant: string, path: CheckpointPath) {
    return (await this.#options.store.get(this.#momentsKey(tenant, path)))?.body;
  }

  /** Sets when a checkpoint expires. Throws `ServeError` (404). @param ttlS seconds from now; null: never */
  async expire(tenant: string, path: CheckpointPath, ttlS: number | null): Promise<void> {
    await this.checkpoint(tenant, path);
    const expires = ttlS === null ? null : this.#nowS() + ttlS;
    await this.#change(tenant, path.run, (run) => ({
      ...run,
      checkpoints: run.checkpoints.map((one) => (isAt(one, path) ? { ...one, expires } : one)),
    }));
  }

  /** Removes a checkpoint. Throws `ServeError` (404). */
  async remove(tenant: string, path: CheckpointPath): Promise<void> {
    const { checkpoint } = await this.checkpoint(tenant, path);
    await this.#remove(tenant, path.run, checkpoint);
  }

  /** Removes a version of a run's adapter, if it still exists. */
  async removeVersion(tenant: string, id: string, version: number): Promise<void> {
    const name = adapterOfRun(id)!;
    await this.#options.repository.removeVersion({ tenant, name }, version).catch(ignoreMissing);
    this.#options.onPublished(tenant, name);
  }

  async #remove(tenant: string, run: string, one: RunCheckpoint): Promise<void> {
    const { store, repository } = this.#options;
    const path = { run, folder: one.folder, name: one.name };
    const name = adapterOfRun(run)!;
    await repository
      .moveAlias({ tenant, name }, aliasOfCheckpoint(path), undefined)
      .catch(ignoreMissing);
    await this.removeVersion(tenant, run, one.version);
    if (one.folder === 'weights') await store.delete(this.#momentsKey(tenant, path));
    await this.#change(tenant, run, (now) => ({
      ...now,
      checkpoints: now.checkpoints.filter((other) => !isAt(other, path)),
    }));
  }

  #change(tenant: string, id: string, change: (run: RunRecord) => RunRecord) {
    return this.#records.change(this.#keyOf(tenant, id), change);
  }

  #withoutExpired(run: RunRecord): RunRecord {
    const now = this.#nowS();
    const expired = run.checkpoints.filter(({ expires }) => expires !== null && expires <= now);
    for (const one of expired) {
      void this.#remove(run.tenant, run.id, one).catch(() => {}); // the next reader tries again
    }
    return { ...run, checkpoints: run.checkpoints.filter((one) => !expired.includes(one)) };
  }

  #keyOf(tenant: string, id: string): string {
    return `${tenant}/${FOLDER}/${adapterOfRun(id)}/run.json`;
  }

  #momentsKey(tenant: string, path: CheckpointPath): string {
    return `${tenant}/${FOLDER}/${adapterOfRun(path.run)}/moments/${path.name}.safetensors`;
  }

  #nowS(): number {
    return Math.floor(this.#options.now() / 1000);
  }
}

function isAt(one: Pick<RunCheckpoint, 'folder' | 'name'>, path: CheckpointPath): boolean {
  return one.folder === path.folder && one.name === path.name;
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof ServeError && error.code === 'not_found')) throw error;
}
