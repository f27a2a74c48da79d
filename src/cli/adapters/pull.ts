// lorikeet adapters pull: a version as a plain PEFT folder, every byte of it checked.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../../adapters/peft/files.ts';
import { fetchVersion } from '../../../adapters/repository/fetch.ts';
import { MANIFEST_FILE } from '../../../adapters/repository/manifest.ts';
import { UsageError } from '../../common/errors.ts';
import { formatBytes } from '../table.ts';
import { type AdapterContext, findVersion } from './context.ts';

export async function pull(
  context: AdapterContext,
  reference: string,
  { out }: { out: string },
): Promise<void> {
  const { repository, signal, progress } = context;
  const directory = path.resolve(out);
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new UsageError(`--out: ${directory} is not empty`);
  }
  const manifest = await findVersion(context, reference);
  const { configBytes, weightsBytes } = await fetchVersion(repository, manifest, {
    signal,
    onProgress: (done, total) => progress.update('pull', done, total, formatBytes(total)),
  });
  progress.end();
  await writeFolder(directory, {
    [CONFIG_FILE]: configBytes,
    [WEIGHTS_FILE]: weightsBytes,
    [MANIFEST_FILE]: `${JSON.stringify(manifest, null, 2)}\n`,
  });
  const { name, version } = manifest;
  context.answer({ directory, ...manifest }, `${name}@${version} is in ${directory}`);
}

/** Whole or not at all: written beside, then renamed. */
async function writeFolder(
  directory: string,
  files: Readonly<Record<string, Uint8Array | string>>,
): Promise<void> {
  const building = `${path.dirname(directory)}/.${path.basename(directory)}.tmp-${process.pid}`;
  try {
    await mkdir(building, { recursive: true });
    for (const [file, bytes] of Object.entries(files)) {
      await writeFile(path.join(building, file), bytes);
    }
    await rename(building, directory);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}
