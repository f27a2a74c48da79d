// What every command about published adapters works with, and what its user is told when it fails.

import { Writable } from 'node:stream';
import { parseModelName, type Selector } from '../../../adapters/registry/model-name.ts';
import {
  pointerOf,
  type VersionManifest,
  versionsOf,
} from '../../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../../adapters/repository/repository.ts';
import { ServeError, UsageError } from '../../common/errors.ts';
import { type Config, loadConfig } from '../../settings/config.ts';
import { explainStore } from '../explain-store.ts';
import { openRepository } from '../open-repository.ts';
import { createProgress, type Progress, type ProgressStream } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { listenForInterrupt } from '../terminal.ts';

/** Flags that all of them take. */
export interface CommonOptions {
  readonly store?: string;
  readonly tenant: string;
  readonly json?: true;
}

export interface AdapterContext {
  readonly config: Config;
  readonly repository: AdapterRepository;
  readonly tenant: string;
  readonly terminal: Terminal;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** One result: as JSON, or as the text. */
  answer(json: unknown, text: string): void;
}

export async function withRepository(
  { store, tenant, json }: CommonOptions,
  terminal: Terminal,
  work: (context: AdapterContext) => Promise<void>,
): Promise<void> {
  const config = loadConfig(store === undefined ? {} : { store });
  const repository = await openRepository(config);
  const progress = createProgress(progressStream(terminal));
  try {
    await work({
      config,
      repository,
      tenant,
      terminal,
      progress,
      signal: listenForInterrupt(),
      answer: (value, text) => terminal.out(`${json ? JSON.stringify(value) : text}\n`),
    });
  } catch (error) {
    throw explainStore(error, repository.label);
  } finally {
    progress.end();
  }
}

/** A bar needs the terminal itself; lines go where the command's other lines go. */
function progressStream(terminal: Terminal): ProgressStream {
  if (process.stderr.isTTY) return process.stderr;
  return new Writable({
    write(text, _encoding, done) {
      terminal.error(String(text));
      done();
    },
  });
}

/** An adapter as it is named on the command line. */
export interface NamedAdapter {
  readonly name: string;
  readonly selector: Selector;
}

/** `name`, `name@version` or `name:alias`. */
export function parseReference(text: string): NamedAdapter {
  const parsed = parseModelName(text);
  const [term, ...others] = parsed?.kind === 'adapters' ? parsed.terms : [];
  if (!term || others.length > 0 || term.weight !== 1) {
    throw new UsageError(`${text}: must be NAME, NAME@VERSION or NAME:ALIAS`);
  }
  return term.adapter;
}

/** The one version that the reference stands for. */
export async function findVersion(
  { repository, tenant, signal }: Pick<AdapterContext, 'repository' | 'tenant' | 'signal'>,
  reference: string,
): Promise<VersionManifest> {
  const { name, selector } = parseReference(reference);
  const version =
    selector.kind === 'version'
      ? selector.version
      : await versionOfAlias({ repository, tenant, signal }, name, selector.alias);
  const manifest = await repository.readManifest(tenant, name, version, { signal });
  if (manifest) return manifest;
  const versions = await repository.listVersions(tenant, name, { signal });
  if (versions.length === 0) throw await noAdapter({ repository, tenant }, name);
  const list = versions.map((other) => other.version).join(', ');
  throw new ServeError('not_found', `${name} has no version ${version}; it has ${list}`);
}

async function versionOfAlias(
  { repository, tenant, signal }: Pick<AdapterContext, 'repository' | 'tenant' | 'signal'>,
  name: string,
  alias: string,
): Promise<number> {
  const found = await repository.readAliases(tenant, name, { signal });
  const aliases = found?.aliases.aliases ?? {};
  const pointer = pointerOf(aliases, alias);
  const [version, ...others] = pointer ? versionsOf(pointer) : [];
  if (version === undefined) {
    const names = Object.keys(aliases);
    if (names.length === 0) throw await noAdapter({ repository, tenant }, name);
    throw new ServeError('not_found', `${name} has no alias ${alias}; it has ${names.join(', ')}`);
  }
  if (others.length === 0) return version;
  const choices = [version, ...others].map((number) => `${name}@${number}`).join(' or ');
  throw new UsageError(`${name}:${alias} is split between versions: name one, ${choices}`);
}

/** With the names that there are: a typing error is the usual reason. */
export async function noAdapter(
  { repository, tenant }: Pick<AdapterContext, 'repository' | 'tenant'>,
  name: string,
): Promise<ServeError> {
  const names = await repository.listNames(tenant);
  const others =
    names.length > 0
      ? `it has ${names.slice(0, 20).join(', ')}`
      : 'it has none; lorikeet adapters push';
  return new ServeError(
    'not_found',
    `tenant ${tenant} has no adapter ${name} in ${repository.label}; ${others}`,
  );
}
