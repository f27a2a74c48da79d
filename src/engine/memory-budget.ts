// What a server takes of memory, part by part, and how many sequences of what length fit: before anything is allocated.
// The tables are those that the engine allocates by; what the two processes take beside them was measured.
import { ConfigError } from '../common/errors.ts';
import type { MemoryBudget, MemoryLimit, MemoryParts } from '../common/memory-limit.ts';
import { type DecoderConfig, slotPositions } from '../model/config.ts';
import { servingTensors, tensorBytes, type WeightsMode } from '../model/serving-weights.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';
import { KvCache } from './kv-cache.ts';

/** What an operator asked for; absent: whatever fits, up to the defaults. */
export interface MemoryWishes {
  readonly provider: Provider;
  readonly weights: WeightsMode;
  readonly prefillChunk: number;
  readonly slots?: number | undefined;
  readonly maxSeq?: number | undefined;
  readonly adapterCacheBytes?: number | undefined;
}

export interface MemoryPlan {
  readonly slots: number;
  readonly maxSeqLength: number;
  readonly adapterCacheBytes: number;
  /** For the adapter slots in use. */
  readonly adapterSlotBytes: number;
  readonly budget: MemoryBudget;
  /** Says which defaults were reduced, if any were. */
  readonly reduced: string | undefined;
}

const DEFAULT_SLOTS = 32;
const DEFAULT_ADAPTER_CACHE_BYTES = 2 ** 30;
/** Fewer positions answer no request of use. */
const LEAST_MAX_SEQ = 256;
/** With fewer sequences than this, shorter ones are the better default. */
const LEAST_SLOTS = 4;

const MIB = 2 ** 20;
/** Both were measured with SmolLM2-135M under load (Node 20, x64): code, heap, the runtime's arenas. */
const SERVER_BYTES = 140 * MIB;
const ENGINE_BYTES = 190 * MIB;
/** Token strings, ids and merges in JavaScript's maps. */
const TOKENIZER_BYTES_PER_TOKEN = 1024;
/** What cannot be counted: fragmentation, buffers of the kernel. */
const USABLE_SHARE = 0.95;
/** Of what base and processes leave, kept for adapters if the operator set no size of the cache. */
const ADAPTER_SHARE = 0.4;
/** Of the adapters' memory: the rest is for those in slots. */
const ADAPTER_CACHE_SHARE = 0.4;
/** While slots are widened, the old ones are there beside the new. */
const SLOTS_AT_ONCE = 2;
/** Slots take no more of the memory, however much is free. */
const MAX_ADAPTER_SLOTS_SHARE = 0.5;

/** Returns the bytes of a base's weights as they are served. */
export function baseBytes(config: DecoderConfig, weights: WeightsMode): number {
  return servingTensors(config, weights).reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}

/**
 * Plans within the limit. What the operator asked for is kept; the rest gets its default, or less if that does not fit.
 * Throws `ConfigError` with the figures if what was asked for, or the least of the defaults, does not fit.
 */
export function planMemory(
  config: DecoderConfig,
  wishes: MemoryWishes,
  limit: MemoryLimit,
): MemoryPlan {
  const fixed = fixedParts(config, wishes);
  const left = limit.bytes * USABLE_SHARE - sum(fixed);
  const asked = wishes.adapterCacheBytes;
  const forAdapters = asked ?? Math.max(0, left) * ADAPTER_SHARE;
  const isHost = PROVIDERS[wishes.provider].memory === 'host';
  const cacheBytes = (slots: number, maxSeq: number) =>
    isHost ? KvCache.byteSize(config, slots, maxSeq) : 0;
  const form = chooseForm(config, wishes, {
    fits: (slots, maxSeq) => cacheBytes(slots, maxSeq) <= left - forAdapters,
  });
  const kvCache = cacheBytes(form.slots, form.maxSeqLength);
  const adapters = left - kvCache;
  const adapterCacheBytes =
    asked ?? Math.min(DEFAULT_ADAPTER_CACHE_BYTES, Math.max(0, adapters) * ADAPTER_CACHE_SHARE);
  const slotsPart = Math.min(
    Math.max(0, adapters - adapterCacheBytes),
    SLOTS_AT_ONCE * MAX_ADAPTER_SLOTS_SHARE * limit.bytes,
  );
  const parts: MemoryParts = {
    ...fixed,
    kvCache,
    adapterCache: Math.floor(adapterCacheBytes),
    adapterSlots: isHost ? Math.floor(slotsPart) : 0,
  };
  const budget: MemoryBudget = { limit, totalBytes: sum(parts), parts };
  if (adapters - (asked ?? 0) < 0) throw new ConfigError([refusal(wishes, form, budget)]);
  return {
    ...form,
    adapterCacheBytes: parts.adapterCache,
    adapterSlotBytes: Math.floor(slotsPart / SLOTS_AT_ONCE),
    budget,
    reduced: reduction(config, wishes, { form, limit }),
  };
}

