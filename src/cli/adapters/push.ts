// lorikeet adapters push: a PEFT folder becomes a version in the store.
import path from 'node:path';
import { readAdapterFiles } from '../../../adapters/peft/files.ts';
import { parseAdapter } from '../../../adapters/peft/peft.ts';
import { readFolderGenerationConfig } from '../../../adapters/registry/generation-config.ts';
import { contentPublication } from '../../../adapters/repository/content.ts';
import { LATEST, type VersionManifest } from '../../../adapters/repository/manifest.ts';
import { readArtifact } from '../../import/artifact.ts';
import { chooseBase } from '../choose-base.ts';
import { formatBytes } from '../table.ts';
import type { AdapterContext } from './context.ts';

export interface PushOptions {
  readonly name: string;
  readonly base?: string;
  readonly alias: readonly string[];
}

export async function push(
  context: AdapterContext,
  folder: string,
  { name, base, alias: aliases }: PushOptions,
): Promise<void> {
  const { repository, tenant, signal, progress } = context;
  const directory = path.resolve(folder);
  const files = await readAdapterFiles(directory);
  const baseDigest = base === undefined ? undefined : await checkOnBase(context, files, base);
  const generationConfig = await readFolderGenerationConfig(directory);
  const states = {
    ...(baseDigest && { baseDigest }),
    ...(generationConfig && { generationConfig }),
  };
  const before = await repository.listVersions(tenant, name, { signal });
  const published = await repository.publish(
    { tenant, name },
    { directory },
    {
      aliases,
      ...states,
      publicationId: contentPublication(files.digest, states),
      onProgress: (done, total) => progress.update('push', done, total, formatBytes(total)),
      signal,
    },
  );
  progress.end();
  const isNew = before.every(({ version }) => version !== published.version);
  const found = await repository.readAliases(tenant, name, { signal });
  context.answer(
    { published: isNew, ...published, aliases: found?.aliases.aliases ?? {} },
    isNew ? describe(published, aliases) : describeOld(published),
  );
}

/** The whole check that a server makes before it runs the adapter; answers the base's digest. */
async function checkOnBase(
  { config, signal, terminal }: AdapterContext,
  files: Awaited<ReturnType<typeof readAdapterFiles>>,
  base: string,
): Promise<string> {
  const notify = (text: string) => terminal.error(`${text}\n`);
  const artifact = readArtifact(await chooseBase(base, { config, signal, notify }));
  try {
    await parseAdapter(files, artifact.config);
    return artifact.info.digest;
  } finally {
    artifact.tensors.close();
  }
}

function describe(published: VersionManifest, aliases: readonly string[]): string {
  const { name, version, rank, targets, files } = published;
  const bytes = files['adapter_model.safetensors'].byteSize;
  const bound = published.base_digest
    ? ''
    : '\nIts base is not recorded: --base MODEL checks the shapes and binds it';
  return [
    `${name}@${version} is published (rank ${rank}, ${targets.join(' ')}, ${formatBytes(bytes)})`,
    `Ask for it as model "${name}"${[...new Set([LATEST, ...aliases])]
      .map((alias) => ` or "${name}:${alias}"`)
      .join('')}${bound}`,
  ].join('\n');
}

function describeOld({ name, version }: VersionManifest): string {
  return `${name}@${version} holds these files already: nothing new is published\nTo lead an alias back to it: lorikeet adapters alias ${name} ${LATEST} ${version}`;
}
