// An engine without a model that generates what a test scripts. It draws with the real sampler, so logprobs, biases and
// penalties are real.

import { withResolvers } from '../../src/common/waiting.ts';
import type { EngineInfo } from '../../src/contracts/engine.ts';
import type { TokenLogprob } from '../../src/contracts/generation.ts';
import type {
  AdapterKey,
  Batch,
  BatchResult,
  DecodeRow,
  PrefillBatch,
  RowResult,
  SlotId,
  TokenSource,
} from '../../src/engine/batch.ts';
import type { StepEngine } from '../../src/scheduler/options.ts';

/** Token ids after a prompt; past its end the reply is `END`. */
export type Reply = (promptIds: readonly number[], adapter: AdapterKey | undefined) => number[];

/** The end-of-sequence token. */
export const END = 258;
export const VOCAB_SIZE = 260;

/** The hidden state of a token, for embeddings. */
export function hiddenOf(tokenId: number): Float32Array {
  return Float32Array.of(tokenId, 1, -2, 3);
}

export class ScriptedEngine implements StepEngine {
  readonly info: EngineInfo;
  readonly #reply: Reply;
  /** Slot → its prompt and how much of the reply is out. */
  readonly #slots = new Map<number, { promptIds: number[]; said: number }>();
  /** Awaited by each run. */
  beforeRun: (batch: Batch) => Promise<void> | void = () => {};

  constructor(reply: Reply, info: Partial<EngineInfo> = {}) {
    this.#reply = reply;
    this.info = {
      vocabSize: VOCAB_SIZE,
      maxSeqLength: 256,
      slotCount: 4,
      provider: 'none',
      weights: 'none',
      kv: 'none',
      int8Operator: null,
      fingerprint: 'ffffffff',
      ...info,
    };
  }

  /** Holds runs back, or those of one kind, until `release`. `held` resolves when the first one waits. */
  hold(kind?: Batch['kind']): { held: Promise<void>; release: () => void } {
    const held = withResolvers<void>();
    const released = withResolvers<void>();
    this.beforeRun = (batch) => {
      if (kind !== undefined && batch.kind !== kind) return undefined;
      held.resolve();
      return released.promise;
    };
    const release = () => {
      this.beforeRun = () => {};
      released.resolve();
    };
    return { held: held.promise, release };
  }

  /** Fails one run, the nth from now on. */
  failAt(nth: number): void {
    let runs = 0;
    this.beforeRun = () => {
      if (++runs === nth) throw new Error('native abort at /secret');
    };
  }

  async run(batch: Batch): Promise<BatchResult> {
    await this.beforeRun(batch);
    if (batch.kind === 'prefill') return this.#prefill(batch);
    const rows = batch.rows.map((row, slot) => this.#decode(slot, row));
    return { rows, promptLogprobs: [] };
  }

  moveSlot(from: SlotId, to: SlotId): void {
    this.#slots.set(to, this.#slots.get(from)!);
  }

  terminate(): void {}
  zeroSlot(): void {}
  async prepareFor(): Promise<void> {}
  async prepareEmbeddings(): Promise<void> {}

  async prepareAhead(): Promise<boolean> {
    return false;
  }
  canAttach(): boolean {
    return true;
  }
  attachAdapter(): void {}
  detachAdapter(): void {}
  async release(): Promise<void> {}

  #prefill(batch: PrefillBatch): BatchResult {
    const { slot, adapter, tokenIds, pastLength, sampler, scoring, pooler, forcedIds = [] } = batch;
    pooler?.add(pooler.rowsOf(tokenIds.length).map((row) => hiddenOf(tokenIds[row]!)));
    const before = pastLength === 0 ? [] : this.#slots.get(slot)!.promptIds;
    this.#slots.set(slot, { promptIds: [...before, ...tokenIds], said: 0 });
    const promptLogprobs = (scoring?.nextIds ?? []).flatMap((id, i): TokenLogprob[] => {
      const score = (one: number) => ({ id: one, logprob: -one / 1000 });
      const targets = scoring?.targetIds?.[i]?.map((one) => ({ ...score(one), rank: 1 }));
      const top = [{ id: 7, logprob: -0.25 }];
      return id === undefined ? [] : [{ ...score(id), top, ...(targets && { targets }) }];
    });
    const rows = sampler ? [this.#decode(slot, { adapter, sampler, forcedIds })] : [];
    return { rows, promptLogprobs };
  }

  #decode(slot: number, row: Omit<DecodeRow, 'tokenId' | 'pastLength'>): RowResult[] {
    const { adapter, sampler, draftIds = [], forcedIds = [] } = row;
    const results: RowResult[] = [];
    for (const guess of [...forcedIds, ...draftIds, undefined]) {
      const result = this.#row(slot, adapter, sampler);
      results.push(result);
      if (!result.ok || result.id !== guess || sampler.isComplete) break;
    }
    return results;
  }

  #row(slot: number, adapter: AdapterKey | undefined, sampler: TokenSource): RowResult {
    const state = this.#slots.get(slot)!;
    const logits = new Float32Array(this.info.vocabSize);
    logits[this.#reply(state.promptIds, adapter)[state.said++] ?? END] = 60;
    const token = sampler.sample({ logits });
    return token ? { ok: true, ...token } : { ok: false, reason: 'nothing_allowed' };
  }
}
