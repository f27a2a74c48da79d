// A PEFT adapter's two files → weights in the engine's layout. Every tensor of the file is used and every targeted
// module has both of its tensors, or the adapter is refused by name. It opens no files and knows no names of adapters.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FileError, ServeError } from '../src/errors.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../src/formats/safetensors.ts';
import type { DecoderConfig } from '../src/model/config.ts';
import { loraNames } from '../src/model/names.ts';
import {
  moduleName,
  TARGET_MODULES,
  TARGET_NAMES,
  type TargetName,
} from '../src/model/target-modules.ts';
import { type Tensor, toFloat32 } from '../src/tensor.ts';
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

/**
 * Parses and checks an adapter for one model, yielding to the event loop after each layer.
 * Throws `ServeError`: `adapter_invalid` or `adapter_non_finite`, the field or tensor at fault as `param`.
 */
export async function parseAdapter(
  bytes: AdapterBytes,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const modules = [...allModules(model), ...UNSUPPORTED_MODULES];
  const config = await parseAdapterConfig(bytes.configBytes, modules);
  const tensors = parseTensors(bytes.weightsBytes);
  const targeted = targetedModules(config, model);
  refuseUnusedTensors(tensors, targeted, model);
  for (const module of UNSUPPORTED_MODULES) {
    if (config.isTargeted(module)) throw invalidAdapter(module, 'cannot be adapted by this build');
  }
  if (targeted.size === 0) throw invalidAdapter('target_modules', 'no module of the model matches');
  const layers: Partial<Record<TargetName, LoraPair>>[] = [];
  for (let layer = 0; layer < model.layerCount; layer++) {
    layers.push(parseLayer(layer, { tensors, targeted, config, model }));
    await nextTurn();
  }
  const pairs = layers.flatMap((layer) => Object.values(layer));
  return {
    digest: bytes.digest,
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

interface LayerSource {
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Module names. */
  readonly targeted: ReadonlySet<string>;
  readonly config: AdapterConfig;
  readonly model: DecoderConfig;
}

function parseLayer(
  layer: number,
  { tensors, targeted, config, model }: LayerSource,
): Partial<Record<TargetName, LoraPair>> {
  const pairs: Partial<Record<TargetName, LoraPair>> = {};
  for (const target of TARGET_NAMES) {
    const module = moduleName(layer, target);
    if (!targeted.has(module)) continue;
    const { rank, scaling } = config.settingOf(module);
    const inFeatures = TARGET_MODULES[target].inFeatures(model);
    const outFeatures = TARGET_MODULES[target].outFeatures(model);
    const read = (key: string, shape: readonly [number, number], scale: number) =>
      transpose(key, expectTensor(tensors, key, shape), scale);
    const keys = loraNames(module);
    const a = read(keys.a, [rank, inFeatures], 1); // [r, in] -> [in, r]
    const b = read(keys.b, [outFeatures, rank], scaling); // [out, r] -> [r, out]
    pairs[target] = { rank, a, b };
  }
  return pairs;
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

/** [rows, columns] -> [columns, rows] times `scale`, in float32; checked as the engine will see it. */
function transpose(key: string, tensor: Tensor, scale: number): Float32Array {
  const [rows, columns] = tensor.shape as [number, number];
  const values = toFloat32(tensor);
  const out = new Float32Array(values.length);
  for (let column = 0, to = 0; column < columns; column++) {
    for (let row = 0; row < rows; row++, to++) {
      out[to] = values[row * columns + column]! * scale;
      if (!(Math.abs(out[to]!) <= MAX_WEIGHT)) throw nonFinite(key, out[to]!); // NaN fails too
    }
  }
  return out;
}

/** The refusal of a weight that is not a number or over the limit. */
export function nonFinite(key: string, value: number): ServeError {
  const message = `adapter refused: ${key}: a weight of ${value} (limit ${MAX_WEIGHT}, scaling included)`;
  return new ServeError('adapter_non_finite', message, { param: key });
}
