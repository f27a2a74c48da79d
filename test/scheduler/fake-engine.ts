// An engine without a model. The next token is a hash of the content of the KV slot and of the adapter, so a row that
// reads a wrong slot, misses a token or uses a wrong adapter gets other tokens.

import type { Lease, LeaseOptions } from '../../adapters/cache/cache.ts';
import { type AdapterWeights, toWeights } from '../../adapters/peft/weights.ts';
import type { EngineInfo } from '../../src/contracts/engine.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import {
  type GenerationRequest,
  GREEDY,
  type TokenLogprob,
} from '../../src/contracts/generation.ts';
import {
  type AdapterKey,
  type Batch,
  type BatchResult,
  type DecodeBatch,
  type DecodeRow,
  PartialDecode,
  type PrefillBatch,
  type RowResult,
  type SlotId,
} from '../../src/engine/batch.ts';
import type { AdapterLeases } from '../../src/scheduler/leases.ts';
import type { StepEngine, StepPrefixes } from '../../src/scheduler/options.ts';

const VOCAB_SIZE = 50;
/** The digest of an adapter whose rows are never finite. */
export const POISON = 'poison';

function nextToken(context: readonly number[], adapter: AdapterKey | undefined): number {
  let hash = 0x811c9dc5;
  const mix = (value: number) => {
    hash = Math.imul(hash ^ value, 0x01000193) >>> 0;
  };
  for (const char of adapter ?? '') mix(char.charCodeAt(0) + 1000);
  for (const token of context) mix(token);
  return (hash >>> 8) % VOCAB_SIZE;
}

/** The reference: one sequence, alone, token by token. */
export function referenceTokens(
  { promptIds, maxTokens, stopTokenIds }: GenerationRequest,
  adapter: AdapterKey | undefined,
): number[] {
  const tokens: number[] = [];
  while (tokens.length < maxTokens) {
    const token = nextToken([...promptIds, ...tokens], adapter);
    if (stopTokenIds.includes(token)) break;
    tokens.push(token);
  }
  return tokens;
}

export function referencePromptLogprobs(
  promptIds: readonly number[],
  adapter: AdapterKey | undefined,
): TokenLogprob[] {
  return promptIds.slice(1).map((id, i) => scoreOf(promptIds.slice(0, i + 1), id, adapter));
}

export function request(
  promptIds: readonly number[],
  rest: Partial<GenerationRequest> = {},
): GenerationRequest {
  return { promptIds, maxTokens: 4, stopTokenIds: [], sampling: GREEDY, ...rest };
}

function scoreOf(context: readonly number[], id: number, adapter: AdapterKey | undefined) {
  return { id, logprob: -(nextToken(context, adapter) + id) / 10, top: [] };
}

export class FakeEngine implements StepEngine {
  /** What `prepareAhead` has left to do. Each call takes a piece. */
  piecesAhead = 3;
  readonly info: EngineInfo;
  /** The tokens in each slot. Those past the length of a row are stale. */
  readonly slots: number[][];
  readonly attached = new Set<AdapterKey>();
  /** Awaited by each run before it starts. */
  beforeRun: (batch: Batch) => Promise<void> | void = () => {};
  /** Awaited before each row of a decode with drafts, whose rows run one after the other. */
  beforeRow: (slot: SlotId) => Promise<void> | void = () => {};
  isReleased = false;
  #terminate: () => void = () => {};
  /** Set by tests that cache prefixes. */
  prefixes: StepPrefixes | undefined;
  /** Set by tests whose prompts run together. */
  runTogether: StepEngine['runTogether'];
  maxRanks = Number.POSITIVE_INFINITY;

  constructor(info: Partial<EngineInfo> = {}) {
    this.info = {
      vocabSize: VOCAB_SIZE,
      maxSeqLength: 64,
      slotCount: 4,
      provider: 'fake',
      weights: 'none',
      kv: 'none',
      int8Operator: null,
      fingerprint: 'ffffffff',
      ...info,
    };
    this.slots = Array.from({ length: this.info.slotCount }, () => []);
  }

  async run(batch: Batch): Promise<BatchResult> {
    const terminated = new Promise<never>((_, reject) => {
      this.#terminate = () => reject(new Error('terminated'));
    });
    await Promise.race([this.beforeRun(batch), terminated]);
    const hasDrafts =
      batch.kind === 'decode' && batch.rows.some(({ draftIds }) => draftIds?.length);
    return hasDrafts ? this.#runRows(batch, terminated) : this.runNow(batch);
  }

