// Plans a server of a base for this machine, and chooses the form of its weights for `--weights auto`.
import { ConfigError } from '../common/errors.ts';
import { formatBytes } from '../common/format-bytes.ts';
import { type MemoryLimit, memoryLimit } from '../common/memory-limit.ts';
import { cacheType, usablePackings } from '../engine/int8-form.ts';
import { baseBytes, type MemoryPlan, planMemory } from '../engine/memory/memory-budget.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import type { Config } from '../settings/config.ts';

/** The settings for one base: the form of its weights is chosen. */
export type BaseSettings = Config & { readonly weights: WeightsMode };

/** Plans a server of this base. Throws `ConfigError` if it does not fit. */
export function planServer(
  config: DecoderConfig,
  settings: BaseSettings,
  limit: MemoryLimit = memoryLimit(),
) {
  const [packing] = usablePackings({ ...settings, config });
  const kv = cacheType(settings.kv, packing);
  const plan = planMemory(config, { ...settings, packing, kv }, limit);
  return { packing, kv, plan };
}

/** Returns the plan of a server of this base. Undefined if it does not fit. */
export function planIfItFits(
  config: DecoderConfig,
  settings: BaseSettings,
  limit?: MemoryLimit,
): MemoryPlan | undefined {
  try {
    return planServer(config, settings, limit).plan;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/**
 * Returns the settings for a base. `auto` is int8 if the server has room for all it was asked for. If not, it is int4, unless this
 * processor computes that slowly. `reason` says why.
 */
export function settingsFor(
  config: DecoderConfig,
  settings: Config,
  limit: MemoryLimit = memoryLimit(),
): { readonly settings: BaseSettings; readonly reason: string | undefined } {
  const { weights } = settings;
  if (weights !== 'auto') return { settings: { ...settings, weights }, reason: undefined };
  const [int8, int4] = (['int8', 'int4'] as const).map((form) => ({ ...settings, weights: form }));
  const plan = planIfItFits(config, int8!, limit);
  const size = formatBytes(baseBytes(config, 'int8'));
  const most = formatBytes(limit.bytes);
  if (plan && !plan.reduced)
    return { settings: int8!, reason: `int8, whose ${size} fit the memory limit of ${most}` };
  const tight = `with the ${size} of int8 the memory limit of ${most} leaves too little`;
  if (usablePackings({ ...int4!, config }).length === 0)
    return {
      settings: int8!,
      reason: `int8, although ${tight}: this processor computes int4 slowly`,
    };
  return { settings: int4!, reason: `int4, because ${tight}` };
}
