// Estimates a server's memory part by part, and plans how many sequences of which length fit before anything is allocated.
// Tensor sizes are computed as the engine allocates them. The processes' other needs were measured.
import { ConfigError } from '../../common/errors.ts';
import { HELPERS } from '../../common/job-process.ts';
import type { MemoryBudget, MemoryLimit, MemoryParts } from '../../common/memory-limit.ts';
import { DEFAULT_RANK } from '../../contracts/training-settings.ts';
import { type DecoderConfig, slotPositions } from '../../model/config.ts';
import type { KvType } from '../../model/kv-attention.ts';
import type { RowForm, RowPacking } from '../../model/row-weights.ts';
import {
  embeddingMatrix,
  servingTensorBytes,
  servingTensors,
  type WeightsMode,
} from '../../model/serving-weights.ts';
import { targetNames } from '../../model/target-modules.ts';
import { PROVIDERS, type Provider } from '../../settings/provider.ts';
import { formOf, slotBytes } from '../adapters/slot-form.ts';
import { scoresBytes } from '../attention-scores.ts';
import { KvCache } from '../kv-cache.ts';

/** The operator's settings. An absent one gets its default, or less if the default does not fit. */
export interface MemoryRequest {
  readonly provider: Provider;
  readonly weights: WeightsMode;
  /** The order of int8 weights. If it is `packed`, our own operators compute everything. */
  readonly packing?: RowPacking | undefined;
  /** The elements of the KV cache. */
  readonly kv: KvType;
  readonly prefillChunk: number;
  readonly slots?: number | undefined;
  /** Whether there are more slots, reserved for tenants below their share. Default: no. */
  readonly hasReservedSlots?: boolean;
  readonly maxSeq?: number | undefined;
  readonly adapterCacheBytes?: number | undefined;
  /** Bytes; 0 means no prefix cache. */
  readonly prefixCacheBytes?: number | undefined;
  /** Bytes that are left to trainers. */
  readonly trainMemoryBytes?: number | undefined;
}

/** The sizes that the server starts with. */
export interface MemoryPlan {
  readonly slots: number;
  readonly reservedSlots: number;
  readonly maxSeqLength: number;
  readonly adapterCacheBytes: number;
  readonly prefixCacheBytes: number;
  /** Memory for the adapter slots in use. */
  readonly adapterSlotBytes: number;
  readonly budget: MemoryBudget;
  /** A message about reduced defaults. Undefined if none was reduced. */
  readonly reduced: string | undefined;
}

const DEFAULT_SLOTS = 32;
const DEFAULT_ADAPTER_CACHE_BYTES = 2 ** 30;
const DEFAULT_PREFIX_CACHE_BYTES = 2 ** 30;
/** The default length of a slot if that leaves all slots: programs that write code begin with prompts of 2,000 tokens. */
const LONG_MAX_SEQ = 4096;
/** Slots with fewer positions are too short to be useful. */
const MIN_MAX_SEQ = 256;
/** Below this number of sequences, the default makes them shorter instead of fewer. */
const MIN_SLOTS = 4;

/** One reserved slot is added for each 12 slots or part of them, so that a light tenant rarely waits for a sequence to end. */
const SLOTS_PER_RESERVED_SLOT = 12;

const MIB = 2 ** 20;
/** Code, heap and arenas, measured with SmolLM2-135M under load (Node 20, x64). */
const SERVER_BYTES = 140 * MIB;
const ENGINE_BYTES = 190 * MIB;
/** Each helper takes 15 to 20 MiB in addition to shared pages. */
const HELPERS_BYTES = Object.values(HELPERS).flat().length * 20 * MIB;
/** Token strings, ids and merges in JavaScript maps. */
const TOKENIZER_BYTES_PER_TOKEN = 1024;
/** The rest is left for fragmentation and kernel buffers, which cannot be computed. */
const USABLE_SHARE = 0.95;
/** The prefix cache's largest share of the memory that the KV cache leaves, if the operator set no size. */
const PREFIX_CACHE_SHARE = 0.2;
/** The adapters' share of the memory that base and processes leave, if the operator set no size for the adapter cache. */
const ADAPTER_SHARE = 0.4;
/** They get up to this share if less would not hold a single adapter of the trainer's default rank. */
const MAX_ADAPTER_SHARE = 0.65;
/** The adapter cache's share of the memory for adapters. The rest is for adapter slots. */
const ADAPTER_CACHE_SHARE = 0.4;
/** While slots are widened, the old and the new ones exist at the same time. */
export const SLOTS_AT_ONCE = 2;
/** The adapter slots' largest share of the memory, even if more is free. */
const MAX_ADAPTER_SLOTS_SHARE = 0.5;

