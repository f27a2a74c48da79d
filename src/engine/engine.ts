// Runs one batch on the model: a chunk of a prompt, or the next token of each running sequence with its drafts. Works on token
// ids, KV slots and adapter digests; text, tenants and queues stay outside.

import { hash } from 'node:crypto';
import type { AdapterShape, AdapterWeights } from '../../adapters/peft/weights.ts';
import { ConfigError } from '../common/errors.ts';
import { largest } from '../common/long-arrays.ts';
import { memoryLimit } from '../common/memory-limit.ts';
import { endStartPhase } from '../common/start-phases.ts';
import type { EngineInfo } from '../contracts/engine.ts';
import type { TokenLogprob } from '../contracts/generation.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { KvType } from '../model/kv-attention.ts';
import type { AdapterForm } from '../model/lora-graph.ts';
import { targetNames } from '../model/target-modules.ts';
import { separateLargeBlocks } from '../ort/libc.ts';
import { ownInstructions } from '../ort/own-operators.ts';
import { type FloatType, PROVIDERS } from '../settings/provider.ts';
import { AdapterSlots } from './adapters/adapter-slots.ts';
import { formOf } from './adapters/slot-form.ts';
import { adapterOfZeros } from './adapters/warm-up.ts';
import type { AdapterKey, Batch, BatchResult, PrefillBatch, RowResult, SlotId } from './batch.ts';
import { Decode, sampledAll } from './decode.ts';
import { GraphSessions, type RuntimeOptions } from './graph-sessions.ts';
import { cacheType } from './int8-form.ts';
import { KvCache } from './kv-cache.ts';
import { isFiniteRow, type LogitsRow, scoreToken, tokenRank } from './logits.ts';
import { openDeviceMemory } from './memory/device-memory.ts';
import { HOST_MEMORY } from './memory/host-memory.ts';
import { ModelRunner } from './model-runner.ts';
import { PrefixCache } from './prefix/prefix-cache.ts';
import { openServingFolder, readKvScales } from './serving-folder.ts';
import { tryBase } from './trial-run.ts';

/** The rest holds the base, the cache and, while slots are being widened, the old slots. */
const ADAPTER_SLOTS_SHARE = 0.5;

/** The fingerprint covers it. Raise it if a change of the graphs can change tokens. */
const ARITHMETIC = 3;

/** Sessions do not depend on ranks. */
const LORA = { rank: 1, parts: [] } as const;

const FLOAT_NAMES: Readonly<Record<FloatType, string>> = { float32: 'f32', float16: 'f16' };

/** The model and the limits of an engine. */
export interface EngineOptions {
  /** A folder that `buildServingFiles` created. */
  readonly servingDir: string;
  /** KV cache slots. */
  readonly slotCount: number;
  /** Positions of a slot. At most the model's. */
  readonly maxSeqLength: number;
  /** The elements of the KV cache; `int8` needs a folder with scales, `f16` packed weights. Default: `f32`. */
  readonly kv?: KvType;
  /** The most adapters that can be attached at the same time. Default: `slotCount`. */
  readonly adapterSlotCount?: number;
  /** Memory for the adapter slots in use, in bytes. Default: half of the memory limit. */
  readonly adapterSlotBytes?: number;
  /** Memory for the prefix cache, in bytes. Default: 0, no cache. On a device there is no prefix cache. */
  readonly prefixCacheBytes?: number;
  /** Whether changes of the prefix cache are recorded. Default: false. */
  readonly recordsPrefixes?: boolean;
  /** How steps are taken, as far as it may change tokens. The fingerprint covers it. */
  readonly decoding?: string;
  /** Whether adapters that change the output head are likely, as training loops make them. Default: false. */
  readonly expectsHeads?: boolean;
  readonly runtime?: RuntimeOptions;
}

interface EngineParts {
  readonly config: DecoderConfig;
  readonly info: EngineInfo;
  readonly sessions: GraphSessions;
  readonly cache: KvCache;
  readonly slots: AdapterSlots;
  readonly runner: ModelRunner;
  readonly prefixes: PrefixCache | undefined;
  readonly expectsHeads: boolean;
}

