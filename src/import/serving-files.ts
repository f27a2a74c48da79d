// Builds what the engine maps at start: one file of weights in their run-time form and its table of contents.
// Made once per (base digest, weights mode, layout version) in the cache folder; knows no graph.
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { toFloat32 } from '../common/tensor.ts';
import { biasName, embeddingName, headName } from '../model/names.ts';
import {
  embeddingMatrix,
  headMatrix,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  normVectors,
  type ServingLayout,
  type ServingMatrix,
  type ServingTensor,
  servingTensors,
  siteBias,
  siteMatrix,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import { moduleName, SITE_NAMES, SITES } from '../model/target-modules.ts';
import { dequantizeNf4, quantizeNf4 } from '../quant/nf4.ts';
import { quantizeInt8Rows, repackInt8 } from '../quant/repack.ts';
import { type Artifact, type LinearWeights, readLinear } from './artifact.ts';
import { isBuilt, type ServingCache, servingFolder } from './serving-cache.ts';
import { recordChecksums } from './serving-checksums.ts';

/** The runtime wants weights on a cache line; the mapping itself starts on a page. */
const ALIGNMENT = 64;
/** One call writes at most 2^31-1 bytes, and a full disk may take fewer than it is given. */
const MAX_IO_BYTES = 1 << 30;

export interface ServingFilesOptions extends ServingCache {
  onProgress?: (done: number, total: number) => void;
}

/** Returns the folder with the artifact's serving files, and builds it if it is not there yet. */
export async function ensureServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<string> {
  const dir = servingFolder(artifact.info.digest, options);
  if (!isBuilt(dir)) await buildServingFiles(artifact, options);
  return dir;
}

/**
 * Builds the artifact's serving files, checks what was written, and puts the folder in the place of the one that is
 * there. Engines that have the old files mapped keep them.
 */
export async function buildServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<void> {
  const { weights, onProgress } = options;
  const { digest } = artifact.info;
  const dir = servingFolder(digest, options);
  const building = `${dir}.tmp-${process.pid}`;
  await rm(building, { recursive: true, force: true });
  await mkdir(building, { recursive: true });
  try {
    const file = path.join(building, WEIGHTS_FILE);
    const { tensors, sha256 } = await writeWeights(artifact, { mode: weights, file, onProgress });
    const layout: ServingLayout = {
      version: LAYOUT_VERSION,
      baseDigest: digest,
      weights,
      config: artifact.configJson,
      tensors,
    };
    await writeFile(path.join(building, LAYOUT_FILE), JSON.stringify(layout));
    await recordChecksums(building, sha256);
    await replaceFolder(dir, building);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

/** Another process may do the same: its folder is as good as this one. */
async function replaceFolder(dir: string, building: string): Promise<void> {
  const former = `${building}-former`;
  await rename(dir, former).catch(() => {}); // there was none
  try {
    await rename(building, dir);
  } catch (error) {
    if (!isBuilt(dir)) throw error;
  }
  await rm(former, { recursive: true, force: true });
}

interface WriteOptions {
  readonly mode: WeightsMode;
  readonly file: string;
  readonly onProgress: ServingFilesOptions['onProgress'];
}

async function writeWeights(
  artifact: Artifact,
  { mode, file, onProgress }: WriteOptions,
): Promise<{ tensors: ServingLayout['tensors']; sha256: string }> {
  const wanted = servingTensors(artifact.config, mode);
  const handle = await open(file, 'w');
  try {
    const writer = new TensorWriter(handle, wanted.length, onProgress);
    for await (const [tensor, bytes] of tensorBytes(artifact, mode))
      await writer.write(tensor, bytes);
    await handle.sync();
    assert(writer.written.length === wanted.length, 'a serving tensor was left out');
    return { tensors: writer.written, sha256: writer.digest() };
  } finally {
    await handle.close();
  }
}

class TensorWriter {
  readonly written: (ServingTensor & { offset: number })[] = [];
  readonly #handle: FileHandle;
  readonly #total: number;
  readonly #onProgress: ServingFilesOptions['onProgress'];
  readonly #hash = createHash('sha256');
  /** Where the next tensor begins. */
  #offset = 0;
  /** Where the last one ended. */
  #end = 0;

  constructor(handle: FileHandle, total: number, onProgress: ServingFilesOptions['onProgress']) {
    this.#handle = handle;
    this.#total = total;
    this.#onProgress = onProgress;
  }

  async write(tensor: ServingTensor, bytes: Uint8Array): Promise<void> {
    this.#hash.update(new Uint8Array(this.#offset - this.#end)).update(bytes);
    for (let done = 0; done < bytes.length; ) {
      const length = Math.min(bytes.length - done, MAX_IO_BYTES);
      const { bytesWritten } = await this.#handle.write(bytes, done, length, this.#offset + done);
      done += bytesWritten;
    }
    this.written.push({ ...tensor, offset: this.#offset });
    this.#end = this.#offset + bytes.length;
    this.#offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#onProgress?.(this.written.length, this.#total);
  }

  /** SHA-256 of the file so far, hex; nothing is written after it. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

type NamedBytes = [ServingTensor, Uint8Array];

/** One matrix at a time is in memory. */
async function* tensorBytes(artifact: Artifact, mode: WeightsMode): AsyncGenerator<NamedBytes> {
  const { config, tensors } = artifact;
  const dense = (name: string) => toFloat32(tensors.read(name));
  yield* matrixBytes(embeddingMatrix(config, mode), [tableWeights(artifact, embeddingName)]);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const site of SITE_NAMES) {
      const linears = SITES[site].map((t) => readLinear(artifact, moduleName(layer, t)));
      yield* matrixBytes(siteMatrix(config, mode, layer, site), linears);
      const bias = siteBias(config, layer, site);
      if (bias) yield [bias, concat(SITES[site].map((t) => asBytes(dense(biasName(layer, t)))))];
    }
  }
  for (const norm of normVectors(config)) yield [norm, asBytes(dense(norm.name))];
  if (!config.tiedEmbeddings) {
    yield* matrixBytes(headMatrix(config, mode), [tableWeights(artifact, headName)]);
  }
}

function tableWeights({ tensors, config }: Artifact, name: string): LinearWeights {
  const { vocabSize: rows, hiddenSize: cols } = config;
  return { kind: 'dense', values: toFloat32(tensors.read(name)), rows, cols };
}

/** The stacked linears in the matrix's form. */
function* matrixBytes(matrix: ServingMatrix, linears: LinearWeights[]): Generator<NamedBytes> {
  const parts = linears.map((linear) => MATRIX_FORMS[matrix.form](linear));
  yield [matrix.values, concat(parts.map((part) => part.values))];
  if (matrix.scales) yield [matrix.scales, concat(parts.map((part) => part.scales!))];
}

type FormBytes = { values: Uint8Array; scales?: Uint8Array };

const MATRIX_FORMS: Record<ServingMatrix['form'], (linear: LinearWeights) => FormBytes> = {
  q8: (w) => {
    const { data, scales } =
      w.kind === 'nf4'
        ? repackInt8(w.packed, w.absmax, w.rows, w.cols)
        : quantizeInt8Rows(w.values, w.rows, w.cols);
    return { values: data, scales: asBytes(scales) };
  },
  nf4: (w) => {
    const { packed, absmax } = w.kind === 'nf4' ? w : quantizeNf4(w.values);
    return { values: packed, scales: asBytes(absmax) };
  },
  f32: (w) => ({
    values: asBytes(
      w.kind === 'nf4' ? dequantizeNf4(w.packed, w.absmax, w.rows * w.cols) : w.values,
    ),
  }),
};

function asBytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
