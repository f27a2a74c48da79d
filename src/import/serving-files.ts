// Builds the serving files of an artifact: the weights in the form that the engine maps at start, and their layout. They
// are built once per base digest, weights mode and layout version. Does not know the graph.
import { createHash } from 'node:crypto';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { buildFolder } from '../common/folders.ts';
import { asBytes, toFloat32 } from '../common/tensor.ts';
import { biasName, embeddingName, headName } from '../model/names.ts';
import {
  embeddingMatrix,
  fusedBias,
  fusedMatrix,
  headMatrix,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  normVectors,
  type ServingLayout,
  type ServingMatrix,
  type ServingTensor,
  servingTensors,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import { FUSED_LINEAR_NAMES, FUSED_LINEARS, moduleName } from '../model/target-modules.ts';
import { quantizeInt4, repackInt4 } from '../quant/int4.ts';
import { dequantizeNf4, quantizeNf4 } from '../quant/nf4.ts';
import { quantizeInt8Rows, repackInt8 } from '../quant/repack.ts';
import { type Artifact, type LinearWeights, readLinear } from './artifact.ts';
import { isBuilt, recordChecksums, type ServingCache, servingFolder } from './serving-cache.ts';

/** The runtime wants weights on a cache line. The mapping itself starts on a page. */
const ALIGNMENT = 64;
/** A single write call takes at most 2^31-1 bytes. */
const MAX_WRITE_BYTES = 1 << 30;

/** Options of the functions that build serving files. */
export interface ServingFilesOptions extends ServingCache {
  /** Called after each tensor with the number of tensors written and the total. */
  onProgress?: (done: number, total: number) => void;
}

/** Returns the folder with the artifact's serving files. Builds it if it does not exist yet. */
export async function ensureServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<string> {
  const dir = servingFolder(artifact.info.digest, options);
  if (!isBuilt(dir)) await buildServingFiles(artifact, options);
  return dir;
}

/**
 * Builds the artifact's serving files, verifies what was written, and replaces the existing folder. Engines that have the
 * old files mapped keep them.
 */
export async function buildServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<void> {
  const { weights, onProgress } = options;
  const { digest } = artifact.info;
  const build = async (temporary: string) => {
    const file = path.join(temporary, WEIGHTS_FILE);
    const { tensors, sha256 } = await writeWeights(artifact, { mode: weights, file, onProgress });
    const layout: ServingLayout = {
      version: LAYOUT_VERSION,
      baseDigest: digest,
      weights,
      config: artifact.configJson,
      tensors,
    };
    await writeFile(path.join(temporary, LAYOUT_FILE), JSON.stringify(layout));
    await recordChecksums(temporary, sha256);
  };
  await buildFolder(servingFolder(digest, options), build, isBuilt);
}

/** Where and how the weights are written. */
interface WeightsTarget {
  readonly mode: WeightsMode;
  readonly file: string;
  readonly onProgress: ServingFilesOptions['onProgress'];
}

async function writeWeights(
  artifact: Artifact,
  { mode, file, onProgress }: WeightsTarget,
): Promise<{ tensors: ServingLayout['tensors']; sha256: string }> {
  const expected = servingTensors(artifact.config, mode);
  const handle = await open(file, 'w');
  try {
    const writer = new TensorWriter(handle, expected.length, onProgress);
    for await (const [tensor, bytes] of generateTensors(artifact, mode))
      await writer.write(tensor, bytes);
    await handle.sync();
    assert(writer.written.length === expected.length, 'a serving tensor was left out');
    return { tensors: writer.written, sha256: writer.digest() };
  } finally {
    await handle.close();
  }
}

/** Appends tensors to the weights file, aligned, and hashes the file. */
class TensorWriter {
  readonly written: (ServingTensor & { offset: number })[] = [];
  readonly #handle: FileHandle;
  readonly #total: number;
  readonly #onProgress: ServingFilesOptions['onProgress'];
  readonly #hash = createHash('sha256');
  /** The offset of the next tensor. */
  #offset = 0;
  /** The end of the last tensor. */
  #end = 0;

  constructor(handle: FileHandle, total: number, onProgress: ServingFilesOptions['onProgress']) {
    this.#handle = handle;
    this.#total = total;
    this.#onProgress = onProgress;
  }

  async write(tensor: ServingTensor, bytes: Uint8Array): Promise<void> {
    this.#hash.update(new Uint8Array(this.#offset - this.#end)).update(bytes);
    for (let done = 0; done < bytes.length; ) {
      // A full disk may take fewer bytes than it is given.
      const length = Math.min(bytes.length - done, MAX_WRITE_BYTES);
      const { bytesWritten } = await this.#handle.write(bytes, done, length, this.#offset + done);
      done += bytesWritten;
    }
    this.written.push({ ...tensor, offset: this.#offset });
    this.#end = this.#offset + bytes.length;
    this.#offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#onProgress?.(this.written.length, this.#total);
  }

  /** Returns the SHA-256 of the file, hex. Nothing can be written afterwards. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

type NamedBytes = [ServingTensor, Uint8Array];

/** Yields all tensors of the weights file in order, with one matrix in memory at a time. */
async function* generateTensors(artifact: Artifact, mode: WeightsMode): AsyncGenerator<NamedBytes> {
  const { config, tensors } = artifact;
  const dense = (name: string) => toFloat32(tensors.read(name));
  yield* matrixBytes(embeddingMatrix(config, mode), [tableWeights(artifact, embeddingName)]);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      const linears = FUSED_LINEARS[fused].map((t) => readLinear(artifact, moduleName(layer, t)));
      yield* matrixBytes(fusedMatrix(config, mode, layer, fused), linears);
      const bias = fusedBias(config, layer, fused);
      if (bias)
        yield [bias, concat(FUSED_LINEARS[fused].map((t) => asBytes(dense(biasName(layer, t)))))];
    }
  }
  for (const norm of normVectors(config)) yield [norm, asBytes(dense(norm.name))];
  if (!config.tiedEmbeddings) {
    yield* matrixBytes(headMatrix(config, mode), [tableWeights(artifact, headName)]);
  }
}

/** Reads the embedding or the head as a dense matrix. */
function tableWeights({ tensors, config }: Artifact, name: string): LinearWeights {
  const { vocabSize: rows, hiddenSize: cols } = config;
  return { kind: 'dense', values: toFloat32(tensors.read(name)), rows, cols };
}

/** Yields the stacked linear layers, converted to the matrix's form. */
function* matrixBytes(matrix: ServingMatrix, linears: LinearWeights[]): Generator<NamedBytes> {
  const parts = linears.map((linear) => MATRIX_FORMS[matrix.form](linear));
  yield [matrix.values, concat(parts.map((part) => part.values))];
  if (matrix.scales) yield [matrix.scales, concat(parts.map((part) => part.scales!))];
  if (matrix.zeroPoints) yield [matrix.zeroPoints, concat(parts.map((part) => part.zeroPoints!))];
}

/** A matrix in its serving form. */
type FormBytes = { values: Uint8Array; scales?: Uint8Array; zeroPoints?: Uint8Array };

const MATRIX_FORMS: Record<ServingMatrix['form'], (linear: LinearWeights) => FormBytes> = {
  q8: (w) => {
    const { data, scales } =
      w.kind === 'nf4'
        ? repackInt8(w.packed, w.absmax, w.rows, w.cols)
        : quantizeInt8Rows(w.values, w.rows, w.cols);
    return { values: data, scales: asBytes(scales) };
  },
  q4: (w) => {
    const { data, scales, zeroPoints } =
      w.kind === 'nf4'
        ? repackInt4(w.packed, w.absmax, w.rows, w.cols)
        : quantizeInt4(w.values, w.rows, w.cols);
    return { values: data, scales: asBytes(scales), zeroPoints };
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

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
