// Builds the serving files of an artifact: the weights in the form that the engine maps at start, and their layout. They are
// built once per base digest, weights mode and layout version.
import { createHash, hash } from 'node:crypto';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { buildFolder } from '../common/folders.ts';
import { asBytes, elementCount, toFloat32 } from '../common/tensor.ts';
import type { DecoderConfig } from '../model/config.ts';
import { biasName, embeddingName, headName } from '../model/names.ts';
import { linearName, type RowPacking, rowMatrix, rowTensors } from '../model/row-weights.ts';
import {
  embeddingMatrix,
  fusedBias,
  fusedMatrix,
  headMatrix,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  normVectors,
  type PerTokenLayout,
  type ServingLayout,
  type ServingMatrix,
  type ServingTensor,
  servingTensors,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import { FUSED_LINEAR_NAMES, fusedTargets, moduleName } from '../model/target-modules.ts';
import { quantizeInt4, repackInt4 } from '../quant/int4.ts';
import { quantizeNf4 } from '../quant/nf4.ts';
import { quantizeInt8Rows, repackInt8 } from '../quant/repack.ts';
import { packRowInt8, quantizeRowInt8 } from '../quant/row-int8.ts';
import { smoothLinear } from '../quant/smoothing.ts';
import { type Artifact, denseValues, type LinearWeights, readLinear } from './artifact.ts';
import { isBuilt, recordChecksums, type ServingCache, servingFolder } from './serving-cache.ts';

/** The runtime expects weights aligned to cache lines. The mapping itself starts on a page. */
const ALIGNMENT = 64;
/**
 * A linear whose per-token form has a larger error than this keeps its per-block form. SmolLM2-135M's linears have 0.006 to
 * 0.027.
 */
const MAX_ROW_ERROR = 0.1;
/** A single write call accepts at most 2^31-1 bytes. */
const MAX_WRITE_BYTES = 1 << 30;

/** Runs a serving folder's model over a text to measure its linears, layer by layer in the order of `FUSED_LINEAR_NAMES`. */
export interface Calibration {
  /** Returns the largest magnitudes [in] of each linear's inputs; undefined if the model cannot read the text. */
  measureInputs(servingDir: string): Promise<readonly Float32Array[] | undefined>;
  /** Returns the error of each linear's per-token form, relative to its product. */
  measureErrors(servingDir: string): Promise<readonly number[]>;
}

/** Options of the functions that build serving files. */
interface ServingFilesOptions extends ServingCache {
  /** For `int8`. Without it the files contain no per-token form. */
  calibration?: Calibration;
  /** Called with the linears that keep their per-block form because the per-token form is not precise enough. */
  onImprecise?: (linears: readonly string[]) => void;
  /** Called after each tensor with the number of written tensors and the total. */
  onProgress?: (done: number, total: number) => void;
  /** Makes the build reject with an `AbortError` before the next tensor. */
  signal?: AbortSignal;
}

/** Returns the folder with the artifact's serving files, building it first if necessary. */
export async function ensureServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<string> {
  const dir = servingFolder(artifact.info.digest, options);
  if (!isBuilt(dir)) await buildServingFiles(artifact, options);
  return dir;
}

/**
 * Builds the artifact's serving files, verifies them, and replaces the existing folder. Engines that have mapped the old files
 * keep them.
 */
export async function buildServingFiles(
  artifact: Artifact,
  options: ServingFilesOptions,
): Promise<void> {
  const { digest } = artifact.info;
  const build = async (temporary: string) => {
    const sha256 = await writeServingFiles(artifact, temporary, options);
    await recordChecksums(temporary, sha256, options.signal);
  };
  await buildFolder(servingFolder(digest, options), build, isBuilt);
}

/** Writes the weights and the layout to a folder. Returns the SHA-256 of the weights. */
async function writeServingFiles(
  artifact: Artifact,
  folder: string,
  options: ServingFilesOptions,
): Promise<string> {
  const { weights, calibration, onImprecise } = options;
  const { config } = artifact;
  const expected = servingTensors(config, weights);
  const measurements = weights === 'int8' ? calibration : undefined;
  const { packing = 'plain' } = options;
  const rowCount = measurements ? rowTensors(config, packing).length : 0;
  await using handle = await open(path.join(folder, WEIGHTS_FILE), 'w');
  const writer = new TensorWriter(handle, expected.length + rowCount, options);
  for await (const [tensor, bytes] of generateTensors(artifact, weights))
    await writer.write(tensor, bytes);
  assert(writer.written.length === expected.length, 'a serving tensor was left out');
  const writeLayout = (rowForm: PerTokenLayout | null) => {
    const layout: ServingLayout = {
      version: LAYOUT_VERSION,
      baseDigest: artifact.info.digest,
      weights,
      config: artifact.configJson,
      rowForm,
      tensors: writer.written,
    };
    return writeFile(path.join(folder, LAYOUT_FILE), JSON.stringify(layout));
  };
  await writeLayout(null);
  const maxima = await measurements?.measureInputs(folder);
  if (measurements && maxima) {
    for (const [tensor, bytes] of generateRowTensors(artifact, maxima, packing))
      await writer.write(tensor, bytes);
    const rowForm = { packing, calibration: hash('sha256', concat(maxima.map(asBytes)), 'hex') };
    await writeLayout({ ...rowForm, perBlockLinears: [] });
    const errors = await measurements.measureErrors(folder);
    const perBlockLinears = namesOfLinears(config).filter((_, i) => !(errors[i]! <= MAX_ROW_ERROR));
    await writeLayout({ ...rowForm, perBlockLinears });
    if (perBlockLinears.length > 0) onImprecise?.(perBlockLinears);
  }
  await handle.sync();
  return writer.digest();
}

/** Lists all fused linears, layer by layer. */
function namesOfLinears({ layerCount }: DecoderConfig): string[] {
  return Array.from({ length: layerCount }, (_, layer) =>
    FUSED_LINEAR_NAMES.map((fused) => linearName(layer, fused)),
  ).flat();
}

/** Appends aligned tensors to the weights file, and hashes the file. */
class TensorWriter {
  readonly written: (ServingTensor & { offset: number })[] = [];
  readonly #handle: FileHandle;
  readonly #total: number;
  readonly #options: Pick<ServingFilesOptions, 'onProgress' | 'signal'>;
  readonly #hash = createHash('sha256');
  /** The offset of the next tensor. */
  #offset = 0;
  /** The end of the last tensor. */
  #end = 0;

  constructor(handle: FileHandle, total: number, options: ServingFilesOptions) {
    this.#handle = handle;
    this.#total = total;
    this.#options = options;
  }

  async write(tensor: ServingTensor, bytes: Uint8Array): Promise<void> {
    this.#options.signal?.throwIfAborted();
    this.#hash.update(new Uint8Array(this.#offset - this.#end)).update(bytes);
    for (let done = 0; done < bytes.length; ) {
      // On a full disk, a write may store fewer bytes than requested.
      const length = Math.min(bytes.length - done, MAX_WRITE_BYTES);
      const { bytesWritten } = await this.#handle.write(bytes, done, length, this.#offset + done);
      done += bytesWritten;
    }
    this.written.push({ ...tensor, offset: this.#offset });
    this.#end = this.#offset + bytes.length;
    this.#offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#options.onProgress?.(this.written.length, this.#total);
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
      const linears = fusedTargets(config, fused).map((t) =>
        readLinear(artifact, moduleName(layer, t)),
      );
      yield* matrixBytes(fusedMatrix(config, mode, layer, fused), linears);
      const bias = fusedBias(config, layer, fused);
      if (bias)
        yield [
          bias,
          concat(fusedTargets(config, fused).map((t) => asBytes(dense(biasName(layer, t))))),
        ];
    }
  }
  for (const norm of normVectors(config)) yield [norm, asBytes(dense(norm.name))];
  if (!config.tiedEmbeddings) {
    yield* matrixBytes(headMatrix(config, mode), [tableWeights(artifact, headName)]);
  }
}

/** Reads the embedding or the output head as a dense matrix. */
function tableWeights({ tensors, config }: Artifact, name: string): LinearWeights {
  const { vocabSize: rows, hiddenSize: cols } = config;
  return { kind: 'dense', values: toFloat32(tensors.read(name)), rows, cols };
}

/** Yields the tensors of the per-token form in order. `maxima`: see `Calibration`. */
function* generateRowTensors(
  artifact: Artifact,
  maxima: readonly Float32Array[],
  packing: RowPacking,
): Generator<NamedBytes> {
  const { config } = artifact;
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const [i, fused] of FUSED_LINEAR_NAMES.entries()) {
      const { values, scales, factors, floatInputs } = rowMatrix(config, { layer, fused }, packing);
      const matrices = fusedTargets(config, fused).map((target) =>
        denseValues(readLinear(artifact, moduleName(layer, target))),
      );
      const inputMaxima = maxima[layer * FUSED_LINEAR_NAMES.length + i]!;
      const smoothed = smoothLinear(matrices, inputMaxima, floatInputs?.indices.dims[0] ?? 0);
      const rounded = quantizeRowInt8(smoothed.matrices, inputMaxima.length);
      const data =
        packing === 'packed' ? packRowInt8(rounded.data, inputMaxima.length) : rounded.data;
      for (const [i, part] of values.entries()) {
        const length = elementCount(part.dims);
        yield [part, data.subarray(i * length, (i + 1) * length)];
      }
      yield [scales, asBytes(rounded.scales)];
      yield [factors, asBytes(smoothed.factors)];
      if (!floatInputs) continue;
      yield [floatInputs.indices, asBytes(smoothed.floatInputs)];
      yield [floatInputs.values, asBytes(smoothed.floatValues)];
    }
  }
}

/** Yields the stacked linears, converted to the matrix's form. */
function* matrixBytes(matrix: ServingMatrix, linears: LinearWeights[]): Generator<NamedBytes> {
  const parts = linears.map((linear) => MATRIX_FORMS[matrix.form](linear));
  yield [matrix.values, concat(parts.map((part) => part.values))];
  if (matrix.scales) yield [matrix.scales, concat(parts.map((part) => part.scales!))];
  if (matrix.zeroPoints) yield [matrix.zeroPoints, concat(parts.map((part) => part.zeroPoints!))];
}

/** The bytes of a matrix in its serving form. */
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
    values: asBytes(denseValues(w)),
  }),
};

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
