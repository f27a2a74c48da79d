// Writes an artifact from any checkpoint.
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UsageError } from '../common/errors.ts';
import { buildFolder } from '../common/folders.ts';
import { byteLength, type FloatDType, isFloat, type TensorSource } from '../common/tensor.ts';
import { readGenerationConfig } from '../contracts/generation-config.ts';
import { type WritableTensors, writeSafetensors } from '../formats/safetensors.ts';
import { parseDecoderConfig } from '../model/config.ts';
import { embeddingName } from '../model/names.ts';
import { NF4_BLOCK, NF4_CODEBOOK } from '../quant/nf4.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import {
  ArtifactDigest,
  type ArtifactInfo,
  FORMAT_VERSION,
  INFO_FILE,
  readArtifactInfo,
} from './artifact.ts';
import { isDoubleQuantized, isNf4, quantizationConfig } from './bitsandbytes.ts';
import { type Checkpoint, checkTensors, isLinearWeight } from './checkpoint.ts';
import { CONFIG_FILE, WEIGHTS_FILE } from './folder.ts';
import { unpackCheckpoint } from './packed/unpack.ts';
import { denseView, finiteAbsmax, keptView, quantizedView } from './quantize.ts';

/** A step of an import. */
type ImportPhase = 'download' | 'quantize' | 'write';

/** The progress of a phase. */
interface ImportProgress {
  readonly phase: ImportPhase;
  /** Bytes. */
  readonly done: number;
  readonly total: number;
}

