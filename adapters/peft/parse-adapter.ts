// Parses a PEFT adapter's two files, given in memory, into weights in the engine's layout. An adapter with a missing or
// unexpected tensor is refused, and the error names the tensor.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServeError } from '../../src/common/errors.ts';
import { DTYPE_BYTES, decodeFloats, elementCount, type Tensor } from '../../src/common/tensor.ts';
import { normVector, type VectorName } from '../../src/model/adapter-vectors.ts';
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
import type {
  OwnVocabulary,
  TableChange,
  VocabularyTable,
} from '../../src/model/vocabulary-changes.ts';
import type { AdapterFiles } from './files.ts';
import { otherChanges } from './kinds.ts';
import type { AdaptedBase } from './outputs.ts';
import { type Classifier, OutputReader, type OutputSource, readClassifier } from './outputs.ts';
import { parsePairs, withPairRanks } from './pairs.ts';
import type { AdapterConfig } from './peft-config.ts';
import { parseAdapterConfig } from './peft-config.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
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
import {
  type AdapterWeights,
  blockAllocator,
  ChangeSums,
  createPair,
  emptyLayers,
  type LoraPair,
  type PairShape,
  toWeights,
} from './weights.ts';

/** Reasons why an adapter cannot be served, by tensor name. The first match applies. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/\.lora_magnitude_vector/, 'adapter_config.json does not say use_dora'],
  [/\.(qkv_proj|gate_up_proj|c_attn|query_key_value)\./, 'fused projections are not supported'],
  [/\.lora_B\.bias$/, 'adapter_config.json does not say lora_bias'],
  [/\.bias$/, 'adapter_config.json does not name this bias, or the base has none'],
  [/\.token_adapter\./, 'adapter_config.json does not say trainable_token_indices'],
];

/** The destination of a pair of factors: A goes to the columns of [in, R] from `column` on, B to the same rows of [R, out]. */
export interface PairSlice {
  readonly pair: LoraPair;
  readonly column: number;
}

/** Receives an adapter's weights and provides their memory. */
export interface AdapterSink {
  /** Multiplies the adapter's update. */
  readonly weight: number;
  /** Called once with the total number of values, before any memory is requested. */
  begin?(valueCount: number): void;
  /** Returns the memory for one module. Called once, before its values are read. */
  allocate(layer: number, target: TargetName, shape: PairShape): PairSlice;
  /** Adds values to one of the model's vectors. `weight` does not apply. */
  addVector(name: VectorName, values: Float32Array): void;
  /** Adds a change of a vocabulary table. `weight` does not apply. */
  addTable(table: VocabularyTable, change: TableChange): void;
  /** Gives the adapter a vocabulary that differs from the base's. May throw `ServeError`. */
  setVocabulary(own: OwnVocabulary): void;
  /** Makes it an adapter that applies only from its invocation on. May throw `ServeError`. */
  activate(invocation: readonly number[]): void;
  /** Makes the adapter a classifier. May throw `ServeError`. */
  classify(classifier: Classifier): void;
}

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
  const layers = emptyLayers(model);
  const changes = new ChangeSums();
  let allocateValues: ReturnType<typeof blockAllocator> | undefined;
  const sink: AdapterSink = {
    weight: 1,
    begin(valueCount) {
      allocateValues = blockAllocator(valueCount);
    },
    allocate(layer, target, shape) {
      const pair = createPair(shape, allocateValues);
      layers[layer]![target] = pair;
      return { pair, column: 0 };
    },
    addVector: (name, values) => changes.addVector(name, values, 1),
    addTable: (table, change) => changes.addTable(table, change, 1),
    setVocabulary: (own) => {
      changes.vocabulary.own = own;
    },
    activate: (invocation) => {
      changes.invocation = invocation;
    },
    classify: (classifier) => {
      changes.classifier = classifier;
    },
  };
  await readAdapterInto(bytes, sink, { model, base });
  return toWeights(bytes.digest, layers, changes);
}

/** The model for which an adapter is read. */
export interface AdaptedModel {
  readonly model: DecoderConfig;
  readonly base: AdaptedBase | undefined;
}

