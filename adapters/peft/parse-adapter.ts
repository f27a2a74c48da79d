// Parses a PEFT adapter's two files, given in memory, into weights in the engine's layout. An adapter with a missing or
// unexpected tensor is refused, and the error names the tensor.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServeError } from '../../src/common/errors.ts';
import { DTYPE_BYTES, decodeFloats, elementCount, type Tensor } from '../../src/common/tensor.ts';
import { normVector } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { hasBias } from '../../src/model/names.ts';
import { normVectors } from '../../src/model/serving-weights.ts';
import {
  linearsOf,
  moduleName,
  TARGET_MODULES,
  type TargetName,
  targetNames,
} from '../../src/model/target-modules.ts';
import type { AdapterFiles } from './files.ts';
import { otherChanges } from './kinds.ts';
import type { AdaptedBase } from './outputs.ts';
import { OutputReader, type OutputSource, readClassifier } from './outputs.ts';
import { parsePairs, withPairRanks } from './pairs.ts';
import { parseAdapterConfig } from './peft-config.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
import type { AdapterConfig } from './tensor-names.ts';
import {
  CLASSIFIER_NAMES,
  EMBEDDING,
  HEAD,
  type ModuleTensor,
  moduleOf,
  presenceOf,
  splitTensorName,
  tensorName,
} from './tensor-names.ts';
import { expectTensor, expectValues } from './tensors.ts';
import { readVocabulary } from './vocabulary.ts';
import { AdapterSum, type AdapterWeights, type PairSlice } from './weights.ts';

/** Reasons why an adapter cannot be served, by tensor name. The first match applies. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/\.lora_magnitude_vector/, 'adapter_config.json does not say use_dora'],
  [/\.(qkv_proj|gate_up_proj|c_attn|query_key_value)\./, 'fused projections are not supported'],
  [/\.lora_B\.bias$/, 'adapter_config.json does not say lora_bias'],
  [/\.bias$/, 'adapter_config.json does not name this bias, or the base has none'],
  [/\.token_adapter\./, 'adapter_config.json does not say trainable_token_indices'],
];

const INVOCATION = 'alora_invocation_tokens';
const RESIZED = 'a resized vocabulary';

/** Elements transposed between two turns of the event loop, in about a millisecond. */
const PIECE_ELEMENTS = 2 ** 17;

/**
 * Parses and checks an adapter for one model, yielding to the event loop regularly. Without the base's weights, only updates of
 * linears and a classification head are accepted. Throws `ServeError` (`adapter_invalid` or `adapter_non_finite`) with the
 * field or tensor at fault as `param`.
 */
export async function parseAdapter(
  bytes: AdapterFiles,
  model: DecoderConfig,
  base?: AdaptedBase,
): Promise<AdapterWeights> {
  const sum = new AdapterSum(model);
  await readAdapterInto(bytes, { sum, weight: 1 }, { model, base });
  return sum.weights(bytes.digest);
}

/** The model for which an adapter is read. */
export interface AdaptedModel {
  readonly model: DecoderConfig;
  readonly base: AdaptedBase | undefined;
}

/** A term of a sum. Its update is multiplied by the weight. */
interface AdapterTerm {
  readonly sum: AdapterSum;
  readonly weight: number;
}