  /** A row whose run is terminated has its tokens in the slot, but no results. */
  async #runRows({ rows: all }: DecodeBatch, terminated: Promise<never>): Promise<BatchResult> {
    const rows: RowResult[][] = [];
    for (const [slot, row] of all.entries()) {
      const results = this.#decode(slot, row);
      try {
        await Promise.race([this.beforeRow(slot as SlotId), terminated]);
      } catch (error) {
        throw new PartialDecode(rows, error);
      }
      rows.push(results);
    }
    return { rows, promptLogprobs: [] };
  }

  terminate(): void {
    this.#terminate();
  }

  runNow(batch: Batch): BatchResult {
    if (batch.kind === 'prefill') return this.#prefill(batch);
    const rows = batch.rows.map((row, slot) => this.#decode(slot, row));
    return { rows, promptLogprobs: [] };
  }

  moveSlot(from: SlotId, to: SlotId, length: number): void {
    this.slots[to] = this.slots[from]!.slice(0, length);
  }

  zeroSlot(slot: SlotId): void {
    this.slots[slot] = [];
  }

  async prepareFor(): Promise<void> {}
  async prepareEmbeddings(): Promise<void> {}

  async prepareAhead(): Promise<boolean> {
    this.piecesAhead--;
    return this.piecesAhead > 0;
  }

  /** Limits the sum of the ranks. The engine limits bytes. */
  canAttach(adapters: readonly Pick<AdapterWeights, 'rank'>[]): boolean {
    return adapters.reduce((sum, { rank }) => sum + rank, 0) <= this.maxRanks;
  }

  attachAdapter({ digest }: Pick<AdapterWeights, 'digest'>): void {
    if (this.attached.has(digest)) throw new Error(`${digest} is attached already`);
    this.attached.add(digest);
  }

  detachAdapter(key: AdapterKey): void {
    if (!this.attached.delete(key)) throw new Error(`${key} is not attached`);
  }

  async release(): Promise<void> {
    this.isReleased = true;
  }

  /** Writes all drafts before it knows which are right, as a model does. */
  #decode(slot: number, { adapter, tokenId, pastLength, draftIds = [] }: DecodeRow): RowResult[] {
    const context = this.#write(slot, pastLength, [tokenId, ...draftIds]);
    const results: RowResult[] = [];
    for (let length = pastLength + 1; length <= context.length; length++) {
      const result = this.#row(context.slice(0, length), adapter);
      results.push(result);
      if (!result.ok || result.id !== context[length]) break;
    }
    return results;
  }

  #prefill({ slot, adapter, tokenIds, pastLength, sampler, scoring }: PrefillBatch): BatchResult {
    const context = this.#write(slot, pastLength, tokenIds);
    const promptLogprobs = (scoring?.nextIds ?? []).flatMap((id, i) =>
      id === undefined ? [] : [scoreOf(context.slice(0, pastLength + i + 1), id, adapter)],
    );
    return { rows: sampler ? [[this.#row(context, adapter)]] : [], promptLogprobs };
  }

  /** Writes tokens at positions pastLength, pastLength + 1, … and returns all tokens that the row can read. */
  #write(slot: number, pastLength: number, tokenIds: readonly number[]): number[] {
    const tokens = this.slots[slot];
    if (!tokens) throw new Error(`there is no slot ${slot}`);
    tokens.splice(pastLength, tokens.length, ...tokenIds);
    return [...tokens];
  }

  #row(context: readonly number[], adapter: AdapterKey | undefined): RowResult {
    if (adapter !== undefined && !this.attached.has(adapter)) {
      throw new Error(`${adapter} is not attached`);
    }
    if (adapter === POISON) return { ok: false, reason: 'non_finite' };
    return { ok: true, id: nextToken(context, adapter) };
  }
}

/** Leases adapters of any digest except `missing`, and counts the held leases. */
export class FakeLeases implements AdapterLeases {
  held = 0;
  /** The invocations of activated adapters, by digest. */
  readonly invocations = new Map<string, readonly number[]>();
  /** The head of all adapters. */
  classifier: AdapterWeights['classifier'];
  waiting = 0;
  /** Awaited before a lease is returned. */
  beforeLease: (source: AdapterSource, options: LeaseOptions) => Promise<void> | void = () => {};

  async lease(source: AdapterSource, options: LeaseOptions): Promise<Lease> {
    const { signal } = options;
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => {}); // nobody may be left to hear of it
    this.waiting++;
    try {
      await Promise.race([this.beforeLease(source, options), aborted]);
    } finally {
      this.waiting--;
    }
    if (source.digest === 'missing') throw new Error('ENOENT: no such folder');
    this.held++;
    const { classifier } = this;
    const invocation = this.invocations.get(source.digest);
    const weights = {
      ...toWeights(source.digest, [], { invocation, classifier }),
      byteSize: 10,
    };
    const release = () => void this.held--;
    return { weights, tier: 'disk', loadMs: 3, release, [Symbol.dispose]: release };
  }

  resident(): string[] {
    return [];
  }

  stats() {
    const totals = { hits: 0, misses: 0, evictions: 0, loaded: 0, failed: 0, loading: 0 };
    const [bytes, adapters] = [10 * this.held, this.held];
    return { ...totals, bytes, adapters, leasedBytes: bytes, leasedCount: adapters };
  }
}

export { plainSource as source } from '../adapters/sources.ts';

/** Gives out weights that nobody has checked. */
export class ForcedLeases extends FakeLeases {
  readonly #weights: ReadonlyMap<string, AdapterWeights>;

  constructor(weights: readonly AdapterWeights[]) {
    super();
    this.#weights = new Map(weights.map((one) => [one.digest, one]));
  }

  override async lease(...args: Parameters<FakeLeases['lease']>) {
    const lease = await super.lease(...args);
    return { ...lease, weights: { ...this.#weights.get(args[0].digest)!, byteSize: 10 } };
  }
}