/** Parses like `parseAdapter`, into memory from the sink. After an error the content of that memory is undefined. */
export async function readAdapterInto(
  bytes: AdapterFiles,
  sink: AdapterSink,
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
  const { changes, own } = await readVocabulary({
    tensors,
    config,
    model,
    base,
    weight: sink.weight,
  });
  const { invocation } = config;
  const field = otherChanges(config) ?? (own && RESIZED);
  const other = field ?? (config.classifies ? 'task_type' : undefined);
  if (invocation && other) throw invalidAdapter(INVOCATION, `cannot be combined with ${other}`);
  if (invocation) sink.activate(invocation);
  const classifier = readClassifier({ tensors, config, model });
  if (classifier) sink.classify(classifier);
  if (!base && (field || invocation))
    throw invalidAdapter(
      field ?? INVOCATION,
      'such an adapter can be served, but not trained, merged or evaluated',
    );
  if (targeted.size === 0 && changes.length === 0 && !own)
    throw invalidAdapter('target_modules', 'matches no module of the model');
  for (const [table, change] of changes) sink.addTable(table, change);
  if (own) sink.setVocabulary(own);
  for (const weight of normVectors(model)) {
    if (!base || !config.isSaved(moduleOf(weight.name))) continue;
    const values = expectValues(tensors, tensorName(moduleOf(weight.name), 'whole'), weight.dims);
    const own = await base.vector(weight.name);
    sink.addVector(
      normVector(weight.name),
      values.map((value, i) => value - own[i]!),
    );
  }
  sink.begin?.([...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0));
  const outputs = new OutputReader({ tensors, config, model, base });
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const target of targetNames(model)) {
      const module = moduleName(layer, target);
      const slice = targeted.has(module)
        ? await readModuleInto(layer, target, { tensors, config, model, sink })
        : undefined;
      for (const [name, values] of await outputs.read(layer, target, slice))
        sink.addVector(name, values);
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
    throw refusedTensor(key, 'is not expected');
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
  const found = new Map<string, readonly ModuleTensor[]>();
  for (const [layer, target] of linearsOf(model)) {
    const biases: ModuleTensor[] = hasBias(model, target) ? ['bias', 'adaptedBias'] : [];
    found.set(moduleName(layer, target), [...LINEAR_TENSORS, ...biases]);
  }
  for (const { name } of normVectors(model)) found.set(moduleOf(name), ['whole']);
  for (const name of CLASSIFIER_NAMES) found.set(name, ['whole']);
  found.set(EMBEDDING, ['embeddingA', 'embeddingB', ...TABLE_TENSORS]);
  found.set(HEAD, ['a', 'b', ...TABLE_TENSORS]);
  return found;
}

function refusedTensor(key: string, otherwise: string): ServeError {
  const reason = REASONS.find(([pattern]) => pattern.test(key))?.[1];
  return invalidAdapter(key, reason ?? otherwise);
}

interface ModuleSource extends Omit<OutputSource, 'base'> {
  readonly sink: AdapterSink;
}

async function readModuleInto(
  layer: number,
  target: TargetName,
  { tensors, config, model, sink }: ModuleSource,
): Promise<PairSlice> {
  const module = moduleName(layer, target);
  const { rank, scaling } = config.settingOf(module);
  const inSize = TARGET_MODULES[target].inFeatures(model);
  const outSize = TARGET_MODULES[target].outFeatures(model);
  const keys = { a: tensorName(module, 'a'), b: tensorName(module, 'b') };
  const tensorA = expectTensor(tensors, keys.a, [rank, inSize]);
  const tensorB = expectTensor(tensors, keys.b, [outSize, rank]);
  const { pair, column } = sink.allocate(layer, target, { rank, inSize, outSize });
  const a = { into: pair.a, start: column, stride: pair.rank, scaling: 1, weight: 1 }; // [r, in] -> [in, R]
  await transpose(keys.a, tensorA, a);
  const b = { into: pair.b, start: column * outSize, stride: outSize }; // [out, r] -> [R, out]
  await transpose(keys.b, tensorB, { ...b, scaling, weight: sink.weight });
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
