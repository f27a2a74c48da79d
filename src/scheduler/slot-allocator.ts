// Chooses the waiting sequence that gets the next free KV slot: in the order of the fair queue, as far as adapters, shared
// prefixes and the step's token budget allow. Runs nothing.
import type { AdapterLimit } from './adapter-limit.ts';
import type { Payer } from './fair-queue.ts';
import type { SchedulerOptions } from './options.ts';
import { copyCost, type Prefixes } from './prefixes.ts';
import { type Sequence, toPrefillBatch } from './sequence.ts';

/** The limits of an allocator, and the policies that it consults. */
interface SlotAllocatorOptions
  extends Required<
    Pick<SchedulerOptions, 'slotCount' | 'reservedSlots' | 'prefillChunk' | 'queue' | 'now'>
  > {
  readonly adapterLimit: AdapterLimit;
  readonly prefixes: Prefixes;
}

/** The step in which a slot is given. */
interface Admitting {
  /** The sequences that own slots. */
  readonly started: readonly Sequence[];
  /** The started sequences that are in prefill. */
  readonly prefilling: readonly Sequence[];
  /** The prompt tokens that this step can still take. */
  readonly budget: number;
  /** Counts the steps. */
  readonly step: number;
  /** Idle sequences may start while fewer slots than this are taken. */
  readonly idleSlots: number;
  /** Whether only a prompt that ends in this step may start, because another one is unfinished. */
  readonly wholeOnly?: boolean;
  /** If set, only tenants with no more service than this sequence's tenant may start one. */
  readonly aheadOf?: Sequence | undefined;
}

/** Takes sequences from the queue for free slots. */
export class SlotAllocator {
  readonly #options: SlotAllocatorOptions;
  /** The unfinished prompt whose next chunk no longer fitted into the last step after the prompts ahead of it. */
  #passedOver: Sequence | undefined;

  constructor(options: SlotAllocatorOptions) {
    this.#options = options;
  }

  /**
   * Takes short prompts that run before an unfinished prompt's next chunk. They belong to other tenants, which have had no more
   * service than the unfinished prompt's tenant. If they leave too few tokens for the chunk, others may use the rest, and the
   * next step begins with the chunk. Otherwise one short prompt per step would keep it from ever running.
   */
  takeAhead(
    unfinished: Sequence,
    running: readonly Sequence[],
    now: Pick<Admitting, 'step' | 'idleSlots'>,
  ): Sequence[] {
    const { prefillChunk, queue } = this.#options;
    const wasPassedOver = this.#passedOver === unfinished;
    this.#passedOver = undefined;
    if (wasPassedOver) return [];
    const chunk = toPrefillBatch(unfinished, prefillChunk).tokenIds.length;
    const ahead: Sequence[] = [];
    for (let budget = prefillChunk; ; ) {
      const prefilling = [...ahead, unfinished];
      const started = [...running, ...prefilling];
      const aheadOf = chunk <= budget ? unfinished : undefined;
      const sequence = this.take({ ...now, started, prefilling, budget, wholeOnly: true, aheadOf });
      if (!sequence) {
        if (chunk > budget) this.#passedOver = unfinished;
        return ahead;
      }
      ahead.push(sequence);
      const tokens = sequence.request.promptIds.length - sequence.pastLength;
      budget -= tokens + copyCost(sequence.cachedTokens);
      queue.charge(sequence, 'promptTokens', tokens);
    }
  }

  /** Takes the first admissible sequence if a slot is free and the sequence's first chunk fits into the budget. */
  take(admitting: Admitting): Sequence | undefined {
    const { slotCount, prefillChunk, queue, adapterLimit, prefixes, now } = this.#options;
    const { started, prefilling, budget, step } = admitting;
    if (started.length >= slotCount) return undefined;
    const find = (isAdmissible: (sequence: Sequence) => boolean) =>
      queue.find((waiting) => {
        if (!this.#mayStart(waiting, admitting) || !isAdmissible(waiting)) return false;
        return !prefixes.shouldWait(waiting, prefilling);
      });
    const sequence = adapterLimit.choose(find, started, { step, nowMs: now() });
    if (!sequence || prefixes.firstChunkCost(sequence, prefillChunk) > budget) return undefined;
    queue.remove(sequence);
    sequence.state = 'prefilling';
    prefixes.begin(sequence);
    return sequence;
  }

  #mayStart(sequence: Sequence, admitting: Admitting): boolean {
    const { started, budget, wholeOnly, aheadOf, idleSlots } = admitting;
    const { slotCount, reservedSlots, prefillChunk, queue, prefixes } = this.#options;
    const openSlots = slotCount - reservedSlots;
    // An idle sequence gives any slot back within a step, so it may also take a reserved one.
    const mayStart = sequence.isIdle
      ? started.length < idleSlots
      : mayTakeSlot(sequence, started, openSlots);
    if (!mayStart) return false;
    if (aheadOf && !queue.isBefore(sequence, aheadOf)) return false;
    if (!wholeOnly) return true;
    const isWhole = sequence.adapterFrom === 0 && prefixes.isOneChunk(sequence, prefillChunk);
    return isWhole && prefixes.firstChunkCost(sequence, prefillChunk) <= budget;
  }
}

function mayTakeSlot(sequence: Payer, started: readonly Payer[], openSlots: number): boolean {
  return started.length < openSlots || hasLessThanItsShare(sequence, started, openSlots);
}

/** Whether a sequence's tenant stays within its share of the slots by weight, this sequence included. */
export function hasLessThanItsShare(
  { tenant, weight }: Payer,
  started: readonly Payer[],
  slotCount: number,
): boolean {
  const weights = new Map(started.map((one) => [one.tenant, one.weight]));
  weights.set(tenant, weight);
  const sum = [...weights.values()].reduce((all, one) => all + one, 0);
  const count = started.filter((one) => one.tenant === tenant).length;
  return count + 1 <= Math.max(1, (slotCount * weight) / sum);
}