interface Form {
  readonly slots: number;
  readonly maxSeqLength: number;
}

type FixedParts = Omit<MemoryParts, 'kvCache' | 'adapterCache' | 'adapterSlots'>;

/** Takes no account of a device's own memory: there the weights are elsewhere. */
function fixedParts(
  config: DecoderConfig,
  { provider, weights, prefillChunk, slots = DEFAULT_SLOTS }: MemoryWishes,
): FixedParts {
  const { hiddenSize, intermediateSize, vocabSize } = config;
  const isHost = PROVIDERS[provider].memory === 'host';
  return {
    base: isHost ? baseBytes(config, weights) : 0,
    tokenizer: vocabSize * TOKENIZER_BYTES_PER_TOKEN,
    server: SERVER_BYTES,
    engine: ENGINE_BYTES,
    // float32 values between the operators of a prompt's chunk, and the logits of a step with their ranking.
    activations: 4 * prefillChunk * (8 * hiddenSize + 4 * intermediateSize) + 8 * slots * vocabSize,
  };
}

/** As many sequences as fit; shorter ones if there would be only a few. The least, if nothing fits. */
function chooseForm(
  config: DecoderConfig,
  { slots, maxSeq }: MemoryWishes,
  { fits }: { fits: (slots: number, maxSeq: number) => boolean },
): Form {
  const longest = slotPositions(config, maxSeq);
  const shortest = maxSeq === undefined ? Math.min(longest, LEAST_MAX_SEQ) : longest;
  const mostThatFit = (maxSeqLength: number) => {
    let count = DEFAULT_SLOTS;
    while (count > 1 && !fits(count, maxSeqLength)) count--;
    return count;
  };
  let form: Form = { slots: slots ?? mostThatFit(longest), maxSeqLength: longest };
  const isEnough = () =>
    fits(form.slots, form.maxSeqLength) && (slots !== undefined || form.slots >= LEAST_SLOTS);
  while (!isEnough() && form.maxSeqLength > shortest) {
    const maxSeqLength = Math.max(shortest, Math.floor(form.maxSeqLength / 2));
    form = { slots: slots ?? mostThatFit(maxSeqLength), maxSeqLength };
  }
  return form;
}

function reduction(
  config: DecoderConfig,
  wishes: MemoryWishes,
  { form, limit }: { form: Form; limit: MemoryLimit },
): string | undefined {
  const usual = slotPositions(config, wishes.maxSeq);
  if (form.slots === (wishes.slots ?? DEFAULT_SLOTS) && form.maxSeqLength === usual)
    return undefined;
  return (
    `Serving with --slots ${form.slots} --max-seq ${form.maxSeqLength} instead of ` +
    `${wishes.slots ?? DEFAULT_SLOTS} and ${usual}: the memory limit is ${mib(limit.bytes)} (${limit.source}).`
  );
}

function refusal(
  wishes: MemoryWishes,
  { slots, maxSeqLength }: Form,
  budget: MemoryBudget,
): string {
  const { limit, parts, totalBytes } = budget;
  const figures = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([part, bytes]) => `${PART_NAMES[part as keyof MemoryParts]} ${mib(bytes)}`);
  const canShrink = wishes.slots !== undefined || wishes.maxSeq !== undefined;
  const cure = canShrink ? 'Lower --slots or --max-seq, or' : 'Use a smaller model, or';
  return (
    `--slots, --max-seq: serving takes ${mib(totalBytes)} with a KV cache of ${slots} x ${maxSeqLength} positions, ` +
    `and ${Math.round(USABLE_SHARE * 100)} % of ${mib(limit.bytes)} (${limit.source}) can be used: ` +
    `${figures.join(', ')}. ${cure} raise the memory limit.`
  );
}

const PART_NAMES: Readonly<Record<keyof MemoryParts, string>> = {
  base: 'base',
  tokenizer: 'tokenizer',
  server: 'server process',
  engine: 'engine process',
  activations: 'activations',
  kvCache: 'KV cache',
  adapterCache: 'adapter cache',
  adapterSlots: 'adapter slots',
};

function sum(parts: object): number {
  return Object.values(parts).reduce((total: number, bytes) => total + (bytes as number), 0);
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB).toLocaleString('en-US')} MiB`;
}
