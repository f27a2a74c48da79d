// An engine without a model, in virtual time. The next token is a hash of what is in the KV slot and of the adapter's
// weights, so a row that reads a wrong slot, misses a token or runs with wrong weights gets other tokens.

import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import type { EngineInfo } from '../../src/contracts/engine.ts';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type {
  AdapterKey,
  Batch,
  BatchResult,
  DecodeBatch,
  PrefillBatch,
  RowResult,
  SlotId,
  TokenSource,
} from '../../src/engine/batch.ts';
import type { KvPositions } from '../../src/engine/kv-cache.ts';
import { PrefixCache, type PrefixChain } from '../../src/engine/prefix/prefix-cache.ts';
import type { StepEngine, StepPrefixes } from '../../src/scheduler/options.ts';
import { codeOfWeights } from './adapters.ts';
import type { Machine } from './clock.ts';
import type { Reporter } from './parts.ts';

const VOCAB_SIZE = 1000;

/** What a position of the KV cache depends on. */
interface Position {
  readonly token: number;
  /** The content of the adapter; 0 for the base. */
  readonly code: number;
}

interface Slot {
  positions: Position[];
  /** The sampler of the sequence that the prompt was prefilled for. */
  owner: TokenSource | undefined;
  /** Values that are not finite may be there. */
  isDirty: boolean;
}

/** How engines of the world are built. */
export const ENGINE = {
  slotCount: 4,
  reservedSlots: 1,
  maxSeqLength: 96,
  maxAdapters: 2,
  blockCount: 12,
} as const;

/** Faults of the next runs. */
export interface EngineFaults {
  /** Decode rows that will not be finite. */
  nanRows: number;
  /** Runs that throw. */
  throws: number;
  /** Runs that take twenty times as long. */
  slowRuns: number;
  /** The next run of several rows hangs until it is terminated, or the next run of any kind cannot be terminated either. */
  hang: 'no' | 'hang' | 'wedge';
}

function nextToken(context: readonly Position[], code: number): number {
  let hash = 0x811c9dc5;
  const mix = (value: number) => {
    hash = Math.imul(hash ^ value, 0x01000193) >>> 0;
  };
  mix(code + 7);
  for (const position of context) {
    mix(position.token);
    mix(position.code);
  }
  return (hash >>> 8) % VOCAB_SIZE;
}

/** The tokens of a request that runs alone. */
export function referenceTokens(
  { promptIds, maxTokens, stopTokenIds }: GenerationRequest,
  code: number,
): number[] {
  const context = promptIds.map((token): Position => ({ token, code }));
  const tokens: number[] = [];
  while (tokens.length < maxTokens) {
    const token = nextToken(context, code);
    if (stopTokenIds.includes(token)) break;
    tokens.push(token);
    context.push({ token, code });
  }
  return tokens;
}

/** The engine of one process. */
export class VirtualEngine implements StepEngine {
  readonly info: EngineInfo = {
    vocabSize: VOCAB_SIZE,
    maxSeqLength: ENGINE.maxSeqLength,
    slotCount: ENGINE.slotCount,
    provider: 'virtual',
    weights: 'none',
    kv: 'none',
    int8Operator: null,
    fingerprint: 'ffffffff',
  };
  readonly faults: EngineFaults = { nanRows: 0, throws: 0, slowRuns: 0, hang: 'no' };
  /** Whether it has been slow or stuck. */
  wasFaulty = false;
  /** Rows that were not finite so far. */
  nanCount = 0;
  readonly prefixes: StepPrefixes;
  readonly #slots: Slot[];
  readonly #attached = new Map<AdapterKey, number>();
  readonly #machine: Machine;
  readonly #reporter: Reporter;
  #terminate = () => {};
  /** The end of the last run, if its rows go on. */
  #idleSinceMs: number | undefined;
  /** What the blocks of the prefix cache that is being saved or restored depend on. */
  prefixTag = '';

  constructor(machine: Machine, reporter: Reporter) {
    this.#machine = machine;
    this.#reporter = reporter;
    this.#slots = Array.from({ length: ENGINE.slotCount }, () => emptySlot());
    this.prefixes = this.#createPrefixes();
  }

  async run(batch: Batch): Promise<BatchResult> {
    this.#check(batch);
    try {
      await this.#takeTime(batch);
      return batch.kind === 'prefill' ? this.#prefill(batch) : this.#decode(batch);
    } finally {
      this.#idleSinceMs = this.#machine.now();
    }
  }

  terminate(): void {
    if (this.faults.hang !== 'wedge') this.#terminate();
  }