/** Parses like `parseAdapter`, into a sum. After an error the content of the sum is undefined. */
export async function readAdapterInto(
  bytes: AdapterFiles,
  { sum, weight }: AdapterTerm,
  { model, base }: AdaptedModel,
): Promise<void> {
  const modules = [...allModules(model), EMBEDDING, HEAD, ...CLASSIFIER_NAMES];
  const parsed = await parseAdapterConfig(bytes.configBytes, modules);
  const pairs = parsePairs(bytes.weightsBytes);
  const { tensors } = pairs;
  const tiesWeights = parsed.tiesWeights && model.tiedEmbeddings;
  const config = withPairRanks({ ...parsed, tiesWeights }, pairs);
  const targeted = targetedModules(config, model);
  refuseUnusedTensors(tensors, config, model);
  const source = { tensors, config, model, base };
  const { changes, own } = await readVocabulary({ ...source, weight });
  const { invocation } = config;
  const field = otherChanges(config) ?? (own && RESIZED);
  const other = field ?? (config.classifies ? 'task_type' : undefined);
  if (invocation && other) throw invalidAdapter(INVOCATION, `cannot be combined with ${other}`);
  if (invocation) sum.activate(invocation);
  const classifier = readClassifier(source);
  if (classifier) sum.classify(classifier);
  if (!base && (field || invocation))
    throw invalidAdapter(
      field ?? INVOCATION,
      'such an adapter can be served, but not trained, merged or evaluated',
    );
  if (targeted.size === 0 && changes.length === 0 && !own)
    throw invalidAdapter('target_modules', 'matches no module of the model');
  for (const [table, change] of changes) sum.addTable(table, change, weight);
  if (own) sum.setVocabulary(own);
  for (const { name, dims } of normVectors(model)) {
    if (!base || !config.isSaved(moduleOf(name))) continue;
    const values = expectValues(tensors, tensorName(moduleOf(name), 'whole'), dims);
    const before = await base.vector(name);
    const change = values.map((value, i) => value - before[i]!);
    sum.addVector(normVector(name), change, weight);
  }
  sum.begin([...tensors.values()].reduce((count, { shape }) => count + elementCount(shape), 0));
  const outputs = new OutputReader(source);
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const target of targetNames(model)) {
      const module = moduleName(layer, target);
      const slice = targeted.has(module)
        ? await readModuleInto(layer, target, { tensors, config, model, sum, weight })
        : undefined;
      for (const [name, values] of await outputs.read(layer, target, slice))
        sum.addVector(name, values, weight);
    }
    await nextTurn();
  }
}

function allModules(model: DecoderConfig): string[] {
  return linearsOf(model).map(([layer, target]) => moduleName(layer, target));
}

function targetedModules(config: AdapterConfig, model: DecoderConfig): Set<string> {
  return new Set(allModules(model).filter((module) => config.isTargeted(module)));
}

function refuseUnusedTensors(
  tensors: ReadonlyMap<string, Tensor>,
  config: AdapterConfig,
  model: DecoderConfig,
): void {
  const tensorsOf = tensorsByModule(model);
  for (const key of tensors.keys()) {
    const { module, tensor } = splitTensorName(key) ?? {};
    const possible = tensorsOf.get(module ?? '');
    if (!module || !tensor || !possible)
      throw refusedTensor(key, 'belongs to no module of the model');
    if (possible.includes(tensor) && presenceOf(tensor, module, config)) continue;
    if (tensor !== 'bias' && tensor !== 'whole' && !config.isTargeted(module))
      throw invalidAdapter(key, 'adapter_config.json does not target this module');
    throw refusedTensor(key, 'does not follow from the fields of adapter_config.json');
  }
}

const TABLE_TENSORS: readonly ModuleTensor[] = [
  'copy',
  'tokens',
  'tokensCopy',
  'whole',
  'original',
  'wholeAgain',
];
const LINEAR_TENSORS: readonly ModuleTensor[] = ['a', 'b', 'magnitude', 'updateBias'];

/** Lists the expected tensors of each module of the model. */
function tensorsByModule(model: DecoderConfig): Map<string, readonly ModuleTensor[]> {
  const byModule = new Map<string, readonly ModuleTensor[]>();
  for (const [layer, target] of linearsOf(model)) {
    const biases: ModuleTensor[] = hasBias(model, target) ? ['bias', 'adaptedBias'] : [];
    byModule.set(moduleName(layer, target), [...LINEAR_TENSORS, ...biases]);
  }
  for (const { name } of normVectors(model)) byModule.set(moduleOf(name), ['whole']);
  for (const name of CLASSIFIER_NAMES) byModule.set(name, ['whole']);
  byModule.set(EMBEDDING, ['embeddingA', 'embeddingB', ...TABLE_TENSORS]);
  byModule.set(HEAD, ['a', 'b', ...TABLE_TENSORS]);
  return byModule;
}

