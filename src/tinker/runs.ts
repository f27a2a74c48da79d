// Training runs in the store: one record each, which lists the run's checkpoints. A checkpoint is a version of the run's adapter,
// and a file of moments if it continues training. Records outlive sessions and servers.
import { z } from 'zod';
import { LATEST, pointerOf, versionsOf } from '../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { type DocumentKind, Records, serializeDocument } from '../../adapters/store/documents.ts';
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

/** A checkpoint and its run. */
export interface FoundCheckpoint {
  readonly run: RunRecord;
  readonly checkpoint: RunCheckpoint;
}

/** Enough for 1,000 checkpoints, which is also the limit of an adapter's aliases. */
const MAX_RECORD_BYTES = 1024 * 1024;
/** The curve, and the numbers of a checkpoint that is being saved. */
const RESERVED_BYTES = 32 * 1024;
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
    checkpoint: Omit<RunCheckpoint, 'version' | 'bytes' | 'created'>,
    files: { directory: string; momentsFile: string | undefined; publicationId: string },
  ): Promise<void> {
    const { store, repository, onPublished } = this.#options;
    const { directory, momentsFile, publicationId } = files;
    const { tenant, id, base_digest: baseDigest } = before;
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
  async openMoments({ tenant, id }: RunRecord, { version }: RunCheckpoint) {
    return (await this.#options.store.get(this.#momentsKey(tenant, id, version)))?.body;
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
    const now = this.#nowS();
    const expired = run.checkpoints.filter(({ expires }) => expires !== null && expires <= now);
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

  #nowS(): number {
    return Math.floor(this.#options.now() / 1000);
  }
}

function requireSpace(
  run: RunRecord,
  checkpoint: Omit<RunCheckpoint, 'version' | 'bytes' | 'created'>,
) {
  const rest = run.checkpoints.filter((one) => !isAt(one, checkpoint));
  const next = { ...run, curve: NO_STEPS, checkpoints: [...rest, checkpoint] };
  if (serializeDocument(next).length <= MAX_RECORD_BYTES - RESERVED_BYTES) return;
  const param = 'user_metadata';
  const message = `${param}: the metadata of all checkpoints of a run may take 1 MB. Send less, or remove checkpoints.`;
  throw new ServeError('payload_too_large', message, { param });
}

type Place = Pick<CheckpointPath, 'folder' | 'name'>;

function isAt(one: Place, { folder, name }: Place): boolean {
  return one.folder === folder && one.name === name;
}

/** A version that is gone or in use is left as it is. */
function ignoreRefusal(error: unknown): void {
  const isRefusal = error instanceof ServeError && error.status < 500;
  if (!isRefusal) throw error;
}
