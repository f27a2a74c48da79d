// A PEFT adapter's two files → weights in the engine's layout. Every tensor of the file is used and every targeted
// module has both of its tensors, or the adapter is refused by name. It opens no files and knows no names of adapters.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FileError, ServeError } from '../../src/common/errors.ts';
import { DTYPE_BYTES, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import {
  moduleName,
  TARGET_MODULES,
  TARGET_NAMES,
  type TargetName,
} from '../../src/model/target-modules.ts';
import { type AdapterConfig, parseAdapterConfig } from './peft-config.ts';
import { invalidAdapter } from './refusal.ts';
import type { AdapterWeights, LoraPair } from './weights.ts';

export interface AdapterBytes {
  /** Of `adapter_config.json`. */
  readonly configBytes: Uint8Array;
  /** Of `adapter_model.safetensors`. */
  readonly weightsBytes: Uint8Array;
  /** Of both, as `digest.ts` defines it. */
  readonly digest: string;
}

/** Trained weights stay below 10; above this an activation may overflow, and the adapter is broken anyway. */
export const MAX_WEIGHT = 1e3;

/** Modules that peft can adapt and this build cannot. */
const UNSUPPORTED_MODULES = ['lm_head', 'model.embed_tokens'];

/** What a tensor's name says about an adapter that cannot be served: the first that fits is the reason given. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/\.lora_magnitude_vector/, 'DoRA is not supported'],
  [/\.(lora_embedding_[AB]|embed_tokens)\b/, 'adapted embeddings are not supported'],
  [/\blm_head\b/, 'an adapted output head is not supported'],
  [/\.(qkv_proj|gate_up_proj|c_attn|query_key_value)\./, 'fused projections are not supported'],
  [/\.(bias|lora_B\.bias)$/, 'biases are not supported'],
  [/\.token_adapter\./, 'trainable tokens are not supported'],
];

/** Where a module's factors are written: A to columns of [in, R] from `column` on, B to rows of [R, out]. */
export interface PairPlace {
  readonly pair: LoraPair;
  readonly column: number;
}

export interface PlacedAdapter {
  /** Multiplies the adapter's update. */
  readonly weight: number;
  /** Called once for each module, before its values are read. */
  place(layer: number, target: TargetName, shape: PairShape): PairPlace;
}

/** A is [inSize, rank], B [rank, outSize]. */
export interface PairShape {
  readonly rank: number;
  readonly inSize: number;
  readonly outSize: number;
}

/** Elements that are transposed between two turns of the event loop: about a millisecond. */
const PIECE_ELEMENTS = 2 ** 17;

/**
 * Parses and checks an adapter for one model, in pieces between which the event loop turns.
 * Throws `ServeError`: `adapter_invalid` or `adapter_non_finite`, the field or tensor at fault as `param`.
 */
export async function parseAdapter(
  bytes: AdapterBytes,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const layers = emptyLayers(model);
  await placeAdapter(bytes, model, {
    weight: 1,
    place(layer, target, shape) {
      const pair = createPair(shape);
      layers[layer]![target] = pair;
      return { pair, column: 0 };
    },
  });
  return toWeights(bytes.digest, layers);
}

/** The same, to places that the caller chooses. What was written before an error is of no use. */
export async function placeAdapter(
  bytes: AdapterBytes,
  model: DecoderConfig,
  placed: PlacedAdapter,
): Promise<void> {
  const modules = [...allModules(model), ...UNSUPPORTED_MODULES];
  const config = await parseAdapterConfig(bytes.configBytes, modules);
  const tensors = parseTensors(bytes.weightsBytes);
  const targeted = targetedModules(config, model);
  refuseUnusedTensors(tensors, targeted, model);
  for (const module of UNSUPPORTED_MODULES) {
    if (config.isTargeted(module)) throw invalidAdapter(module, 'cannot be adapted by this build');
  }
  if (targeted.size === 0) throw invalidAdapter('target_modules', 'no module of the model matches');
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const target of TARGET_NAMES) {
      if (!targeted.has(moduleName(layer, target))) continue;
      await placeModule(layer, target, { tensors, config, model, placed });
    }
    await nextTurn();
  }
}

export type MutableLayers = Partial<Record<TargetName, LoraPair>>[];

export function emptyLayers({ layerCount }: DecoderConfig): MutableLayers {
  return Array.from({ length: layerCount }, () => ({}));
}

/** Zeros of that shape. */
export function createPair({ rank, inSize, outSize }: PairShape): LoraPair {
  return { rank, a: new Float32Array(inSize * rank), b: new Float32Array(rank * outSize) };
}

/** An adapter of these layers, at least one of which has a pair. */
export function toWeights(digest: string, layers: AdapterWeights['layers']): AdapterWeights {
  const pairs = layers.flatMap((layer) => Object.values(layer));
  return {
    digest,
    rank: Math.max(...pairs.map((pair) => pair.rank)),
    targets: TARGET_NAMES.filter((target) => layers.some((layer) => layer[target])),
    layers,
    byteSize: pairs.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0),
  };
}

