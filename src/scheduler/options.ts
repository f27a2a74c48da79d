// The limits of a scheduler, and their defaults.
import type { AdapterKey } from '../engine/batch.ts';
import type { WaitingQueue } from './fair-queue.ts';
import { IdleLastQueue } from './idle.ts';
import type { CountCachedTokens } from './prefixes.ts';

/** The limits of a scheduler. */
export interface SchedulerOptions {
  /** KV slots: the most sequences that can be in prefill or running. */
  slotCount: number;
  /** How many slots are reserved for tenants below their share of the others. Default: 0. */
  reservedSlots?: number;
  /** Positions of a KV slot. */
  maxSeqLength: number;
  /** The token budget for prefill: the prompt tokens of one step, which delay the next token of running rows. */
  prefillChunk?: number;
  /** The most distinct adapters in one step. Default: the number of slots, which means no limit. */
  maxActiveAdapters?: number;
  /** Whether the weights of these adapters fit together. Default: always. Called often; must be fast. */
  canAttach?: (adapters: readonly AdapterKey[]) => boolean;
  /** Looks up the prefix cache. Default: nothing is cached. */
  countCachedTokens?: CountCachedTokens;
  /** Returns monotonic milliseconds. Default: the process's clock. */
  now?: () => number;
  /** Default: fair between tenants, and idle sequences last. */
  queue?: WaitingQueue;
}

/** Fills in the defaults. */
export function withDefaults(options: SchedulerOptions): Required<SchedulerOptions> {
  return {
    reservedSlots: 0,
    prefillChunk: 256,
    maxActiveAdapters: options.slotCount,
    canAttach: () => true,
    countCachedTokens: () => 0,
    now: () => performance.now(),
    queue: new IdleLastQueue(),
    ...options,
  };
}