/** A base model with its KV cache and its attached adapters. */
export class Engine {
  readonly info: EngineInfo;
  /** The shape of the decoder, which adapters must fit. */
  readonly config: DecoderConfig;
  readonly #parts: EngineParts;
  readonly #decode: Decode;

  /**
   * Throws `ConfigError` if the cache does not fit, the provider is missing or the base cannot run, and `FileError` if the
   * folder is invalid.
   */
  static async create(options: EngineOptions): Promise<Engine> {
    const { servingDir, slotCount, maxSeqLength, runtime = {} } = options;
    separateLargeBlocks();
    const model = openServingFolder(servingDir);
    endStartPhase('map');
    const { config } = model;
    const packing = model.rowForm?.packing ?? 'plain'; // that of the folder, unless it could not be calibrated
    const type = cacheType(options.kv ?? 'f32', packing);
    checkMemory(KvCache.byteSize(config, { slotCount, maxSeqLength, type }), options);
    const { provider = 'cpu' } = runtime;
    if (config.attentionSoftcap && !PROVIDERS[provider].capsAttention) {
      throw new ConfigError(
        `--provider: ${provider} computes this base wrongly, because its attention has a soft cap. Use --provider cpu.`,
      );
    }
    const isHost = PROVIDERS[provider].memory === 'host';
    const memory = isHost ? HOST_MEMORY : openDeviceMemory(provider);
    const sessions = new GraphSessions(model, maxSeqLength, { runtime, memory });
    const scales = type === 'int8' ? readKvScales(servingDir, config) : undefined;
    const cache = new KvCache(config, { slotCount, maxSeqLength, memory, scales, type });
    const capacityBytes = options.adapterSlotBytes ?? memoryLimit().bytes * ADAPTER_SLOTS_SHARE;
    const limits = { capacity: options.adapterSlotCount ?? slotCount, capacityBytes, packing };
    const slots = new AdapterSlots(config, limits, memory);
    const runner = new ModelRunner({ config, sessions, cache, slots });
    endStartPhase('memory');
    const kv = type === 'f32' ? FLOAT_NAMES[memory.float] : type;
    const forms = `${model.identity} ${kv} ${provider}`;
    await tryBase({ runner, cache, servingDir, forms });
    await runner.prepare();
    endStartPhase('session');
    const info = {
      vocabSize: config.vocabSize,
      maxSeqLength,
      slotCount,
      provider,
      weights: model.weights,
      kv,
      int8Operator: packing === 'packed' ? (ownInstructions() ?? null) : null,
      fingerprint: hash('sha256', `${ARITHMETIC} ${forms} ${options.decoding}`).slice(0, 8),
    };
    const prefixes = openPrefixCache(cache, model.identity, options);
    // A head whose logits are capped cannot be changed.
    const expectsHeads = options.expectsHeads === true && config.logitsSoftcap === undefined;
    return new Engine({ config, info, sessions, cache, slots, runner, prefixes, expectsHeads });
  }