/** The modes that have a per-token form on the CPU. All packings take the same bytes. */
const ROW_FORMS: Partial<Record<WeightsMode, RowForm>> = {
  int8: { packing: 'packed' },
  int4: { packing: 'packed', bits: 4 },
};

/** Returns the bytes of a base's weights as served on the CPU. */
export function baseBytes(config: DecoderConfig, weights: WeightsMode): number {
  const tensors = servingTensors(config, weights, ROW_FORMS[weights]);
  return tensors.reduce((sum, tensor) => sum + servingTensorBytes(tensor), 0);
}

/** Returns the bytes that runs read of the weights. Of embeddings that are not the head's matrix, too, they read single rows. */
function readBytes(config: DecoderConfig, weights: WeightsMode): number {
  const isHead = config.tiedEmbeddings && ROW_FORMS[weights] === undefined;
  const { values } = embeddingMatrix(config, weights);
  return baseBytes(config, weights) - (isHead ? 0 : servingTensorBytes(values));
}

/**
 * Plans within a memory limit. Keeps requested sizes; the others get their defaults, or less if those do not fit. Throws a
 * `ConfigError` with the figures if the requested sizes, or the smallest possible ones, do not fit.
 */
export function planMemory(
  config: DecoderConfig,
  request: MemoryRequest,
  limit: MemoryLimit,
): MemoryPlan {
  const fixed = fixedParts(config, request);
  const isHost = PROVIDERS[request.provider].memory === 'host';
  const isOwn = request.packing === 'packed';
  const requestedPrefixes = isHost ? request.prefixCacheBytes : 0;
  const left = limit.bytes * USABLE_SHARE - totalOf(fixed) - (requestedPrefixes ?? 0);
  const requestedCache = request.adapterCacheBytes;
  const forAdapters =
    requestedCache ??
    Math.max(
      0,
      left * ADAPTER_SHARE,
      Math.min(left * MAX_ADAPTER_SHARE, oneAdapterBytes(config, request)),
    );
  const cacheBytes = (slots: number, maxSeqLength: number) => {
    const slotCount = slots + reservedSlots(request, slots);
    return isHost ? KvCache.byteSize(config, { slotCount, maxSeqLength, type: request.kv }) : 0;
  };
  // The runtime's scores take the memory that the feed-forward values leave, and more if the context is long.
  const scores = (maxSeqLength: number) => {
    const bytes = isHost && !isOwn ? scoresBytes(config, maxSeqLength, request.prefillChunk) : 0;
    return Math.max(0, bytes - feedForwardBytes(config, request));
  };
  const plan = chooseSlots(config, request, {
    knowsMemory: isHost,
    fits: (slots, maxSeq) => cacheBytes(slots, maxSeq) + scores(maxSeq) <= left - forAdapters,
  });
  const activations = fixed.activations + scores(plan.maxSeqLength);
  const kvCache = cacheBytes(plan.slots, plan.maxSeqLength);
  const free = Math.max(0, left - kvCache - (requestedCache ?? 0));
  const defaultPrefixes = Math.min(DEFAULT_PREFIX_CACHE_BYTES, free * PREFIX_CACHE_SHARE);
  const prefixCache = Math.floor(requestedPrefixes ?? defaultPrefixes);
  const adapters = left - kvCache - (requestedPrefixes === undefined ? prefixCache : 0);
  const adapterCacheBytes =
    requestedCache ??
    Math.min(DEFAULT_ADAPTER_CACHE_BYTES, Math.max(0, adapters) * ADAPTER_CACHE_SHARE);
  const slotsPart = Math.min(
    Math.max(0, adapters - adapterCacheBytes),
    SLOTS_AT_ONCE * MAX_ADAPTER_SLOTS_SHARE * limit.bytes,
  );
  const parts: MemoryParts = {
    ...fixed,
    activations,
    kvCache,
    adapterCache: Math.floor(adapterCacheBytes),
    prefixCache,
    adapterSlots: isHost ? Math.floor(slotsPart) : 0,
  };
  const budget: MemoryBudget = { limit, totalBytes: totalOf(parts), parts };
  if (adapters - (requestedCache ?? 0) < 0)
    throw new ConfigError(doesNotFit(request, plan, budget));
  return {
    ...plan,
    reservedSlots: reservedSlots(request, plan.slots),
    adapterCacheBytes: parts.adapterCache,
    prefixCacheBytes: parts.prefixCache,
    adapterSlotBytes: Math.floor(slotsPart / SLOTS_AT_ONCE),
    budget,
    reduced: reducedDefaults(config, request, { plan, limit }),
  };
}

