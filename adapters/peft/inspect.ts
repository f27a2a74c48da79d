// What an adapter's own two files say of it, without the model that it is for: rank, targets, and every fault that can
// be seen without one. Whether its shapes fit a model is found by `peft.ts`, when there is one. It opens no files.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FileError, ServeError } from '../../src/common/errors.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import { loraNames } from '../../src/model/names.ts';
import { TARGET_MODULES, TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';
import type { AdapterBytes } from './peft.ts';
import { MAX_WEIGHT, nonFinite } from './peft.ts';
import { type AdapterConfig, parseAdapterConfig } from './peft-config.ts';
import { invalidAdapter } from './refusal.ts';

export interface AdapterSummary {
  /** The largest of its modules. */
  readonly rank: number;
  readonly targets: readonly TargetName[];
  /** Linears that it changes. */
  readonly moduleCount: number;
  /** `base_model_name_or_path`, as its trainer wrote it. */
  readonly baseModel: string | undefined;
}

/** `model.layers.3.self_attn.q_proj` and the factor that a tensor of PEFT's is. */
const KEY_PATTERN = /^base_model\.model\.(model\.layers\.\d{1,4}\.([\w.]+))\.lora_[AB]\.weight$/;
const TARGET_OF_PATH = new Map<string, TargetName>(
  TARGET_NAMES.map((target) => [TARGET_MODULES[target].path, target]),
);

/** Throws `ServeError`: `adapter_invalid` or `adapter_non_finite`, the field or tensor at fault as `param`. */
export async function inspectAdapter(
  bytes: Pick<AdapterBytes, 'configBytes' | 'weightsBytes'>,
): Promise<AdapterSummary> {
  const tensors = parseTensors(bytes.weightsBytes);
  const modules = [...tensors.keys()].flatMap((key) => KEY_PATTERN.exec(key)?.[1] ?? []);
  const config = await parseAdapterConfig(bytes.configBytes, [...new Set(modules)]);
  const targetOfModule = new Map<string, TargetName>();
  for (const key of tensors.keys()) {
    const [, module, path] = KEY_PATTERN.exec(key) ?? [];
    const target = TARGET_OF_PATH.get(path ?? '');
    if (!module || !target) throw invalidAdapter(key, 'belongs to no linear that can be served');
    if (!config.isTargeted(module)) {
      throw invalidAdapter(key, 'adapter_config.json does not target this module');
    }
    targetOfModule.set(module, target);
  }
  if (targetOfModule.size === 0) throw invalidAdapter('adapter_model.safetensors', 'holds nothing');
  const ranks: number[] = [];
  for (const module of targetOfModule.keys()) {
    ranks.push(checkPair(module, tensors, config));
    await nextTurn();
  }
  const found = new Set(targetOfModule.values());
  return {
    rank: Math.max(...ranks),
    targets: TARGET_NAMES.filter((target) => found.has(target)),
    moduleCount: targetOfModule.size,
    baseModel: config.baseModel,
  };
}

function parseTensors(bytes: Uint8Array): Map<string, Tensor> {
  try {
    return parseSafetensors(bytes, ADAPTER_LIMITS).tensors;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    const message = `adapter refused: ${error.message}`;
    throw new ServeError('adapter_invalid', message, { param: error.field, cause: error });
  }
}

/** A [r, in] and B [out, r] of the configured rank, finite and within the cap with the scaling. Answers the rank. */
function checkPair(
  module: string,
  tensors: ReadonlyMap<string, Tensor>,
  config: AdapterConfig,
): number {
  const { rank, scaling } = config.settingOf(module);
  const keys = loraNames(module);
  const factors = [
    { key: keys.a, rankAxis: 0, scale: 1 },
    { key: keys.b, rankAxis: 1, scale: scaling },
  ];
  for (const { key, rankAxis, scale } of factors) {
    const tensor = tensors.get(key);
    if (!tensor) throw invalidAdapter(key, 'is missing');
    if (tensor.shape.length !== 2 || tensor.shape[rankAxis] !== rank) {
      throw invalidAdapter(key, `shape [${tensor.shape}] is not of rank ${rank}`);
    }
    for (const value of toFloat32(tensor)) {
      if (!(Math.abs(value * scale) <= MAX_WEIGHT)) throw nonFinite(key, value * scale); // NaN fails too
    }
  }
  return rank;
}