function parseTensors(bytes: Uint8Array): Map<string, Tensor> {
  try {
    return parseSafetensors(bytes, ADAPTER_LIMITS).tensors;
  } catch (error) {
    if (error instanceof FileError) {
      const message = `adapter refused: ${error.message}`;
      throw new ServeError('adapter_invalid', message, { param: error.field, cause: error });
    }
    throw error;
  }
}

function allModules(model: DecoderConfig): string[] {
  const layers = Array.from({ length: model.layerCount }, (_, layer) => layer);
  return layers.flatMap((layer) => TARGET_NAMES.map((target) => moduleName(layer, target)));
}

function targetedModules(config: AdapterConfig, model: DecoderConfig): Set<string> {
  return new Set(allModules(model).filter((module) => config.isTargeted(module)));
}

function refuseUnusedTensors(
  tensors: ReadonlyMap<string, Tensor>,
  targeted: ReadonlySet<string>,
  model: DecoderConfig,
): void {
  const moduleOfKey = new Map<string, string>();
  for (const module of allModules(model)) {
    const { a, b } = loraNames(module);
    moduleOfKey.set(a, module).set(b, module);
  }
  for (const key of tensors.keys()) {
    const module = moduleOfKey.get(key);
    if (module === undefined) {
      const reason = REASONS.find(([pattern]) => pattern.test(key))?.[1];
      throw invalidAdapter(key, reason ?? 'belongs to no linear of the model');
    }
    if (!targeted.has(module)) {
      throw invalidAdapter(key, 'adapter_config.json does not target this module');
    }
  }
}

interface ModuleSource {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly config: AdapterConfig;
  readonly model: DecoderConfig;
  readonly placed: PlacedAdapter;
}

async function placeModule(
  layer: number,
  target: TargetName,
  { tensors, config, model, placed }: ModuleSource,
): Promise<void> {
  const module = moduleName(layer, target);
  const { rank, scaling } = config.settingOf(module);
  const inSize = TARGET_MODULES[target].inFeatures(model);
  const outSize = TARGET_MODULES[target].outFeatures(model);
  const keys = loraNames(module);
  const tensorA = expectTensor(tensors, keys.a, [rank, inSize]);
  const tensorB = expectTensor(tensors, keys.b, [outSize, rank]);
  const { pair, column } = placed.place(layer, target, { rank, inSize, outSize });
  const a = { into: pair.a, start: column, stride: pair.rank, scaling: 1, weight: 1 }; // [r, in] -> [in, R]
  await transpose(keys.a, tensorA, a);
  const b = { into: pair.b, start: column * outSize, stride: outSize }; // [out, r] -> [R, out]
  await transpose(keys.b, tensorB, { ...b, scaling, weight: placed.weight });
}

function expectTensor(
  tensors: ReadonlyMap<string, Tensor>,
  key: string,
  shape: readonly [number, number],
): Tensor {
  const tensor = tensors.get(key);
  if (!tensor) throw invalidAdapter(key, 'is missing');
  const [rows, columns] = tensor.shape;
  if (tensor.shape.length === 2 && rows === shape[0] && columns === shape[1]) return tensor;
  throw invalidAdapter(key, `shape [${tensor.shape}], expected [${shape}]`);
}

interface TransposeTo {
  readonly into: Float32Array;
  /** Where element [0, 0] goes. */
  readonly start: number;
  /** From a column's element to the next column's. */
  readonly stride: number;
  readonly scaling: number;
  readonly weight: number;
}

/** [rows, columns] -> [columns, rows] times the scaling, in float32, checked as the engine will see it; then weighted. */
async function transpose(
  key: string,
  { dtype, shape, data }: Tensor,
  { into, start, stride, scaling, weight }: TransposeTo,
): Promise<void> {
  const [rows, columns] = shape as [number, number];
  const rowBytes = columns * DTYPE_BYTES[dtype];
  const rowsOfPiece = Math.max(1, Math.floor(PIECE_ELEMENTS / columns));
  for (let first = 0; first < rows; first += rowsOfPiece) {
    const count = Math.min(rowsOfPiece, rows - first);
    const piece = data.subarray(first * rowBytes, (first + count) * rowBytes);
    const values = toFloat32({ dtype, shape: [count, columns], data: piece });
    for (let column = 0; column < columns; column++) {
      const to = start + column * stride + first;
      for (let row = 0; row < count; row++) {
        const value = Math.fround(values[row * columns + column]! * scaling);
        if (!(Math.abs(value) <= MAX_WEIGHT)) throw nonFinite(key, value); // NaN fails too
        into[to + row] = value * weight;
      }
    }
    if (count === rowsOfPiece) await nextTurn();
  }
}

/** The refusal of a weight that is not a number or over the limit. */
export function nonFinite(key: string, value: number): ServeError {
  const message = `adapter refused: ${key}: a weight of ${value} (limit ${MAX_WEIGHT}, scaling included)`;
  return new ServeError('adapter_non_finite', message, { param: key });
}