function refusedTensor(key: string, otherwise: string): ServeError {
  const reason = REASONS.find(([pattern]) => pattern.test(key))?.[1];
  return invalidAdapter(key, reason ?? otherwise);
}

async function readModuleInto(
  layer: number,
  target: TargetName,
  { tensors, config, model, sum, weight }: Omit<OutputSource, 'base'> & AdapterTerm,
): Promise<PairSlice> {
  const module = moduleName(layer, target);
  const { rank, scaling } = config.settingOf(module);
  const inSize = TARGET_MODULES[target].inFeatures(model);
  const outSize = TARGET_MODULES[target].outFeatures(model);
  const keys = { a: tensorName(module, 'a'), b: tensorName(module, 'b') };
  const tensorA = expectTensor(tensors, keys.a, [rank, inSize]);
  const tensorB = expectTensor(tensors, keys.b, [outSize, rank]);
  const { pair, column } = sum.allocate(layer, target, { rank, inSize, outSize });
  const a = { into: pair.a, start: column, stride: pair.rank, scaling: 1, weight: 1 }; // [r, in] -> [in, R]
  await transpose(keys.a, tensorA, a);
  const b = { into: pair.b, start: column * outSize, stride: outSize }; // [out, r] -> [R, out]
  await transpose(keys.b, tensorB, { ...b, scaling, weight });
  return { pair, column };
}

interface TransposeTo {
  readonly into: Float32Array;
  /** The index of element [0, 0]. */
  readonly start: number;
  /** The distance between two columns. */
  readonly stride: number;
  readonly scaling: number;
  readonly weight: number;
}

/**
 * Writes [rows, columns] as [columns, rows]. Values are scaled and checked in float32, as the engine sees them, then multiplied
 * by the weight.
 */
async function transpose(
  key: string,
  { dtype, shape, data }: Tensor,
  { start, ...to }: TransposeTo,
): Promise<void> {
  const [rows, columns] = shape as [number, number];
  const rowBytes = columns * DTYPE_BYTES[dtype];
  const pieceRows = Math.max(1, Math.floor(PIECE_ELEMENTS / columns));
  for (let first = 0; first < rows; first += pieceRows) {
    const count = Math.min(pieceRows, rows - first);
    const piece = data.subarray(first * rowBytes, (first + count) * rowBytes);
    const fault = transposePiece(
      { dtype, shape: [count, columns], data: piece },
      { ...to, start: start + first },
    );
    if (fault !== undefined) throw nonFinite(key, fault);
    if (count === pieceRows) await nextTurn();
  }
}

/** The decoded values of one piece. Allocating this for each piece would take as long as decoding. */
let decoded = new Float32Array(PIECE_ELEMENTS);

/** Transposes rows in one turn of the event loop. Returns the first value that is NaN or too large. */
function transposePiece(
  tensor: Tensor,
  { into, start, stride, scaling, weight }: TransposeTo,
): number | undefined {
  const [rows, columns] = tensor.shape as [number, number];
  if (rows * columns > decoded.length) decoded = new Float32Array(rows * columns);
  decodeFloats(tensor, decoded);
  const values = decoded;
  for (let column = 0; column < columns; column++) {
    const to = start + column * stride;
    for (let row = 0, from = column; row < rows; row++, from += columns) {
      const value = Math.fround(values[from]! * scaling);
      if (!(Math.abs(value) <= MAX_WEIGHT)) return value; // NaN fails too
      into[to + row] = value * weight;
    }
  }
  return undefined;
}
