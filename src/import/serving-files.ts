// Builds the serving files of an artifact: the weights in the form that the engine maps at start, and their layout. They are
// built once per base digest, weights mode and layout version.

import { createHash, hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { buildFolder } from '../common/folders.ts';
import { asBytes, toFloat32 } from '../common/tensor.ts';
import { WorkProgress } from '../common/work-progress.ts';
import { biasName, embeddingName, headName } from '../model/names.ts';
import type { ServingTensor } from '../model/row-weights.ts';
import {
  fusedLinear,
  headLinear,
  type RowLinear,
  recordsTensor,
  rowLinears,
  rowMatrix,
  rowTensors,
} from '../model/row-weights.ts';
import {
  type CalibratedForm,
  embeddingMatrix,
  fusedBias,
  fusedMatrix,
  headMatrix,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  normVectors,
  type ServingLayout,
  type ServingMatrix,
  servingTensorBytes,
  servingTensors,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import { FUSED_LINEAR_NAMES, fusedTargets, moduleName } from '../model/target-modules.ts';
import { quantizeInt4 } from '../quant/int4.ts';
import { quantizeNf4 } from '../quant/nf4.ts';
import { quantizeInt8Rows, repackInt8 } from '../quant/repack.ts';
import { quantizeRowInt8, type RowPacking } from '../quant/row-int8.ts';
import { quantizeRowLinear } from '../quant/row-linear.ts';
import type { LinearInputs } from '../quant/smoothing.ts';
import { type Artifact, denseValues, type LinearWeights, readLinear } from './artifact.ts';
import { isBuilt, recordChecksums, type ServingCache, servingFolder } from './serving-cache.ts';

/** The runtime expects weights aligned to cache lines. The mapping itself starts on a page. */
const ALIGNMENT = 64;
/** A single write call accepts at most 2^31-1 bytes. */
const MAX_WRITE_BYTES = 1 << 30;

/**
 * Runs a serving folder's model over a text. Returns the inputs of each linear, in the order of `rowLinears`.
 * @param onRead is called with the share of the text that was read
 */
export type Calibration = (
  servingDir: string,
  onRead: (share: number) => void,
) => Promise<readonly LinearInputs[]>;

/** Rounds values [outputs, inputs], whole records of each, to records [outputs / 16, inputs / 32, 320], see `RECORD`. */
type RoundToRecords = (values: Float32Array, inputs: number) => Promise<Uint8Array>;

/** Options of the functions that build serving files. */
interface ServingFilesOptions extends ServingCache {
  /** For `int8` on the CPU: makes the per-token form. Without it the weights have one scale per block. */
  calibration?: Calibration | undefined;
  /** For `int4` that is `packed`. */
  roundToRecords?: RoundToRecords | undefined;
  /** Called with the linears that need more float inputs than usual, by name, if there are any. */
  onImprecise?: (floats: Readonly<Record<string, number>>) => void;
  /** Called with the bytes of work that are done, and their total, which is the same in all calls. */
  onProgress?: (done: number, total: number) => void;
  /** Makes the build reject with an `AbortError` before the next tensor. */
  signal?: AbortSignal;
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
  const work = buildWork(artifact, options);
  const build = async (temporary: string) => {
    work.update('blocks', 0);
    const sha256 = await writeServingFiles(artifact, temporary, options, work);
    work.finish('blocks');
    work.finish('rows'); // alignment and float inputs differ from the plan
    await recordChecksums(temporary, sha256, options.signal);
    work.finish('check');
  };
  await buildFolder(servingFolder(digest, options), build, isBuilt);
}

/** The time that a byte takes in each part of a build, relative to the others. Measured on two cores with AVX512-VNNI. */
const BYTE_TIMES = { blocks: 8, calibration: 10, rows: 16, check: 1 };

/** Returns the work of a build. A base in int8 is written in blocks, observed in them, and written in rows. */
function buildWork(
  { config }: Artifact,
  options: ServingFilesOptions,
): WorkProgress<keyof typeof BYTE_TIMES> {
  const { weights, calibration, packing = 'plain', onProgress } = options;
  const isObserved = weights === 'int8' && calibration !== undefined;
  const bits = hasRecords(options) ? 4 : undefined;
  const blocks = bits ? 0 : tensorBytes(servingTensors(config, weights));
  const rows =
    bits || isObserved
      ? tensorBytes(servingTensors(config, weights, { packing, ...(bits && { bits }) }))
      : 0;
  const bytes = { blocks, calibration: isObserved ? blocks : 0, rows, check: rows || blocks };
  return new WorkProgress(bytes, BYTE_TIMES, onProgress);
}

/** Whether the weights are written as records of our own operator for int4. */
function hasRecords({ weights, packing }: ServingFilesOptions): boolean {
  return weights === 'int4' && packing === 'packed';
}

function tensorBytes(tensors: readonly ServingTensor[]): number {
  return tensors.reduce((sum, tensor) => sum + servingTensorBytes(tensor), 0);
}

/** Writes the weights and the layout to a folder. Returns the SHA-256 of the weights. */
async function writeServingFiles(
  artifact: Artifact,
  folder: string,
  options: ServingFilesOptions,
  work: WorkProgress<keyof typeof BYTE_TIMES>,
): Promise<string> {
  const { weights, calibration, packing = 'plain', roundToRecords, onImprecise } = options;
  const stage = (part: 'blocks' | 'rows') => ({
    ...options,
    onBytes: (done: number) => work.update(part, done),
  });
  if (hasRecords(options)) {
    assert(roundToRecords, 'packed int4 weights need the function that rounds them');
    const rows = { packing: 'packed', bits: 4, roundToRecords } as const;
    return writeFolder(artifact, folder, stage('rows'), rows);
  }
  if (weights !== 'int8' || !calibration) return writeFolder(artifact, folder, stage('blocks'));
  const { config } = artifact;
  const inBlocks = path.join(folder, 'blocks');
  await mkdir(inBlocks);
  await writeFolder(artifact, inBlocks, stage('blocks'));
  const observed = await calibration(inBlocks, (share) => work.updateShare('calibration', share));
  await rm(inBlocks, { recursive: true });
  const inputs = new Map(rowLinears(config).map(({ name }, i) => [name, observed[i]!]));
  const floats: Record<string, number> = {};
  const sha256 = await writeFolder(artifact, folder, stage('rows'), { packing, inputs, floats });
  if (Object.keys(floats).length > 0) onImprecise?.(floats);
  return sha256;
}

/** The options of one folder. `onBytes` is called with the bytes that are written. */
type FolderOptions = Pick<ServingFilesOptions, 'weights' | 'signal'> & {
  readonly onBytes: (done: number) => void;
};

/** Writes a folder in one form. Returns the SHA-256 of the weights. */
async function writeFolder(
  artifact: Artifact,
  folder: string,
  options: FolderOptions,
  rows?: RowSource,
): Promise<string> {
  const { weights } = options;
  const total = servingTensors(artifact.config, weights, rows).length;
  await using handle = await open(path.join(folder, WEIGHTS_FILE), 'w');
  const writer = new TensorWriter(handle, options);
  for await (const [tensor, bytes] of generateTensors(artifact, weights, rows))
    await writer.write(tensor, bytes);
  assert(writer.written.length === total, 'a serving tensor was left out');
  const layout: ServingLayout = {
    version: LAYOUT_VERSION,
    baseDigest: artifact.info.digest,
    weights,
    config: artifact.configJson,
    rowForm: rows ? calibratedForm(rows) : null,
    tensors: writer.written,
  };
  await writeFile(path.join(folder, LAYOUT_FILE), JSON.stringify(layout));
  return writer.digest();
}

/** The source of a per-token form in 8 bits. */
interface CalibratedSource {
  readonly packing: RowPacking;
  readonly bits?: never;
  /** By the linears' names. */
  readonly inputs: ReadonlyMap<string, LinearInputs>;
  /** The linears that needed more float inputs than usual. Filled while the tensors are generated. */
  readonly floats: Record<string, number>;
}

/** The source of a per-token form in 4 bits. */
interface RecordSource {
  readonly packing: 'packed';
  readonly bits: 4;
  readonly roundToRecords: RoundToRecords;
}

type RowSource = CalibratedSource | RecordSource;

function calibratedForm(rows: RowSource): CalibratedForm {
  if (rows.bits) return { packing: rows.packing, bits: rows.bits };
  const { packing, inputs, floats } = rows;
  const maxima = Array.from(inputs.values(), (one) => asBytes(one.maxima));
  return { packing, floats, calibration: hash('sha256', concat(maxima), 'hex') };
}

/** Appends aligned tensors to the weights file, and hashes the file. */
class TensorWriter {
  readonly written: (ServingTensor & { offset: number })[] = [];
  readonly #handle: FileHandle;
  readonly #options: Pick<FolderOptions, 'onBytes' | 'signal'>;
  readonly #hash = createHash('sha256');
  /** The offset of the next tensor. */
  #offset = 0;
  /** The end of the last tensor. */
  #end = 0;

  constructor(handle: FileHandle, options: Pick<FolderOptions, 'onBytes' | 'signal'>) {
    this.#handle = handle;
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
    this.#options.onBytes(this.#end);
  }

  /** Returns the SHA-256 of the file, hex. Nothing can be written afterwards. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

type NamedBytes = [ServingTensor, Uint8Array];

/** Yields all tensors of the weights file in order, with one matrix in memory at a time. */
async function* generateTensors(
  artifact: Artifact,
  mode: WeightsMode,
  rows: RowSource | undefined,
): AsyncGenerator<NamedBytes> {
  const { config, tensors } = artifact;
  const dense = (name: string) => toFloat32(tensors.read(name));
  yield* matrixBytes(embeddingMatrix(config, mode), [tableWeights(artifact, embeddingName)]);
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      const read = () =>
        fusedTargets(config, fused).map((t) => readLinear(artifact, moduleName(layer, t)));
      if (rows) yield* rowTensorsOf(fusedLinear(config, layer, fused), read, rows);
      else yield* matrixBytes(fusedMatrix(config, mode, layer, fused), read());
      const bias = fusedBias(config, layer, fused);
      if (bias)
        yield [
          bias,
          concat(fusedTargets(config, fused).map((t) => asBytes(dense(biasName(layer, t))))),
        ];
    }
  }
  for (const norm of normVectors(config)) yield [norm, asBytes(dense(norm.name))];
  const readHead = () => [tableWeights(artifact, config.tiedEmbeddings ? embeddingName : headName)];
  if (rows) yield* rowTensorsOf(headLinear(config), readHead, rows);
  else if (!config.tiedEmbeddings) yield* matrixBytes(headMatrix(config, mode), readHead());
}

/** Reads the embedding or the output head as a dense matrix. */
function tableWeights({ tensors, config }: Artifact, name: string): LinearWeights {
  const { vocabSize: rows, hiddenSize: cols } = config;
  return { kind: 'dense', values: toFloat32(tensors.read(name)), rows, cols };
}

/** Yields the tensors of a linear in per-token form. */
async function* rowTensorsOf(
  linear: RowLinear,
  read: () => LinearWeights[],
  rows: RowSource,
): AsyncGenerator<NamedBytes> {
  if (!rows.bits) return yield* calibratedBytes(linear, read, rows);
  const records = recordsTensor(linear, rows);
  if (records) {
    const parts = read().map((w) => rows.roundToRecords(denseValues(w), linear.inputs));
    return yield [records, concat(await Promise.all(parts))];
  }
  const { data, scales } = quantizeRowInt8(read().map(denseValues), linear.inputs, rows.packing);
  const factors = new Float32Array(linear.inputs).fill(1);
  const bytes = [data, asBytes(scales), asBytes(factors)];
  for (const [i, tensor] of rowTensors(linear, rows).entries()) yield [tensor, bytes[i]!];
}

/** Yields the tensors of a linear in 8 bits, smoothed for the inputs that were observed. */
function* calibratedBytes(
  linear: RowLinear,
  read: () => LinearWeights[],
  { packing, inputs, floats }: CalibratedSource,
): Generator<NamedBytes> {
  const { values, groups, floatInputs } = rowMatrix(linear, { packing });
  const floatCount = floatInputs.dims[0]!;
  const usual = { floats: floatCount, groups, packing };
  const read32 = () => read().map(denseValues);
  const rounded = quantizeRowLinear(read32, inputs.get(linear.name)!, usual);
  const { length } = rounded.floatInputs;
  if (length > floatCount) floats[linear.name] = length;
  const tensors = rowTensors(linear, { packing, floats });
  const { data, scales, factors, floatValues } = rounded;
  const size = data.length / values.length;
  const bytes = [
    ...values.map((_, i) => data.subarray(i * size, (i + 1) * size)),
    ...[scales, factors, rounded.floatInputs, floatValues].map(asBytes),
  ];
  for (const [i, tensor] of tensors.entries()) yield [tensor, bytes[i]!];
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
    const { data, scales, zeroPoints } = quantizeInt4(denseValues(w), w.rows, w.cols);
    return { values: data, scales: asBytes(scales), zeroPoints };
  },
  nf4: (w) => {
    const { packed, absmax } = w.kind === 'nf4' ? w : quantizeNf4(w.values);
    return { values: packed, scales: asBytes(absmax) };
  },
  f32: (w) => ({ values: asBytes(denseValues(w)) }),
};

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
