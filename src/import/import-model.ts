// `lorikeet import`: finds out what a source is, opens it as a checkpoint, and has an artifact written.
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { FileError } from '../errors.ts';
import type { ArtifactInfo } from './artifact.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openFolder } from './folder.ts';
import { openGgufModel } from './gguf-model.ts';
import { type ArtifactOptions, checkOutDir, writeArtifact } from './write-artifact.ts';

export interface ImportOptions
  extends Pick<ArtifactOptions, 'quantization' | 'doubleQuantization' | 'onProgress' | 'signal'> {}

/**
 * Imports a base model into the folder `outDir`.
 * @param source a Hugging Face folder or a .gguf file
 * @throws FileError for a source that is not understood, UsageError for a folder that is not free
 */
export async function importModel(
  source: string,
  outDir: string,
  options: ImportOptions,
): Promise<ArtifactInfo> {
  const label = path.basename(path.resolve(source));
  const name = label.replace(/\.gguf$/i, '');
  checkOutDir(outDir, label);
  const checkpoint = await openCheckpoint(source);
  try {
    return await writeArtifact(checkpoint, outDir, { ...options, source: label, name });
  } finally {
    checkpoint.tensors.close();
  }
}

async function openCheckpoint(source: string): Promise<Checkpoint> {
  if (!existsSync(source)) throw new FileError(source, 'there is no such file or folder');
  return statSync(source).isDirectory() ? openFolder(source) : openGgufModel(source);
}