  private constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#decode = new Decode({ ...parts, zeroSlot: (slot) => this.zeroSlot(slot) });
    this.info = parts.info;
    this.config = parts.config;
  }

  /** The prefix cache. Undefined if prefixes are not cached. */
  get prefixes(): PrefixCache | undefined {
    return this.#parts.prefixes;
  }

  /** Creates the sessions and copies the weights in advance, so that the adapter's first run does not wait for them. */
  async prepareFor(weights: AdapterWeights): Promise<void> {
    await this.#parts.runner.prepare(formOf([weights], this.#parts.slots.form));
    await this.#parts.runner.prepareHead(weights);
    await this.#parts.slots.prepare(weights);
  }

  /**
   * Creates the sessions of adapters on all linears and runs one, so that the first request waits neither for sessions nor for
   * code, memory and threads that a first run needs. Then prepares the adapters that were loaded meanwhile, the widest first.
   */
  async prepareAdapters(loading?: Promise<readonly AdapterWeights[]>): Promise<void> {
    const [form] = this.#likelyForms;
    if (!form) return;
    await this.#parts.runner.prepare(form);
    const loaded = (await loading) ?? [];
    const weights = loaded[0] ?? adapterOfZeros(this.config);
    if (!this.canAttach([weights])) return;
    this.attachAdapter(weights);
    const batch = { kind: 'prefill', slot: 0 as SlotId, adapter: weights.digest } as const;
    const tokenIds = [0, 0].slice(0, this.info.maxSeqLength);
    await this.run({ ...batch, tokenIds, pastLength: 0, sampler: undefined, scoring: undefined });
    this.zeroSlot(batch.slot);
    this.detachAdapter(weights.digest);
    if (loaded.length === 0) this.#parts.slots.reset();
    for (const other of loaded) await this.prepareFor(other);
  }

  /** Creates one session that likely adapters need, before there is one. Resolves with whether there are more to create. */
  async prepareAhead(): Promise<boolean> {
    return this.#parts.runner.prepareOne(this.#likelyForms);
  }

  /** On all linears, then with peft's default targets, and with the head if heads are expected. None on a device. */
  get #likelyForms(): AdapterForm[] {
    const { sessions, slots, expectsHeads } = this.#parts;
    if (sessions.memory.weightsAs === 'inputs') return [];
    const all = targetNames(this.config);
    const likely: AdapterShape[] = [all, all.slice(0, 1)].map((targets) => ({ ...LORA, targets }));
    if (expectsHeads) likely.push({ ...LORA, targets: all, parts: ['head'] });
    return likely.map((shape) => formOf([shape], slots.form));
  }

  /** Creates the sessions that embeddings of the base or of an adapter need. */
  async prepareEmbeddings(weights?: AdapterWeights): Promise<void> {
    const form = weights && formOf([weights], this.#parts.slots.form);
    await this.#parts.runner.prepare(form, 'hidden');
  }

  /** Whether these adapters fit together if nothing else is attached. */
  canAttach(adapters: readonly AdapterShape[]): boolean {
    return this.#parts.slots.canHold(adapters);
  }

  /** Throws `ServeError` if the adapter does not fit. Attached adapters are unaffected. */
  attachAdapter(weights: AdapterWeights): void {
    this.#parts.slots.attach(weights);
  }

  detachAdapter(key: AdapterKey): void {
    this.#parts.slots.detach(key);
  }

  attachedAdapters(): AdapterKey[] {
    return this.#parts.slots.keys();
  }

  /** Copies the first `length` positions of a KV slot. */
  moveSlot(from: SlotId, to: SlotId, length: number): void {
    this.#parts.cache.move(from, to, length);
  }

  zeroSlot(slot: SlotId): void {
    this.#parts.cache.zero(slot);
  }

  async run(batch: Batch): Promise<BatchResult> {
    this.#parts.slots.noteRun();
    return batch.kind === 'prefill' ? this.#prefill(batch) : this.#decode.run(batch);
  }

  /**
   * Runs the last chunks of several prompts together, whose slots are adjacent. Shorter ones are padded with tokens after their
   * ends. Returns what is drawn for each, or undefined if one is not finite and all have to run alone, because nothing was
   * drawn. Absent if the runtime's operators compute the base, which take one sequence.
   */
  get runTogether():
    | ((batches: readonly PrefillBatch[]) => Promise<RowResult[][] | undefined>)
    | undefined {
    return this.#parts.sessions.usesOwnOperators
      ? (batches) => this.#prefillTogether(batches)
      : undefined;
  }

  async #prefillTogether(batches: readonly PrefillBatch[]): Promise<RowResult[][] | undefined> {
    this.#parts.slots.noteRun();
    const length = largest(batches.map(({ tokenIds }) => tokenIds.length));
    const rows = await this.#parts.runner.run({
      tokenIds: batches.flatMap(({ tokenIds }) =>
        Array.from({ length }, (_, i) => tokenIds[i] ?? tokenIds.at(-1)!),
      ),
      firstSlot: batches[0]!.slot,
      pastLengths: batches.map(({ pastLength }) => pastLength),
      logitRows: batches.map(({ tokenIds }, i) => i * length + tokenIds.length - 1),
      slots: batches.map(({ adapter }) => this.#parts.slots.slotOf(adapter)),
    });
    if (!rows.every(isFiniteRow)) return undefined; // a token of the padding may be at fault
    return rows.map((row, i) => sampledAll(batches[i]!.sampler!, [row]));
  }

  /** Makes the current run reject. Does nothing if there is none. */
  terminate(): void {
    this.#parts.runner.terminate();
  }

  async release(): Promise<void> {
    await this.#parts.sessions.release();
  }

  async #prefill(batch: PrefillBatch): Promise<BatchResult> {
    const { scoring, sampler, slot, pastLength, pooler, forcedIds = [] } = batch;
    const tokenIds = [...batch.tokenIds, ...forcedIds];
    const last = batch.tokenIds.length - 1;
    const slots = [this.#parts.slots.slotOf(batch.adapter)];
    const input = { tokenIds, firstSlot: slot, pastLengths: [pastLength], slots };
    if (pooler) {
      const logitRows = pooler.rowsOf(tokenIds.length);
      const hidden = await this.#parts.runner.runHidden({ ...input, logitRows });
      if (!hidden.every((row) => row.every(Number.isFinite))) return this.#failPrefill(slot);
      pooler.add(hidden);
      return { rows: [], promptLogprobs: [] };
    }
    const logitRows = tokenIds.map((_, row) => row).slice(scoring ? 0 : last);
    const rows = await this.#parts.runner.run({ ...input, logitRows });
    // Checked after every chunk of a prompt: an int8 cache would hide this chunk's NaN from the next one.
    if (!rows.every(isFiniteRow)) return this.#failPrefill(slot);
    return {
      rows: sampler ? [sampledAll(sampler, rows.slice(-1 - forcedIds.length))] : [],
      promptLogprobs: scoring ? scorePrompt(rows, scoring) : [],
    };
  }

  #failPrefill(slot: SlotId): BatchResult {
    this.zeroSlot(slot);
    return { rows: [[{ ok: false, reason: 'non_finite' }]], promptLogprobs: [] };
  }
}

