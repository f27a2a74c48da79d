// Checks of what is in the store, after every write: I18, I19, I20 and the fencing of jobs.
import { createHash } from 'node:crypto';
import {
  type Aliases,
  keys,
  MAX_TOMBSTONE_BYTES,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import type { JobRecord } from '../../src/jobs/job.ts';
import { shortId } from '../../src/jobs/names.ts';
import type { VirtualTime } from './clock.ts';
import type { Reporter } from './parts.ts';
import { bytesOf, type VirtualStore } from './store.ts';
import { trainedDigest } from './trainer.ts';

const DAY_MS = 24 * 3_600_000;
/** Servers' clocks are this far apart at most. */
const SKEW_MS = 10 * 3_600_000;
const VERSION_FILE = /^([^/.]+)\/([^/.]+)\/(\d+)\/(.+)$/;
const JOB = /^([^/]+)\/\.jobs\/([^/]+)\/job\.json$/;

/** Watches one store. */
export class StoreChecks {
  readonly #store: VirtualStore;
  readonly #time: VirtualTime;
  readonly #reporter: Reporter;
  readonly #tokens = new Map<string, number>();
  /** Names that somebody asked to remove. */
  readonly #removed = new Set<string>();

  constructor(store: VirtualStore, time: VirtualTime, reporter: Reporter) {
    this.#store = store;
    this.#time = time;
    this.#reporter = reporter;
    store.onChange = (op, key) => (op === 'put' ? this.#written(key) : this.#deleting(key));
  }

  /** Somebody removes this name, so its aliases may lead nowhere. */
  removed(tenant: string, name: string): void {
    this.#removed.add(`${tenant}/${name}`);
  }

  /** F15: one publication has one version, however often it was tried. */
  async published(id: string, { tenant, name, version }: VersionManifest): Promise<void> {
    for await (const { key } of this.#store.raw.list(keys.name(tenant, name))) {
      const [, , , number, file] = VERSION_FILE.exec(key) ?? [];
      if (file !== 'publishing.json' || Number(number) === version) continue;
      const claim = await this.#read<{ publication_id: string }>(key);
      const of = { tenant, name, version: Number(number) };
      const other = await this.#read<VersionManifest>(keys.versionFile(of, 'manifest.json'));
      if (claim?.publication_id !== id || !other?.digest) continue;
      this.#reporter.violated('I18', `${id} made the versions ${version} and ${number}`);
    }
  }

  /** The statuses of jobs. */
  async statuses(jobs: readonly { tenant: string; id: string }[]): Promise<string[]> {
    const found = jobs.map(({ tenant, id }) => {
      return this.#read<JobRecord>(`${tenant}/.jobs/${id}/job.json`);
    });
    return (await Promise.all(found)).map((job) => job?.status ?? 'missing');
  }

  async #written(key: string): Promise<void> {
    if (key.endsWith('/alias.json')) await this.#checkAliases(key);
    const [, tenant, id] = JOB.exec(key) ?? [];
    if (tenant && id) await this.#checkJob(key);
  }

  /** I18: an alias leads to versions whose files are there and are what their manifest says. */
  async #checkAliases(key: string): Promise<void> {
    const aliases = (await this.#read<Aliases>(key))!;
    const { tenant, name } = aliases;
    for (const version of new Set(Object.values(aliases.aliases).flatMap(versionsOf))) {
      const of = { tenant, name, version };
      const manifest = await this.#read<VersionManifest>(keys.versionFile(of, 'manifest.json'));
      if (!manifest?.digest) {
        this.#reporter.violated('I18', `${key} leads to version ${version}, which is not there`);
        return;
      }
      for (const [file, { sha256 }] of Object.entries(manifest.files)) {
        const object = await this.#store.raw.get(keys.versionFile(of, file));
        const found = object && createHash('sha256').update(await bytesOf(object.body));
        if (found?.digest('hex') === sha256) continue;
        this.#reporter.violated('I18', `${file} of ${key} version ${version} is wrong`);
      }
    }
  }

  async #checkJob(key: string): Promise<void> {
    const job = (await this.#read<JobRecord>(key))!;
    const { violated } = this.#reporter;
    const { id, tenant, name, status, token, result, request } = job;
    if (token < (this.#tokens.get(id) ?? 0)) violated('I18', `a lease of ${id} came back`);
    this.#tokens.set(id, token);
    if (status !== 'succeeded') return;
    if (!result) return violated('I18', `${id} succeeded without a result`);
    if (result.digest !== trainedDigest(request.seed)) {
      violated('I20', `${id} ended with other bytes than a run without interruptions`);
    }
    if (this.#removed.has(`${tenant}/${name}`)) return;
    const aliases = await this.#read<Aliases>(keys.alias(tenant, name));
    const pointer = aliases?.aliases[shortId(id)];
    if (!pointer || !versionsOf(pointer).includes(result.version)) {
      violated('I18', `${id} succeeded, but its alias does not lead to its result`);
    }
  }

  /** I19: files of versions go a day after their removal, or if they were never finished. */
  async #deleting(key: string): Promise<void> {
    const [, tenant, name, number, file] = VERSION_FILE.exec(key) ?? [];
    if (!tenant || !name || !number || !file) return;
    const of = { tenant, name, version: Number(number) };
    const aliases = await this.#read<Aliases>(keys.alias(tenant, name));
    const reached = Object.values(aliases?.aliases ?? {}).flatMap(versionsOf);
    const { violated } = this.#reporter;
    if (reached.includes(of.version))
      violated('I19', `${key} is deleted, and an alias leads there`);
    const commit = await this.#store.raw.head(keys.versionFile(of, 'manifest.json'));
    if (!commit || commit.byteSize > MAX_TOMBSTONE_BYTES) {
      return violated('I19', `${key} of a version is deleted`);
    }
    const own = await this.#store.raw.head(key);
    const oldest = Math.min(commit.modifiedMs, own?.modifiedMs ?? 0);
    const ageMs = this.#time.date - oldest;
    if (ageMs < DAY_MS - SKEW_MS) violated('I19', `${key} is deleted after ${ageMs} ms`);
  }

  async #read<T>(key: string): Promise<T | undefined> {
    const object = await this.#store.raw.get(key);
    return object && (JSON.parse(Buffer.from(await bytesOf(object.body)).toString()) as T);
  }
}
