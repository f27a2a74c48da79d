// Inspects an adapter's two files without a model: rank, targets, and the faults that show without one. The files are in
// memory; `parse-adapter.ts` checks whether the shapes fit a model.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { largest } from '../../src/common/long-arrays.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';
import type { AdapterFiles } from './files.ts';
import { tokensOf } from './own-vocabulary.ts';
import { parsePairs, withPairRanks } from './pairs.ts';
import { labelsOfConfig, parseAdapterConfig } from './peft-config.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
import type { AdapterConfig } from './tensor-names.ts';
import {
  EMBEDDING,
  HEAD,
  presenceOf,
  splitTensorName,
  targetOfModule,
  tensorName,
} from './tensor-names.ts';
import { checkedValues } from './tensors.ts';

/** An adapter's key figures. */
export interface AdapterSummary {
  /** The largest rank of its modules. */
  readonly rank: number;
  readonly targets: readonly TargetName[];
  /** The number of tokens in its vocabulary tables. Undefined: it has none. */
  readonly vocabSize: number | undefined;
  /** The number of linears that it changes. */
  readonly moduleCount: number;
  /** `base_model_name_or_path`, as its trainer wrote it. */
  readonly baseModel: string | undefined;
  /** The names of a classifier's classes. Undefined: it generates text. */
  readonly labels: readonly string[] | undefined;
}

/**
 * Inspects an adapter. Throws `ServeError`: `adapter_invalid` or `adapter_non_finite`, the field or tensor at fault as `param`.
 */
export async function inspectAdapter(
  bytes: Pick<AdapterFiles, 'configBytes' | 'weightsBytes'>,
): Promise<AdapterSummary> {
  const pairs = parsePairs(bytes.weightsBytes);
  const { tensors } = pairs;
  const modules = [...tensors.keys()].flatMap((key) => splitTensorName(key)?.module ?? []);
  const parsed = await parseAdapterConfig(bytes.configBytes, [...new Set(modules)]);
  const config = withPairRanks(parsed, pairs);
  const targetByModule = new Map<string, TargetName>();
  let others = 0;
  let vocabSize: number | undefined;
  for (const [key, tensor] of tensors) {
    const { module, tensor: kind } = splitTensorName(key) ?? {};
    const target = targetOfModule(module ?? '');
    const isKnown = target || module === EMBEDDING || module === HEAD || kind === 'whole';
    if (!module || !kind || !isKnown)
      throw invalidAdapter(key, 'is not part of a module that can be served');
    if (!presenceOf(kind, module, config)) {
      const isTargeted = config.isTargeted(module);
      const reason = isTargeted ? 'does not ask for this tensor' : 'does not target this module';
      throw invalidAdapter(key, `adapter_config.json ${reason}`);
    }
    vocabSize ??= tokensOf(module, kind, tensor.shape);
    if (target && config.isTargeted(module)) targetByModule.set(module, target);
    else others++;
    if (!target || (kind !== 'a' && kind !== 'b')) checkedValues(key, tensor);
  }
  if (targetByModule.size + others === 0)
    throw invalidAdapter('adapter_model.safetensors', 'is empty');
  const ranks: number[] = [];
  for (const module of targetByModule.keys()) {
    ranks.push(checkPair(module, tensors, config));
    await nextTurn();
  }
  const targets = new Set(targetByModule.values());
  return {
    rank: largest([1, ...ranks]),
    targets: TARGET_NAMES.filter((target) => targets.has(target)),
    vocabSize,
    moduleCount: targetByModule.size,
    baseModel: config.baseModel,
    labels: labelsOfConfig(config),
  };
}

/** Checks that A [r, in] and B [out, r] have the configured rank and finite, bounded values. Returns the rank. */
function checkPair(
  module: string,
  tensors: ReadonlyMap<string, Tensor>,
  config: AdapterConfig,
): number {
  const { rank, scaling } = config.settingOf(module);
  for (const tensor of ['magnitude', 'updateBias'] as const) {
    const key = tensorName(module, tensor);
    if (presenceOf(tensor, module, config) && !tensors.has(key))
      throw invalidAdapter(key, 'is missing');
  }
  const factors = [
    { key: tensorName(module, 'a'), rankAxis: 0, scale: 1 },
    { key: tensorName(module, 'b'), rankAxis: 1, scale: scaling },
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