/** The memory for adapters, cache included, in which one adapter of the default rank can run: slot 0 has the same size. */
function oneAdapterBytes(config: DecoderConfig, { packing }: MemoryRequest): number {
  const form = formOf([{ rank: DEFAULT_RANK, targets: targetNames(config), parts: [] }]);
  return (SLOTS_AT_ONCE * 2 * slotBytes(config, form, packing)) / (1 - ADAPTER_CACHE_SHARE);
}

function reservedSlots({ hasReservedSlots = false }: MemoryRequest, slots: number): number {
  return hasReservedSlots ? Math.ceil(slots / SLOTS_PER_RESERVED_SLOT) : 0;
}

interface SlotPlan {
  readonly slots: number;
  readonly maxSeqLength: number;
}

type FixedParts = Omit<MemoryParts, 'kvCache' | 'adapterCache' | 'prefixCache' | 'adapterSlots'>;

/** Parts that do not depend on the plan. If a device holds the weights, its memory is not counted. */
function fixedParts(config: DecoderConfig, request: MemoryRequest): FixedParts {
  const { provider, weights, packing, kv, prefillChunk, slots = DEFAULT_SLOTS, maxSeq } = request;
  const { hiddenSize, vocabSize } = config;
  const tokenizer = vocabSize * TOKENIZER_BYTES_PER_TOKEN;
  // The runtime attends to a float copy of one layer of an int8 slot, which its operator copies again.
  const copies = kv === 'int8' && packing !== 'packed' ? 2 : 0;
  const layerBytes =
    KvCache.byteSize(config, {
      slotCount: 1,
      maxSeqLength: slotPositions(config, maxSeq ?? Math.min(config.maxPositions, LONG_MAX_SEQ)),
      type: 'f32',
    }) / config.layerCount;
  const isHost = PROVIDERS[provider].memory === 'host';
  return {
    base: isHost ? readBytes(config, weights) : 0,
    tokenizer,
    server: SERVER_BYTES,
    engine: ENGINE_BYTES,
    helpers: HELPERS_BYTES + tokenizer, // long prompts are tokenized in a separate process
    trainers: request.trainMemoryBytes ?? 0,
    // float32 values between the operators of a prefill chunk, and the logits of a step with their ranking.
    activations:
      4 * prefillChunk * 8 * hiddenSize +
      feedForwardBytes(config, request) +
      8 * (slots + reservedSlots(request, slots)) * vocabSize +
      copies * layerBytes,
  };
}

/** The values inside a feed-forward block of a chunk. */
function feedForwardBytes(
  { intermediateSize }: DecoderConfig,
  { prefillChunk }: MemoryRequest,
): number {
  return 4 * prefillChunk * 4 * intermediateSize;
}

/** Whether a plan fits, and whether that is known: a device's memory is not counted. */
interface SlotMemory {
  readonly knowsMemory: boolean;
  fits(slots: number, maxSeq: number): boolean;
}

/**
 * Returns long sequences if all fit, else as many as fit of the usual length, or shorter ones if there would be only a few. If
 * nothing fits, returns the smallest plan.
 */
