// Adapter slots: the weights of the attached adapters as operands, one slot per adapter. Slot 0 is zeros, for rows without an
// adapter. Adapters are attached and detached between runs. Most copying happens before that, in the background, to slots that
// no run reads. The runtime's operators read a range of slots, so those in use have no gaps. Our own operator reads the slot of
// each row, so an adapter that is detached stays in its slot until another needs it.
import type { AdapterShape, AdapterWeights } from '../../../adapters/peft/weights.ts';
import { assert } from '../../common/assert.ts';
import { exceedsSlotsError, MORE_SLOT_MEMORY, ServeError } from '../../common/errors.ts';
import type { DecoderConfig } from '../../model/config.ts';
import type { RowPacking } from '../../model/row-weights.ts';
import type { AdapterKey } from '../batch.ts';
import { HOST_MEMORY } from '../memory/host-memory.ts';
import type { ModelMemory } from '../memory/model-memory.ts';
import { ZERO_SLOT } from './adapter-groups.ts';
import { type AdapterOperand, BackgroundWriter, SlotBlock } from './slot-block.ts';
import { formOf, isSameForm, NO_FORM, type SlotForm, slotBytes } from './slot-form.ts';

/** The limits of the adapter slots. */
interface AdapterSlotsOptions {
  /** The most adapters that can be attached at the same time. */
  readonly capacity: number;
  /** Memory for the slots in use, in bytes. Every slot is as wide as the widest adapter needs. */
  readonly capacityBytes: number;
  /** The order of the base's linears, which the operands follow. Default: `plain`. */
  readonly packing?: RowPacking;
}

/**
 * A block of another form that is filled in the background to replace the current one. It is dropped if no run uses it for a
 * while.
 */
interface Replacement {
  readonly block: SlotBlock;
  unusedRuns: number;
}

/** How many runs pass before slots that are too wide are narrowed, and before an unused replacement is dropped. */
const PATIENCE_RUNS = 64;

/** The attached adapters and their operands. */
export class AdapterSlots {
  readonly #config: DecoderConfig;
  readonly #options: AdapterSlotsOptions;
  readonly #memory: ModelMemory;
  readonly #background = new BackgroundWriter();
  /** Index = slot. Slot 0 has no adapter. The last one is attached. */
  #attached: (AdapterWeights | undefined)[] = [undefined];
  /** The block that runs read. It holds all attached adapters. */
  #current: SlotBlock;
  #replacement: Replacement | undefined;
  /** How many runs in a row the form has been wider than the attached adapters need. */
  #wideRuns = 0;
  #version = 0;
  /** Previous blocks that may still be bound. */
  #retired: SlotBlock[] = [];

  constructor(
    config: DecoderConfig,
    options: AdapterSlotsOptions,
    memory: ModelMemory = HOST_MEMORY,
  ) {
    this.#config = config;
    this.#options = options;
    this.#memory = memory;
    this.#current = this.#newBlock(NO_FORM);
  }

  /** The form of the operands. The graph must have the same linears and parts. */
  get form(): SlotForm {
    return this.#current.form;
  }

  /** One more than the last slot in use. */
  get usedSlots(): number {
    return this.#attached.length;
  }

  /** Changes when the operands are replaced, which makes earlier bindings stale. */
  get version(): number {
    return this.#version;
  }

  /** The last slot at which a range of several slots may start. */
  get lastRangeStart(): number {
    return this.#memory.rangesStartAt === 'any slot' ? 1 : ZERO_SLOT;
  }

