// Adapter slots: the weights of the attached adapters as operands of batched matmuls, one slot each, taken from
// the front without gaps so that a range of slots is an operand without a copy. Slot 0 is zeros, for rows
// without an adapter. Attaching and detaching happen between runs; the copying that they need happens beside the
// runs where it was asked for beforehand, in slots that no run reads.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { TargetName } from '../model/target-modules.ts';
import { ZERO_SLOT } from './adapter-groups.ts';
import type { AdapterKey } from './batch.ts';
import { HOST_MEMORY } from './host-memory.ts';
import { coveringTargets } from './lora-profiles.ts';
import type { ModelMemory } from './model-memory.ts';
import {
  type AdapterOperand,
  allocateOperands,
  SlotBlock,
  type SlotOperand,
} from './slot-block.ts';
import { formOf, isSameForm, type SlotForm, slotBytes } from './slot-form.ts';

export interface AdapterSlotsOptions {
  /** Adapters that can be attached at once. */
  readonly capacity: number;
  /** Of the slots in use: every slot is as wide as the widest adapter needs. */
  readonly capacityBytes: number;
}

/** Detached adapters of a larger rank leave slots that are too wide; so many runs later they are narrowed. */
const RUNS_BEFORE_NARROWING = 64;
/** Copied between two turns of the event loop: under a millisecond. */
const PIECE_BYTES = 2 ** 18;

export class AdapterSlots {
  readonly #config: DecoderConfig;
  readonly #options: AdapterSlotsOptions;
  readonly #memory: ModelMemory;
  /** Bytes of a slot by form, as there are few: asked for at every turn of a waiting adapter. */
  readonly #slotBytes = new Map<string, number>();
  /** Index = slot; slot 0 is the zero slot. */
  readonly #attached: (AdapterWeights | undefined)[] = [undefined];
  #block: SlotBlock;
  /** Of another form, being filled beside the runs to take the place of `#block`. */
  #next: SlotBlock | undefined;
  /** Runs since it was begun: it is let go of where nobody came to use it. */
  #nextRuns = 0;
  #isNarrowing = false;
  /** The slot that is being written beside the runs. Whoever needs it takes it away. */
  #writing: { readonly block: SlotBlock; readonly slot: number } | undefined;
  /** Preparations go one after the other. */
  #lastPreparation: Promise<void> = Promise.resolve();
  #tooWideRuns = 0;
  #version = 0;
  /** Were in use: bindings may have them bound. */
  #retired: SlotBlock[] = [];

  constructor(
    config: DecoderConfig,
    options: AdapterSlotsOptions,
    memory: ModelMemory = HOST_MEMORY,
  ) {
    this.#config = config;
    this.#options = options;
    this.#memory = memory;
    this.#block = new SlotBlock({ rank: 0, targets: [] }, [], memory.createSlots(1));
  }

  /** The linears that the operands cover; a graph's layout must be of the same. */
  get targets(): readonly TargetName[] {
    return this.#block.form.targets;
  }

  /** Slots in use, the zero slot included. */
  get usedSlots(): number {
    return this.#attached.length;
  }

  /** Changes whenever operands are made anew: what was bound before is stale. */
  get version(): number {
    return this.#version;
  }

  /** Where a range of several slots may begin at the latest. */
  get lastRangeStart(): number {
    return this.#memory.rangesBegin === 'anywhere' ? 1 : ZERO_SLOT;
  }