  moveSlot(from: SlotId, to: SlotId, length: number): void {
    const slot = this.#slots[from]!;
    this.#slots[to] = { ...slot, positions: slot.positions.slice(0, length) };
  }

  zeroSlot(slot: SlotId): void {
    this.#slots[slot] = emptySlot();
  }

  async prepareFor(): Promise<void> {}
  async prepareEmbeddings(): Promise<void> {}

  async prepareAhead(): Promise<boolean> {
    return false;
  }

  canAttach(adapters: readonly AdapterWeights[]): boolean {
    return adapters.length <= ENGINE.maxAdapters;
  }

  attachAdapter(weights: AdapterWeights): void {
    const { digest } = weights;
    const code = codeOfWeights(weights);
    if (code === undefined) this.#reporter.violated('I06', `${digest} is a mixture of adapters`);
    this.#attached.set(digest, code ?? -1);
    if (this.#attached.size <= ENGINE.maxAdapters) return;
    this.#reporter.violated(
      'I06',
      `${this.#attached.size} adapters in ${ENGINE.maxAdapters} slots`,
    );
  }

  detachAdapter(key: AdapterKey): void {
    this.#attached.delete(key);
  }

  /** The adapters in slots. */
  get attached(): AdapterKey[] {
    return [...this.#attached.keys()];
  }

  /** Call it when no row goes on after a step, so that a pause before the next run is allowed. */
  rested(): void {
    this.#idleSinceMs = undefined;
  }

  async release(): Promise<void> {}

  async #takeTime(batch: Batch): Promise<void> {
    const { faults } = this;
    const tokens = batch.kind === 'prefill' ? batch.tokenIds.length : batch.rows.length;
    const isSlow = faults.slowRuns > 0;
    if (isSlow) faults.slowRuns--;
    const ms = (8 + tokens / 4) * (isSlow ? 20 : 1);
    const isOfSeveral = batch.kind === 'decode' && batch.rows.length > 1;
    const isHanging = faults.hang === 'wedge' || (faults.hang === 'hang' && isOfSeveral);
    this.wasFaulty ||= isSlow || isHanging;
    await new Promise<void>((resolve, reject) => {
      const cancel = isHanging ? () => {} : this.#machine.schedule(ms, resolve);
      this.#terminate = () => {
        cancel();
        this.#interrupt(batch);
        faults.hang = 'no';
        reject(new Error('terminated'));
      };
    });
    this.#terminate = () => {};
    if (faults.throws === 0) return;
    faults.throws--;
    this.#spoil(batch);
    throw new Error('a run failed');
  }

  /** A run that is terminated leaves anything behind the tokens that it has found. */
  #interrupt(batch: Batch): void {
    const rows = batch.kind === 'prefill' ? [batch] : batch.rows;
    for (const [i, { pastLength }] of rows.entries()) {
      const { positions } = this.#slots[batch.kind === 'prefill' ? batch.slot : i]!;
      positions.splice(pastLength, positions.length, { token: -1, code: -1 });
    }
  }

  /** After a failed run, its slots may hold anything. */
  #spoil(batch: Batch): void {
    const slots = batch.kind === 'prefill' ? [batch.slot] : batch.rows.keys();
    for (const slot of slots) this.#slots[slot] = { ...emptySlot(), isDirty: true };
  }

  #check(batch: Batch): void {
    const { violated } = this.#reporter;
    const pauseMs = this.#machine.now() - (this.#idleSinceMs ?? this.#machine.now());
    if (pauseMs > 1) violated('I12', `a step waited ${pauseMs} ms while rows were running`);
    const rows = batch.kind === 'prefill' ? [batch] : batch.rows;
    for (const [i, row] of rows.entries()) {
      const index = batch.kind === 'prefill' ? batch.slot : i;
      const slot = this.#slots[index];
      if (!slot) {
        violated('I03', `there is no slot ${index}`);
        return;
      }
      const isOwner = batch.kind === 'prefill' || slot.owner === row.sampler;
      if (!isOwner) violated('I03', `slot ${index} belongs to another sequence`);
      if (slot.isDirty) violated('I04', `slot ${index} was not zeroed`);
      if (row.pastLength > slot.positions.length) {
        violated('I04', `slot ${index} is read beyond its ${slot.positions.length} tokens`);
      }
      if (row.adapter !== undefined && !this.#attached.has(row.adapter)) {
        violated('I06', `${row.adapter} is not in a slot`);
      }
    }
  }

  #prefill({ slot: index, adapter, tokenIds, pastLength, sampler }: PrefillBatch): BatchResult {
    const slot = this.#slots[index]!;
    this.#write(slot, pastLength, tokenIds, adapter);
    slot.owner = sampler;
    return { rows: sampler ? [[this.#token(index, adapter)]] : [], promptLogprobs: [] };
  }

  #decode({ rows }: DecodeBatch): BatchResult {
    const results = rows.map(({ adapter, tokenId, pastLength }, i) => {
      this.#write(this.#slots[i]!, pastLength, [tokenId], adapter);
      return [this.#row(i, adapter, rows.length)];
    });
    return { rows: results, promptLogprobs: [] };
  }

  #write(slot: Slot, pastLength: number, ids: readonly number[], adapter: AdapterKey | undefined) {
    const code = this.#codeOf(adapter);
    const written = ids.map((token): Position => ({ token, code }));
    slot.positions.splice(pastLength, slot.positions.length, ...written);
  }

  /** A row that is not finite has neighbours: there it can do harm. */
  #row(index: number, adapter: AdapterKey | undefined, rowCount: number): RowResult {
    if (this.faults.nanRows > 0 && rowCount > 1) {
      this.faults.nanRows--;
      this.nanCount++;
      this.#slots[index] = emptySlot();
      return { ok: false, reason: 'non_finite' };
    }
    return this.#token(index, adapter);
  }

  #token(index: number, adapter: AdapterKey | undefined): RowResult {
    return { ok: true, id: nextToken(this.#slots[index]!.positions, this.#codeOf(adapter)) };
  }

  #codeOf(adapter: AdapterKey | undefined): number {
    return adapter === undefined ? 0 : (this.#attached.get(adapter) ?? -1);
  }

  /** The real cache over this engine's slots. A position has 16 bytes: token, adapter, and a tag of who saved it. */
  #createPrefixes(): StepPrefixes {
    const tags: string[] = [];
    const tagNumber = () => {
      if (!tags.includes(this.prefixTag)) tags.push(this.prefixTag);
      return tags.indexOf(this.prefixTag);
    };
    const positions = {
      type: 'int8',
      byteSize: 16,
      read: (slot: SlotId, start: number, into: Uint8Array) => {
        const values = new Float32Array(into.buffer, into.byteOffset, into.byteLength / 4);
        for (let i = 0; i < values.length / 4; i++) {
          const { token, code } = this.#slots[slot]!.positions[start + i]!;
          values.set([token, code, tagNumber(), 0], 4 * i);
        }
      },
      write: (slot: SlotId, start: number, from: Uint8Array) => {
        const values = new Float32Array(from.buffer, from.byteOffset, from.byteLength / 4);
        const restored: Position[] = [];
        for (let i = 0; i < values.length; i += 4) {
          restored.push({ token: values[i]!, code: values[i + 1]! });
          if (tags[values[i + 2]!] === this.prefixTag) continue;
          const message = `a prefix of ${tags[values[i + 2]!]} is used for ${this.prefixTag}`;
          this.#reporter.violated('I23', message);
        }
        const target = this.#slots[slot]!;
        if (start === 0) this.#slots[slot] = { ...target, owner: undefined, positions: restored };
        else target.positions.splice(start, target.positions.length, ...restored);
      },
    } as unknown as KvPositions;
    const capacityBytes = ENGINE.blockCount * 16 * positions.byteSize;
    return new PrefixCache({ positions, served: 'virtual', capacityBytes });
  }
}

/** Has an engine check whose prefixes are restored. `prefixes` are those that the loop sees. */
export function watchPrefixes(prefixes: StepPrefixes, engine: VirtualEngine): StepPrefixes {
  const tagOf = new WeakMap<PrefixChain, string>();
  return {
    chainOf(user, promptIds) {
      const chain = prefixes.chainOf(user, promptIds);
      // By content: a tenant may publish what others share with it.
      const contents = user.adapter?.parts.map(({ digest }) => digest.slice(0, 8)) ?? ['base'];
      tagOf.set(chain, `${user.scope} with ${contents.join('+')}`);
      return chain;
    },
    save(chain, tokenIds, slot) {
      engine.prefixTag = tagOf.get(chain)!;
      prefixes.save(chain, tokenIds, slot);
    },
    restore(chain, length, slot) {
      engine.prefixTag = tagOf.get(chain)!;
      prefixes.restore(chain, length, slot);
    },
    cachedTokens: (chain) => prefixes.cachedTokens(chain),
    forget: (chain) => prefixes.forget(chain),
    takeEvents: () => prefixes.takeEvents(),
    stats: () => prefixes.stats(),
  };
}

function emptySlot(): Slot {
  return { positions: [], owner: undefined, isDirty: false };
}
