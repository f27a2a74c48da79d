// The settings and the memory of an engine that samples next to a trainer.
import type { SamplingEngineSize } from '../../trainer/planner/sampling-engine-size.ts';
import type { MemoryLimit } from '../common/memory-limit.ts';
import { cacheType, usablePackings } from '../engine/int8-form.ts';
import { KvCache } from '../engine/kv-cache.ts';
import { planMemory } from '../engine/memory/memory-budget.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { Config } from '../settings/config.ts';
import { type BaseSettings, settingsFor } from './base-plan.ts';

/** Loaded adapters are padded and aligned. */
const ADAPTER_SHARE = 1.25;
/** Slots are as many as adapters and one of zeros. While they are widened, the old ones stay. */
const slotCopies = (adapters: number) => 2 * (adapters + 1);

/** Returns the settings of an engine that holds one step. The operator's sizes are a server's, and do not apply. */
export function samplingEngineConfig(
  config: Config,
  decoder: DecoderConfig,
  size: SamplingEngineSize,
): BaseSettings {
  const { slots, maxSeqLength, promptTokens, adapterBytes, adapters } = size;
  const { settings } = settingsFor(decoder, config);
  const kv = cacheType(config.kv, usablePackings({ ...settings, config: decoder })[0]);
  const prompts = { slotCount: 1, maxSeqLength: promptTokens, type: kv };
  return {
    ...settings,
    kv,
    slots,
    maxSeq: maxSeqLength,
    adapterSlots: undefined,
    adapterCacheBytes: Math.ceil(adapters * adapterBytes * ADAPTER_SHARE),
    prefixCacheBytes: KvCache.byteSize(decoder, prompts),
    trainMemoryBytes: undefined,
  };
}

/** Returns the bytes of such an engine within a process. Throws a `ConfigError` with the figures if it does not fit alone. */
export function samplingEngineBytes(
  config: Config,
  decoder: DecoderConfig,
  { size, limit }: { readonly size: SamplingEngineSize; readonly limit: MemoryLimit },
): number {
  const own = samplingEngineConfig(config, decoder, size);
  const { base, activations, kvCache, adapterCache, prefixCache } = planMemory(decoder, own, limit)
    .budget.parts;
  const slots = slotCopies(size.adapters) * size.adapterBytes * ADAPTER_SHARE;
  return base + activations + kvCache + adapterCache + prefixCache + slots;
}