function openPrefixCache(
  { positions }: KvCache,
  served: string,
  { prefixCacheBytes: capacityBytes = 0, recordsPrefixes: recordsEvents }: EngineOptions,
): PrefixCache | undefined {
  if (!positions || capacityBytes === 0) return undefined;
  return new PrefixCache({ positions, served, capacityBytes, recordsEvents });
}

function scorePrompt(
  rows: readonly LogitsRow[],
  { nextIds, topLogprobs, targetIds }: NonNullable<PrefillBatch['scoring']>,
): TokenLogprob[] {
  const scores: TokenLogprob[] = [];
  nextIds.forEach((id, i) => {
    if (id === undefined) return;
    const row = rows[i]!;
    const targets = targetIds?.[i]?.map((target) => {
      const { logprob } = scoreToken(row, target, 0);
      return { id: target, logprob, rank: tokenRank(row, target) };
    });
    const scored = { ...scoreToken(row, id, topLogprobs), rank: tokenRank(row, id) };
    scores.push({ ...scored, ...(targets && { targets }) });
  });
  return scores;
}

/** Pages of the cache are allocated only as sequences grow, so a cache that can never fit must be refused at the start. */
function checkMemory(cacheBytes: number, { slotCount, maxSeqLength }: EngineOptions): void {
  const { bytes, source } = memoryLimit();
  if (cacheBytes <= bytes) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new ConfigError(
    `--slots, --max-seq: a KV cache of ${slotCount} x ${maxSeqLength} positions takes up to ` +
      `${gib(cacheBytes)}, but the memory limit is ${gib(bytes)} (${source}). ` +
      'Lower --slots or --max-seq, or raise the memory limit.',
  );
}
