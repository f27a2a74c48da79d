// `lorikeet import`: opens a source as a checkpoint and has an artifact written.
import type { ArtifactInfo } from './artifact.ts';
import type { HubOptions } from './hub.ts';
import { openSource, parseSource } from './open-source.ts';
import { type ArtifactOptions, checkOutDir, writeArtifact } from './write-artifact.ts';

export interface ImportOptions
  extends Pick<ArtifactOptions, 'quantization' | 'doubleQuantization' | 'onProgress' | 'signal'> {
  /** Needed for hub ids and for names that stand for them. */
  readonly hub?: HubOptions;
}

/**
 * Imports a base model into the folder `outDir`.
 * @param source a Hugging Face folder, a .gguf file, a hub id or a catalogue name
 * @throws FileError for a source that is not understood, FetchError for one that cannot be had now, UsageError for a
 * source that is nothing and for a folder that is not free
 */
export async function importModel(
  source: string,
  outDir: string,
  options: ImportOptions,
): Promise<ArtifactInfo> {
  const { hub, onProgress, signal, quantization, doubleQuantization } = options;
  const parsed = parseSource(source);
  const { label, name } = parsed;
  checkOutDir(outDir, label);
  const checkpoint = await openSource(parsed, {
    hub,
    signal,
    onBytes: (done, total) => onProgress?.({ phase: 'download', done, total }),
  });
  const settings = { quantization, doubleQuantization, onProgress, signal };
  try {
    return await writeArtifact(checkpoint, outDir, { ...settings, source: label, name });
  } finally {
    checkpoint.tensors.close();
  }
}