function chooseSlots(
  config: DecoderConfig,
  { slots, maxSeq }: MemoryRequest,
  { knowsMemory, fits }: SlotMemory,
): SlotPlan {
  const longest = slotPositions(config, maxSeq);
  if (maxSeq === undefined && knowsMemory) {
    const maxSeqLength = Math.min(config.maxPositions, LONG_MAX_SEQ);
    const long = { slots: slots ?? DEFAULT_SLOTS, maxSeqLength };
    if (fits(long.slots, maxSeqLength)) return long;
  }
  const shortest = maxSeq === undefined ? Math.min(longest, MIN_MAX_SEQ) : longest;
  const mostThatFit = (maxSeqLength: number) => {
    let count = DEFAULT_SLOTS;
    while (count > 1 && !fits(count, maxSeqLength)) count--;
    return count;
  };
  let plan: SlotPlan = { slots: slots ?? mostThatFit(longest), maxSeqLength: longest };
  const isEnough = () =>
    fits(plan.slots, plan.maxSeqLength) && (slots !== undefined || plan.slots >= MIN_SLOTS);
  while (!isEnough() && plan.maxSeqLength > shortest) {
    const maxSeqLength = Math.max(shortest, Math.floor(plan.maxSeqLength / 2));
    plan = { slots: slots ?? mostThatFit(maxSeqLength), maxSeqLength };
  }
  return plan;
}

function reducedDefaults(
  config: DecoderConfig,
  request: MemoryRequest,
  { plan, limit }: { plan: SlotPlan; limit: MemoryLimit },
): string | undefined {
  const usual = slotPositions(config, request.maxSeq);
  if (plan.slots === (request.slots ?? DEFAULT_SLOTS) && plan.maxSeqLength >= usual)
    return undefined;
  return (
    `Serving with --slots ${plan.slots} --max-seq ${plan.maxSeqLength} instead of ` +
    `${request.slots ?? DEFAULT_SLOTS} and ${usual}: the memory limit is ${mib(limit.bytes)} (${limit.source}).`
  );
}

function doesNotFit(
  request: MemoryRequest,
  { slots, maxSeqLength }: SlotPlan,
  budget: MemoryBudget,
): string {
  const { limit, parts, totalBytes } = budget;
  const figures = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([part, bytes]) => `${PART_NAMES[part as keyof MemoryParts]} ${mib(bytes)}`);
  return (
    `--slots, --max-seq: serving takes ${mib(totalBytes)} with a KV cache of ${slots} x ${maxSeqLength} positions, ` +
    `and ${Math.round(USABLE_SHARE * 100)}% of ${mib(limit.bytes)} (${limit.source}) can be used: ` +
    `${figures.join(', ')}. ${cureFor(request)}`
  );
}

/** Names the settings that the user gave, because defaults have been reduced already. */
function cureFor(request: MemoryRequest): string {
  const { provider, weights, kv, slots, maxSeq, adapterCacheBytes, prefixCacheBytes } = request;
  const given: string[] = [];
  if (slots !== undefined || maxSeq !== undefined) given.push('--slots', '--max-seq');
  if (adapterCacheBytes !== undefined) given.push('--adapter-cache');
  if (prefixCacheBytes) given.push('--prefix-cache');
  if (request.trainMemoryBytes) given.push('--train-memory');
  if (given.length === 0) {
    const canShrink = provider === 'cpu' && weights !== 'nf4';
    return `Use a smaller model${canShrink ? ' or --weights nf4' : ''}, or raise the memory limit.`;
  }
  const list = new Intl.ListFormat('en', { type: 'disjunction' }).format(given);
  const canNarrow = kv !== 'int8' && PROVIDERS[provider].memory === 'host';
  return `Lower ${list},${canNarrow ? ' use --kv int8,' : ''} or raise the memory limit.`;
}

const PART_NAMES: Readonly<Record<keyof MemoryParts, string>> = {
  base: 'base',
  tokenizer: 'tokenizer',
  server: 'server process',
  engine: 'engine process',
  helpers: 'helper processes',
  trainers: 'trainers',
  activations: 'activations',
  kvCache: 'KV cache',
  adapterCache: 'adapter cache',
  prefixCache: 'prefix cache',
  adapterSlots: 'adapter slots',
};

function totalOf(parts: object): number {
  return Object.values(parts).reduce((total: number, bytes) => total + (bytes as number), 0);
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / MIB).toLocaleString('en-US')} MiB`;
}