  /** Frees the memory of stale operands. They must not be bound any more. */
  releaseStale(): void {
    for (const block of this.#retired.splice(0)) block.release();
  }

  keys(): AdapterKey[] {
    return this.#adapters().map((weights) => weights.digest);
  }

  /** The adapter in a slot. Undefined for slot 0. */
  weightsIn(slot: number): AdapterWeights | undefined {
    return this.#attached[slot];
  }

  slotOf(key: AdapterKey | undefined): number {
    if (key === undefined) return ZERO_SLOT;
    const slot = this.#attached.findIndex((weights) => weights?.digest === key);
    assert(slot > 0, 'the adapter is attached');
    return slot;
  }

  /** Whether these adapters fit together if nothing else is attached. */
  canHold(adapters: readonly AdapterShape[]): boolean {
    return this.#fits(formOf(adapters), adapters.length + 1);
  }

  /**
   * Attaches an adapter. If the slots would need too much memory, throws `ServeError` and changes nothing:
   * `adapter_invalid` if this adapter alone is too large, else `overloaded`.
   */
  attach(weights: AdapterWeights): void {
    assert(!this.keys().includes(weights.digest), 'an adapter is attached once');
    assert(this.#adapters().length < this.#options.capacity, 'an adapter slot is free');
    const form = this.#formWith(weights);
    if (!form) throw this.#doesNotFit(weights);
    if (!isSameForm(form, this.#current.form)) this.#changeForm(form);
    const slot = this.#isRanged
      ? this.#attached.length
      : (this.#current.find(weights) ?? this.#freeSlot(this.#current)!);
    this.#fill(slot, weights);
    this.#attached[slot] = weights;
  }

  /**
   * Copies an adapter in the background, so that attaching it copies little or nothing. Attaching or detaching others may undo
   * some of it. Does nothing if there is no room.
   */
  prepare(weights: AdapterWeights): Promise<void> {
    return this.#background.run(() => this.#prepare(weights));
  }

  /** Detaches an adapter. If slots must have no gaps, the last one moves into its slot. */
  detach(key: AdapterKey): void {
    const slot = this.slotOf(key);
    const last = this.#attached.length - 1;
    if (this.#isRanged && slot < last) {
      this.#current.move(last, slot);
      this.#attached[slot] = this.#attached.pop();
    } else {
      this.#current.renew(slot);
      this.#attached[slot] = undefined;
      while (this.usedSlots > 1 && !this.#attached.at(-1)) this.#attached.pop();
    }
  }

  /** Takes the form of no adapter again. Nothing is attached. */
  reset(): void {
    assert(this.#attached.length === 1, 'no adapter is attached');
    this.#dropReplacement();
    this.#retired.push(this.#current);
    this.#current = this.#newBlock(NO_FORM);
    this.#version++;
  }

  /** Must be called once per run. Narrows slots that have been too wide for a while, once a narrower block is filled. */
  noteRun(): void {
    if (this.#replacement && ++this.#replacement.unusedRuns > PATIENCE_RUNS)
      this.#dropReplacement();
    if (this.#attached.length === 1) return;
    const narrowest = formOf(this.#adapters());
    this.#wideRuns = isSameForm(narrowest, this.#current.form) ? 0 : this.#wideRuns + 1;
    if (this.#wideRuns < PATIENCE_RUNS) return;
    const block = this.#replacementOf(narrowest);
    if (block && this.#attached.every((weights, slot) => !weights || block.holds(slot, weights)))
      this.#changeForm(narrowest);
    else if (this.#wideRuns % PATIENCE_RUNS === 0)
      void this.#background.run(() => this.#filledBlock(narrowest));
  }

  /** The operands over `count` slots from `first` on. A range of several slots starts at `lastRangeStart` or before. */
  range(first: number, count: number): readonly AdapterOperand[] {
    return this.#current.range(first, count);
  }

  /** The operands over all slots. They change with the version only. */
  all(): readonly AdapterOperand[] {
    return this.#current.range(ZERO_SLOT, this.#options.capacity + 1);
  }

  #adapters(): AdapterWeights[] {
    return this.#attached.filter((weights) => weights !== undefined);
  }

  /** Whether runs read a range of slots. */
  get #isRanged(): boolean {
    return this.#packing === 'plain';
  }

  #fits(form: SlotForm, slotCount: number): boolean {
    const bytes = slotBytes(this.#config, form, this.#packing);
    return slotCount * bytes <= this.#options.capacityBytes;
  }

  #doesNotFit(weights: AdapterWeights): ServeError {
    const { rank } = weights;
    return this.canHold([weights])
      ? new ServeError(
          'overloaded',
          `The adapters that are running leave no memory for one of rank ${rank}. Try again later. ${MORE_SLOT_MEMORY}`,
        )
      : exceedsSlotsError(rank);
  }

  /**
   * Returns the form for the attached adapters and this one: the current form, widened if needed, or the narrowest one if that
   * takes too much memory. Undefined if neither fits.
   */
  #formWith(weights: AdapterWeights): SlotForm | undefined {
    const adapters = [...this.#adapters(), weights];
    return [formOf(adapters, this.#current.form), formOf(adapters)].find((one) =>
      this.#fits(one, this.#adapters().length + 2),
    );
  }

  async #prepare(weights: AdapterWeights): Promise<void> {
    if (this.#attached.some((attached) => attached?.digest === weights.digest)) return;
    const form = this.#formWith(weights);
    if (!form) return;
    const block = await this.#filledBlock(form);
    if (!block || block.find(weights) !== undefined) return;
    const slot = this.#freeSlot(block);
    if (slot !== undefined) await this.#background.write(block, slot, weights);
  }

  /**
   * Returns the current block if it has this form, else a replacement filled with the currently attached adapters. Undefined if
   * they would have to be in other slots.
   */
  async #filledBlock(form: SlotForm): Promise<SlotBlock | undefined> {
    if (isSameForm(form, this.#current.form)) return this.#current;
    if (!this.#fits(form, this.#attached.length)) return undefined;
    const begun = this.#replacementOf(form);
    const block = begun ?? this.#newBlock(form);
    if (this.#replacement?.block !== block) this.#dropReplacement();
    this.#replacement = { block, unusedRuns: 0 };
    for (let slot = 1; slot < this.#attached.length; slot++) {
      const weights = this.#attached[slot];
      if (weights && !block.holds(slot, weights))
        await this.#background.write(block, slot, weights);
    }
    return block;
  }

  /** Returns a slot that is not in use and fits into memory. */
  #freeSlot(block: SlotBlock): number | undefined {
    const free: number[] = [];
    const bytes = slotBytes(this.#config, block.form, this.#packing);
    const { capacity, capacityBytes } = this.#options;
    for (let slot = 1; slot <= capacity && (slot + 1) * bytes <= capacityBytes; slot++) {
      if (!this.#attached[slot]) free.push(slot);
    }
    return block.oldest(free);
  }

  /** Puts an adapter into a slot of the current block: moves it from a prepared slot, or copies it. */
  #fill(slot: number, weights: AdapterWeights): void {
    const block = this.#current;
    if (block.holds(slot, weights)) return;
    this.#background.cancel(block, slot);
    const prepared = block.find(weights);
    if (prepared === undefined) block.write(slot, weights);
    else block.move(prepared, slot);
  }

  /** Replaces the current block. Copies the adapters that the replacement does not hold yet. */
  #changeForm(form: SlotForm): void {
    const prepared = this.#replacementOf(form);
    const block = prepared ?? this.#newBlock(form);
    if (prepared) this.#replacement = undefined;
    else this.#dropReplacement();
    this.#retired.push(this.#current);
    this.#current = block;
    this.#wideRuns = 0;
    this.#version++;
    if (!this.#fits(form, this.#attached.length)) this.#attached = [undefined, ...this.#adapters()];
    this.#attached.forEach((weights, slot) => {
      if (weights) this.#fill(slot, weights);
    });
  }

  #replacementOf(form: SlotForm): SlotBlock | undefined {
    const block = this.#replacement?.block;
    return block && isSameForm(block.form, form) ? block : undefined;
  }

  /** Frees the replacement, which is never bound, and stops the writing to it. */
  #dropReplacement(): void {
    if (!this.#replacement) return;
    this.#background.cancel(this.#replacement.block);
    this.#replacement.block.release();
    this.#replacement = undefined;
  }

  get #packing(): RowPacking {
    return this.#options.packing ?? 'plain';
  }

  #newBlock(form: SlotForm): SlotBlock {
    const tensors = this.#memory.createSlots(this.#options.capacity + 1);
    return new SlotBlock(this.#config, form, this.#packing, tensors);
  }
}
