// The operations on published adapters, in the store that the settings name. Parses no flags and prints nothing.
import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import {
  type AdapterFiles,
  CONFIG_FILE,
  readAdapterFiles,
  WEIGHTS_FILE,
} from '../../adapters/peft/files.ts';
import { inspectAdapter } from '../../adapters/peft/inspect.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { readAddedTokens } from '../../adapters/registry/added-tokens.ts';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import {
  readFolderAbout,
  readFolderGenerationConfig,
  readFolderRequestDefaults,
} from '../../adapters/registry/folders.ts';
import type { AboutChange } from '../../adapters/repository/about.ts';
import { contentPublication } from '../../adapters/repository/content.ts';
import {
  type Aliases,
  type AliasPointer,
  LATEST,
  MANIFEST_FILE,
  pointerOf,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import type { Garbage } from '../../adapters/repository/removal.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { fetchVersion } from '../../adapters/repository/versions.ts';
import { adaptedBaseOf } from '../adapted-base/adapted-base.ts';
import { ServeError, UsageError } from '../common/errors.ts';
import { buildFolder } from '../common/folders.ts';
import { formatBytes } from '../common/format-bytes.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type AdapterAbout, aboutFields, NO_ABOUT } from '../contracts/adapter-about.ts';
import { readArtifact } from '../import/artifact.ts';
import { loadTokenizer, newTokens } from '../tokenizer/tokenizer.ts';
import { type DefaultSources, readAdapterDefaults } from './adapter-defaults.ts';
import { findBase } from './base.ts';
import type { ProgramContext } from './context.ts';
import {
  explainStoreError,
  findVersion,
  noAdapter,
  openRepository,
  parseReference,
} from './repository.ts';

export type { AboutChange, AdapterAbout, Aliases, AliasPointer, Garbage, VersionManifest };

/** An adapter folder to publish. */
interface PushRequest extends Omit<DefaultSources, 'own'> {
  readonly directory: string;
  readonly name: string;
  /** The base to check the adapter against, and to record. Undefined means neither. */
  readonly base: string | undefined;
  /** The aliases to move to the version, in addition to `latest`. */
  readonly aliases: readonly string[];
}

/** The version that a push created or found. */
export interface PushedVersion {
  readonly manifest: VersionManifest;
  /** False if the name already had a version with this content. */
  readonly isNew: boolean;
  /** All aliases of the name. */
  readonly aliases: Aliases['aliases'];
}

/** An adapter in a list. */
export interface AdapterListing {
  readonly name: string;
  readonly versions: readonly number[];
  readonly aliases: Aliases['aliases'];
  /** The rank of the latest version, and when it was published (Unix seconds). */
  readonly rank: number;
  readonly created_at: number;
  /** The owner's description; empty if there is none. */
  readonly description: string;
}

/** An adapter name with all its versions. */
export interface VersionListing {
  readonly name: string;
  readonly aliases: Aliases['aliases'];
  readonly versions: readonly VersionManifest[];
}

/** An alias after it was moved. */
export interface MovedAlias {
  readonly name: string;
  readonly alias: string;
  readonly pointer: AliasPointer | undefined;
  /** The pointer that a rollback restores. */
  readonly previous: AliasPointer | undefined;
  readonly revision: number;
}

/** Something that is about to be removed, described so that the user can confirm. */
export interface Removal {
  readonly kind: 'version' | 'alias' | 'name';
  /** The number of versions that it removes. */
  readonly versionCount: number;
  apply(): Promise<void>;
}

const aboutChange = z.object(aboutFields).partial();

/** Throws `UsageError` if a part is too long or has a wrong form. */
function parseAbout(change: AboutChange): AboutChange {
  const { data, error } = aboutChange.safeParse(change);
  if (data) return data;
  const {
    path: [field],
    message,
  } = error.issues[0]!;
  throw new UsageError(`--${String(field).replace(/s$/, '')}: ${message}`);
}

/** Runs `work` on a tenant's adapters. Adds the reason and advice to a store's error. */
export async function withAdapters<T>(
  { tenant, ...context }: ProgramContext & { readonly tenant: string },
  work: (adapters: PublishedAdapters) => Promise<T>,
): Promise<T> {
  const repository = await openRepository(context.config);
  try {
    return await work(new PublishedAdapters(repository, tenant, context));
  } catch (error) {
    throw explainStoreError(error, repository.label);
  }
}

/** The published adapters of one tenant. */
export class PublishedAdapters {
  readonly #repository: AdapterRepository;
  readonly #tenant: string;
  readonly #context: ProgramContext;
  readonly #call: { readonly signal: AbortSignal };

  constructor(repository: AdapterRepository, tenant: string, context: ProgramContext) {
    this.#repository = repository;
    this.#tenant = tenant;
    this.#context = context;
    this.#call = { signal: context.signal };
  }

  /** The store's display name. */
  get label(): string {
    return this.#repository.label;
  }

  /** Publishes a folder as the next version of a name, unless a version already has this content. */
  async push(request: PushRequest): Promise<PushedVersion> {
    const { directory, name, base, aliases } = request;
    const repository = this.#repository;
    const tenant = this.#tenant;
    const files = await readAdapterFiles(directory);
    const baseDigest = base === undefined ? undefined : await this.#checkOnBase(files, base);
    const addedTokens = await this.#addedTokens(directory, base);
    const generationConfig = await readFolderGenerationConfig(directory);
    const about = await readFolderAbout(directory);
    const ownDefaults = await readFolderRequestDefaults(directory);
    const requestDefaults = (await readAdapterDefaults({ ...request, own: ownDefaults }))?.fields;
    const facts = {
      ...(baseDigest && { baseDigest }),
      ...(generationConfig && { generationConfig }),
      ...(requestDefaults && { requestDefaults }),
      ...(addedTokens && { addedTokens }),
    };
    const before = await repository.listVersions(tenant, name, this.#call);
    const manifest = await this.#withProgress('push', (onProgress) =>
      repository.publish(
        { tenant, name },
        { directory },
        {
          aliases,
          ...facts,
          publicationId: contentPublication(files.digest, facts),
          onProgress,
          ...this.#call,
        },
      ),
    );
    await this.#adoptAbout(name, about);
    const isNew = before.every(({ version }) => version !== manifest.version);
    return { manifest, isNew, aliases: await this.#aliasesOf(name) };
  }

  /** Uses the text from a folder, unless the name has one already. */
  async #adoptAbout(name: string, about: AdapterAbout | undefined): Promise<void> {
    if (!about) return;
    try {
      await this.#repository.changeAbout({ tenant: this.#tenant, name }, about, this.#call);
    } catch (error) {
      if (!(error instanceof ServeError && error.code === 'precondition_failed')) throw error;
    }
  }

  /** Returns the tokens that an adapter adds to its base, if its folder contains a tokenizer. */
  async #addedTokens(directory: string, base: string | undefined) {
    const addedTokens = await readAddedTokens(directory);
    if (!addedTokens || addedTokens.tokens.length === 0) return undefined;
    const tokenizer =
      base === undefined
        ? undefined
        : await loadTokenizer(await findBase(base, this.#context, '--base'));
    const ownTokens = newTokens(tokenizer ?? { idToToken: () => undefined }, addedTokens);
    return ownTokens.tokens.length > 0 ? ownTokens : undefined;
  }

  /** Checks the adapter as a server does before it loads it. Returns the base's digest. */
  async #checkOnBase(files: AdapterFiles, base: string): Promise<string> {
    using artifact = readArtifact(await findBase(base, this.#context, '--base'));
    await parseAdapter(files, artifact.config, adaptedBaseOf(artifact));
    return artifact.info.digest;
  }

  /**
   * Turns files that were copied into the store by hand into a version, under the number of their folder. This takes a command,
   * because a folder that is still being copied looks complete.
   */
  async adopt(reference: string): Promise<VersionManifest> {
    const { name, selector } = parseReference(reference);
    if (selector.kind !== 'version') throw new UsageError(`${reference}: must be NAME@VERSION`);
    const { version } = selector;
    return this.#repository.adopt({ tenant: this.#tenant, name, version }, this.#call);
  }

  /** Moves an alias to a target, or back to its previous one if the target is undefined. */
  async moveAlias(
    name: string,
    alias: string,
    target: AliasPointer | undefined,
  ): Promise<MovedAlias> {
    const of = { tenant: this.#tenant, name };
    await this.#versionsOf(name);
    const { aliases, previous, revision } = await (target
      ? this.#repository.moveAlias(of, alias, target, this.#call)
      : this.#repository.rollback(of, alias, this.#call));
    return {
      name,
      alias,
      pointer: pointerOf(aliases, alias),
      previous: pointerOf(previous, alias),
      revision,
    };
  }

  /** Returns what the owner says about a name, after a change of the parts that are given. */
  async about(name: string, change: AboutChange): Promise<AdapterAbout> {
    const repository = this.#repository;
    const of = { tenant: this.#tenant, name };
    await this.#versionsOf(name);
    const { about = NO_ABOUT } = await repository.changeAbout(of, parseAbout(change), this.#call);
    return about;
  }

  /** Lists the tenant's adapters. */
  async list(): Promise<AdapterListing[]> {
    const names = await this.#repository.listNames(this.#tenant, this.#call);
    return mapBounded(names, async (name) => {
      const versions = await this.#repository.listVersions(this.#tenant, name, this.#call);
      const { aliases, about } = await this.#stateOf(name);
      const newest = versions.at(-1)!;
      const [latest] = versionsOf(pointerOf(aliases, LATEST) ?? { version: newest.version });
      const shown = versions.find(({ version }) => version === latest) ?? newest;
      const { rank, created_at } = shown;
      const { description } = about ?? NO_ABOUT;
      const numbers = versions.map(({ version }) => version);
      return { name, versions: numbers, aliases, rank, created_at, description };
    });
  }

  /** Lists the versions of a name. Throws `ServeError` `not_found` if it has none. */
  async listVersions(name: string): Promise<VersionListing> {
    const versions = await this.#versionsOf(name);
    return { name, aliases: await this.#aliasesOf(name), versions };
  }

  /** Lists the folders of the setting `adapters` that a server would refuse, with the reasons. */
  async listRefusedFolders(): Promise<{ folder: string; reason: string }[]> {
    const { adapters: root } = this.#context.config;
    if (root === undefined) return [];
    const refused = await new FolderAdapters(root, { baseNames: [] }).refused();
    return refused.map(({ name, reason }) => ({ folder: path.join(root, name), reason }));
  }

  /** Returns the manifest of a version. */
  inspect(reference: string): Promise<VersionManifest> {
    const repository = this.#repository;
    return findVersion({ repository, tenant: this.#tenant, ...this.#call }, reference);
  }

  /** Reads a version in full and compares it with its manifest. */
  async verify(reference: string): Promise<{ manifest: VersionManifest; moduleCount: number }> {
    const { manifest, files } = await this.#fetch('verify', reference);
    const { moduleCount } = await inspectAdapter(files);
    return { manifest, moduleCount };
  }

  /** Copies a version into a folder that must be empty or missing. The folder appears complete or not at all. */
  async pull(reference: string, directory: string): Promise<VersionManifest> {
    if (existsSync(directory) && readdirSync(directory).length > 0) {
      throw new UsageError(`--out: ${directory} is not empty. Choose an empty or new folder.`);
    }
    const { manifest, files } = await this.#fetch('pull', reference);
    await buildFolder(directory, async (folder) => {
      await writeFile(path.join(folder, CONFIG_FILE), files.configBytes);
      await writeFile(path.join(folder, WEIGHTS_FILE), files.weightsBytes);
      const manifestText = `${JSON.stringify(manifest, null, 2)}\n`;
      await writeFile(path.join(folder, MANIFEST_FILE), manifestText);
    });
    return manifest;
  }

  /** Finds what a reference names: `name@version`, `name:alias`, or `name` with all its versions. */
  async prepareRemoval(reference: string): Promise<Removal> {
    const repository = this.#repository;
    const { name, selector } = parseReference(reference);
    const of = { tenant: this.#tenant, name };
    if (selector.kind === 'version') {
      const { version } = await this.inspect(reference);
      const apply = () => repository.removeVersion(of, version, this.#call);
      return { kind: 'version', versionCount: 1, apply };
    }
    if (!reference.includes(':')) {
      const versions = await this.#versionsOf(name);
      const apply = () => repository.removeName(of, this.#call);
      return { kind: 'name', versionCount: versions.length, apply };
    }
    const { alias } = selector;
    if (!pointerOf(await this.#aliasesOf(name), alias)) {
      throw new UsageError(
        `${name} has no alias ${alias}. lorikeet adapters ls ${name} lists them.`,
      );
    }
    const apply = async () => {
      await repository.moveAlias(of, alias, undefined, this.#call);
    };
    return { kind: 'alias', versionCount: 0, apply };
  }

  /** Deletes the files of removed versions and of unfinished publications that are older than `graceMs`. */
  collectGarbage(graceMs: number): Promise<Garbage> {
    return this.#repository.collectGarbage({ now: Date.now(), graceMs, ...this.#call });
  }

  async #fetch(phase: string, reference: string) {
    const manifest = await this.inspect(reference);
    const files = await this.#withProgress(phase, (onProgress) =>
      fetchVersion(this.#repository, manifest, { onProgress, ...this.#call }),
    );
    return { manifest, files };
  }

  async #withProgress<T>(
    phase: string,
    work: (onProgress: (doneBytes: number, totalBytes: number) => void) => Promise<T>,
  ): Promise<T> {
    const progress = await this.#context.reporter.openProgress();
    try {
      return await work((done, total) => progress.update(phase, done, total, formatBytes(total)));
    } finally {
      progress.end();
    }
  }

  async #versionsOf(name: string): Promise<VersionManifest[]> {
    const repository = this.#repository;
    const versions = await repository.listVersions(this.#tenant, name, this.#call);
    if (versions.length > 0) return versions;
    throw await noAdapter({ repository, tenant: this.#tenant }, name);
  }

  async #aliasesOf(name: string): Promise<Aliases['aliases']> {
    return (await this.#stateOf(name)).aliases;
  }

  async #stateOf(name: string): Promise<Pick<Aliases, 'aliases' | 'about'>> {
    const found = await this.#repository.readAliases(this.#tenant, name, this.#call);
    return found?.aliases ?? { aliases: {} };
  }
}