  /** Gives back the memory of stale operands. No binding may have them bound any more. */
  releaseStale(): void {
    for (const block of this.#retired.splice(0)) block.release();
  }

  keys(): AdapterKey[] {
    return this.#attached.slice(1).map((weights) => weights!.digest);
  }

  slotOf(key: AdapterKey | undefined): number {
    if (key === undefined) return ZERO_SLOT;
    const slot = this.#attached.findIndex((weights) => weights?.digest === key);
    assert(slot > 0, 'the adapter is attached');
    return slot;
  }

  /** Whether these, and nothing else, could be attached at once. */
  canHold(adapters: readonly Pick<AdapterWeights, 'rank' | 'targets'>[]): boolean {
    return this.#fits(formOf(adapters), adapters.length + 1);
  }

  /**
   * Throws `ServeError` where the slots would take more memory than they may: `adapter_invalid` where this
   * adapter alone does, else `overloaded`. What throws attaches nothing and changes nothing.
   */
  attach(weights: AdapterWeights): void {
    assert(!this.keys().includes(weights.digest), 'an adapter is attached once');
    assert(this.#attached.length <= this.#options.capacity, 'an adapter slot is free');
    const form = this.#formWith(weights);
    if (!form) throw this.#noRoom(weights);
    if (!isSameForm(form, this.#block.form)) this.#changeForm(form);
    this.#fill(this.#attached.length, weights);
    this.#attached.push(weights);
  }

  /**
   * Copies beside the runs what attaching this adapter would copy between them. What was detached or attached
   * meanwhile is made good when it is attached. Without effect where there is no room or no memory.
   */
  prepare(weights: AdapterWeights): Promise<void> {
    return this.#beside(() => this.#prepare(weights));
  }

  /** Frees a slot; the last one moves into it. */
  detach(key: AdapterKey): void {
    const slot = this.slotOf(key);
    const last = this.#attached.pop()!;
    if (slot === this.#attached.length) return;
    this.#attached[slot] = last;
    this.#block.move(this.#attached.length, slot);
  }

  /** To be called once per run: narrows slots that have been too wide for long, when narrow ones are ready. */
  noteRun(): void {
    if (this.#next && ++this.#nextRuns > RUNS_BEFORE_NARROWING) this.#letGoOfNext();
    if (this.#attached.length === 1) return;
    const least = formOf(this.#adapters());
    this.#tooWideRuns = isSameForm(least, this.#block.form) ? 0 : this.#tooWideRuns + 1;
    if (this.#tooWideRuns < RUNS_BEFORE_NARROWING) return;
    const isReady = this.#next && isSameForm(this.#next.form, least) && this.#isCopied(this.#next);
    if (isReady) this.#changeForm(least);
    else if (!this.#isNarrowing) void this.#narrow(least);
  }

  /** The operands over `count` slots from `first` on: one, or several from `lastRangeStart` at the latest. */
  range(first: number, count: number): readonly AdapterOperand[] {
    return this.#block.range(first, count);
  }

  #adapters(): AdapterWeights[] {
    return this.#attached.slice(1) as AdapterWeights[];
  }

  #fits(form: SlotForm, count: number): boolean {
    const id = `${form.rank}:${form.targets.length}`;
    const bytes = this.#slotBytes.get(id) ?? slotBytes(this.#config, form);
    this.#slotBytes.set(id, bytes);
    return count * bytes <= this.#options.capacityBytes;
  }

  #noRoom(weights: AdapterWeights): ServeError {
    const { rank } = weights;
    return this.canHold([weights])
      ? new ServeError('overloaded', `adapters in use leave no room for one of rank ${rank}`)
      : new ServeError('adapter_invalid', `adapter refused: rank ${rank} takes too much memory`);
  }

  /** As wide as now and as this adapter needs, or no wider than needed where that is too much; undefined: no room. */
  #formWith(weights: AdapterWeights): SlotForm | undefined {
    const { form } = this.#block;
    const least = formOf([...this.#adapters(), weights]);
    const widest = {
      rank: Math.max(form.rank, least.rank),
      targets: coveringTargets([...form.targets, ...least.targets]),
    };
    return [widest, least].find((one) => this.#fits(one, this.#attached.length + 1));
  }

  async #prepare(weights: AdapterWeights): Promise<void> {
    if (this.#attached.some((attached) => attached?.digest === weights.digest)) return;
    const form = this.#formWith(weights);
    if (!form) return;
    const block = await this.#blockOf(form);
    if (block.find(weights, this.#attached.length) !== undefined) return;
    const slot = this.#freeSlot(block);
    if (slot !== undefined) await this.#writeBeside(block, slot, weights);
  }

  /** The block of that form: as it is, or one with what is attached now. */
  async #blockOf(form: SlotForm): Promise<SlotBlock> {
    if (isSameForm(form, this.#block.form)) return this.#block;
    const isBegun = this.#next && isSameForm(this.#next.form, form);
    const next = isBegun ? this.#next! : await this.#createBlockBeside(form);
    if (this.#next !== next) this.#letGoOfNext();
    this.#next = next;
    this.#nextRuns = 0;
    for (let slot = 1; slot < this.#attached.length; slot++) {
      const weights = this.#attached[slot]!;
      if (!next.holds(slot, weights)) await this.#writeBeside(next, slot, weights);
    }
    return next;
  }

  async #narrow(form: SlotForm): Promise<void> {
    this.#isNarrowing = true;
    await this.#beside(() => this.#blockOf(form));
    this.#isNarrowing = false;
  }

  /** After what is being prepared. What fails here fails again, and is told, when it is attached. */
  #beside(preparation: () => Promise<unknown>): Promise<void> {
    const done = () => {};
    this.#lastPreparation = this.#lastPreparation.then(preparation).then(done, done);
    return this.#lastPreparation;
  }

  /** Beyond those in use: one that holds nothing, else the last that memory allows. */
  #freeSlot(block: SlotBlock): number | undefined {
    let last: number | undefined;
    for (let slot = this.#attached.length; slot <= this.#options.capacity; slot++) {
      if (!this.#fits(block.form, slot + 1)) break;
      if (block.isEmpty(slot)) return slot;
      last = slot;
    }
    return last;
  }

  async #writeBeside(block: SlotBlock, slot: number, weights: AdapterWeights): Promise<void> {
    const writing = { block, slot };
    this.#writing = writing;
    let bytes = 0;
    for (const written of block.writing(slot, weights)) {
      bytes += written;
      if (bytes < PIECE_BYTES) continue;
      bytes = 0;
      await nextTurn();
      if (this.#writing !== writing) return;
    }
    this.#writing = undefined;
  }

  /** Makes a slot hold the adapter, now: with what was prepared, or by copying it. */
  #fill(slot: number, weights: AdapterWeights): void {
    const block = this.#block;
    if (block.holds(slot, weights)) return;
    if (this.#writing?.block === block && this.#writing.slot === slot) this.#writing = undefined;
    const prepared = block.find(weights, slot + 1);
    if (prepared === undefined) block.write(slot, weights);
    else block.move(prepared, slot);
  }

  /** The slots of the next form take the place of those now; what is not copied yet is. */
  #changeForm(form: SlotForm): void {
    const isPrepared = this.#next && isSameForm(this.#next.form, form);
    const block = isPrepared ? this.#next! : this.#createBlock(form);
    if (isPrepared) this.#next = undefined;
    else this.#letGoOfNext();
    this.#retired.push(this.#block);
    this.#block = block;
    this.#tooWideRuns = 0;
    this.#version++;
    for (let slot = 1; slot < this.#attached.length; slot++) {
      this.#fill(slot, this.#attached[slot]!);
    }
  }

  #isCopied(block: SlotBlock): boolean {
    return this.#attached.every((weights, slot) => !weights || block.holds(slot, weights));
  }

  /** It was never bound. Whoever is writing to it stops. */
  #letGoOfNext(): void {
    if (this.#writing?.block === this.#next) this.#writing = undefined;
    this.#next?.release();
    this.#next = undefined;
  }

  async #createBlockBeside(form: SlotForm): Promise<SlotBlock> {
    const tensors = this.#memory.createSlots(this.#options.capacity + 1);
    const operands: SlotOperand[] = [];
    for (const operand of allocateOperands(this.#config, form, tensors)) {
      operands.push(operand);
      await nextTurn();
    }
    return new SlotBlock(form, operands, tensors);
  }

  #createBlock(form: SlotForm): SlotBlock {
    const tensors = this.#memory.createSlots(this.#options.capacity + 1);
    return new SlotBlock(form, [...allocateOperands(this.#config, form, tensors)], tensors);
  }
}