/** Options of `writeArtifact`. */
export interface ArtifactOptions {
  readonly name: string;
  readonly source: string;
  readonly quantization: 'nf4' | 'none';
  readonly doubleQuantization: boolean;
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes the folder `outDir`, or replaces it if it is an artifact of the same source. Throws `UsageError` if it contains
 * anything else, and `FileError` naming the first part of the checkpoint that is invalid or unknown.
 */
export async function writeArtifact(
  checkpoint: Checkpoint,
  outDir: string,
  options: ArtifactOptions,
): Promise<ArtifactInfo> {
  checkOutDir(outDir, options.source);
  return buildFolder(outDir, async (temporary) => {
    const info = await fillFolder(checkpoint, temporary, options);
    checkOutDir(outDir, options.source); // another import may have finished
    return info;
  });
}

/** Throws `UsageError` if the folder is neither free nor an artifact of this source. */
export function checkOutDir(outDir: string, source: string): void {
  if (outDir === '') throw new UsageError('--out: must not be empty');
  if (!existsSync(outDir)) return;
  if (!statSync(outDir).isDirectory()) throw new UsageError(`--out: ${outDir} is a file`);
  if (!isReplaceable(realpathSync(outDir)))
    throw new UsageError(
      `--out: ${outDir} is a mount point or the current folder, which an import cannot replace. Choose a new folder inside it.`,
    );
  const entries = readdirSync(outDir);
  if (entries.length === 0) return;
  if (!entries.includes(INFO_FILE) || readArtifactInfo(outDir).source !== source) {
    throw new UsageError(
      `--out: ${outDir} holds something other than an artifact of ${source}. Choose an empty or new folder.`,
    );
  }
}

/** Whether the system can rename the folder, and no shell is left in a folder that was removed. */
function isReplaceable(dir: string): boolean {
  return dir !== process.cwd() && statSync(dir).dev === statSync(path.dirname(dir)).dev;
}

async function fillFolder(
  given: Checkpoint,
  dir: string,
  options: ArtifactOptions,
): Promise<ArtifactInfo> {
  const config = parseDecoderConfig(given.configJson);
  const checkpoint = unpackCheckpoint(given);
  const names = [...checkTensors(checkpoint.tensors, config).keys()];
  const packing = findPacking(checkpoint.tensors, names, options);
  const digest = new ArtifactDigest();
  const configBytes = new TextEncoder().encode(outputConfig(checkpoint, packing));
  const files = new Map(checkpoint.files).set(CONFIG_FILE, configBytes);
  for (const [name, bytes] of files) {
    await writeFile(path.join(dir, name), bytes);
    digest.addFile(name, bytes);
  }
  // A server would refuse them only after the minutes that an import takes.
  await loadTokenizer(dir);
  await readGenerationConfig(dir);
  await writeSafetensors(
    path.join(dir, WEIGHTS_FILE),
    digested(await createTensorView(checkpoint.tensors, names, packing, options), digest, options),
    { metadata: { format: 'pt' }, signal: options.signal },
  );
  const info = artifactInfo(options, packing, digest.hex());
  await writeFile(path.join(dir, INFO_FILE), `${JSON.stringify(info, null, 2)}\n`);
  return info;
}

/** How the artifact stores the linears, and whether the checkpoint has them packed. */
type Packing =
  | { kind: 'dense'; wasPacked: boolean }
  | { kind: 'nf4'; wasPacked: boolean; doubleQuantization: boolean; dtype: FloatDType };

function findPacking(
  source: TensorSource,
  names: readonly string[],
  { quantization, doubleQuantization }: ArtifactOptions,
): Packing {
  const linears = names.filter(isLinearWeight);
  const packed = linears.find((name) => isNf4(source, name));
  const wasPacked = packed !== undefined;
  if (quantization === 'none') return { kind: 'dense', wasPacked };
  const dtype = source.infos.get(embeddingName)!.dtype as FloatDType;
  return {
    kind: 'nf4',
    wasPacked,
    dtype,
    doubleQuantization: wasPacked ? isDoubleQuantized(source, packed) : doubleQuantization,
  };
}

async function createTensorView(
  source: TensorSource,
  names: readonly string[],
  packing: Packing,
  options: ArtifactOptions,
): Promise<WritableTensors> {
  if (packing.kind === 'dense') return denseView(source, names);
  if (packing.wasPacked) return keptView(source, names);
  const linears = names.filter(isLinearWeight);
  const total = linears.reduce((sum, name) => sum + byteLength(source.infos.get(name)!), 0);
  let done = 0;
  return quantizedView(source, names, {
    doubleQuantization: packing.doubleQuantization,
    async onLinear(bytes) {
      options.signal?.throwIfAborted();
      done += bytes;
      options.onProgress?.({ phase: 'quantize', done, total });
      await setImmediate(); // gives signals and the progress bar a turn
    },
  });
}

/** Wraps a view: reading a tensor checks that it is finite, adds it to the digest and reports progress. */
function digested(
  view: WritableTensors,
  digest: ArtifactDigest,
  { onProgress }: ArtifactOptions,
): WritableTensors {
  const total = [...view.infos.values()].reduce((sum, info) => sum + byteLength(info), 0);
  let done = 0;
  return {
    infos: view.infos,
    read(name) {
      const tensor = view.read(name);
      if (isFloat(tensor.dtype)) finiteAbsmax(name, tensor);
      digest.addTensor(name, tensor);
      done += tensor.data.length;
      onProgress?.({ phase: 'write', done, total });
      return tensor;
    },
  };
}

/** Returns config.json: the source's text, with the NF4 settings added or removed if needed. */
function outputConfig({ configJson, configText }: Checkpoint, packing: Packing): string {
  const { quantization_config: announced, ...plain } = configJson;
  const isAnnounced = announced != null;
  if (isAnnounced === (packing.kind === 'nf4')) return configText;
  if (packing.kind === 'dense') return `${JSON.stringify(plain, null, 2)}\n`;
  const text = announced === undefined ? configText : JSON.stringify(plain, null, 2);
  const open = text.trimEnd().slice(0, -1).trimEnd();
  const settings = quantizationConfig(packing.dtype, packing.doubleQuantization);
  return `${open},\n  "quantization_config": ${settings}\n}\n`;
}

function artifactInfo(
  { name, source }: ArtifactOptions,
  packing: Packing,
  digest: string,
): ArtifactInfo {
  const common = { format: FORMAT_VERSION, name, source, digest } as const;
  if (packing.kind === 'dense') return { ...common, quantization: 'none' };
  return {
    ...common,
    quantization: 'nf4',
    doubleQuantization: packing.doubleQuantization,
    blockSize: NF4_BLOCK,
    codebook: [...NF4_CODEBOOK],
  };
}
