// The options of a scheduler with their defaults, and the parts that a loop runs it on.
import type { Clock } from '../common/waiting.ts';
import type { GenerationRequest } from '../contracts/generation.ts';
import type { AdapterKey } from '../engine/batch.ts';
import type { Engine } from '../engine/engine.ts';
import type { PrefixCache } from '../engine/prefix/prefix-cache.ts';
import type { Proposer } from './drafter.ts';
import type { WaitingQueue } from './fair-queue.ts';
import { IdleLastQueue } from './idle.ts';
import type { AdapterLeases } from './leases.ts';
import type { CountCachedTokens } from './prefixes.ts';
import type { CreateBan, CreateMatcher } from './sequence.ts';

/** The part of the engine that the loop uses. The loop waits for promises, so an engine for tests can take its time. */
export interface StepEngine
  extends Pick<Engine, 'info' | 'run' | 'terminate' | 'release'>,
    Pick<Engine, 'zeroSlot' | 'moveSlot' | 'canAttach' | 'attachAdapter' | 'detachAdapter'>,
    Pick<Engine, 'prepareFor' | 'prepareEmbeddings' | 'prepareAhead'> {
  /** Absent if prompts run one by one. */
  readonly runTogether?: Engine['runTogether'];
  /** Absent if prefixes are not cached. */
  readonly prefixes?: StepPrefixes | undefined;
}

/** The part of the prefix cache that the loop uses. */
export type StepPrefixes = Pick<
  PrefixCache,
  'chainOf' | 'cachedTokens' | 'restore' | 'save' | 'forget' | 'takeEvents' | 'stats'
>;

/** An engine, its adapter cache, and the limits of the scheduler. */
export interface StepLoopOptions {
  engine: StepEngine;
  adapters: AdapterLeases;
  limits?: Omit<SchedulerOptions, 'slotCount' | 'maxSeqLength' | 'canAttach' | 'countCachedTokens'>;
  /** See `Sequence`. Default: false. */
  isInvariant?: boolean;
  /** Creates the proposer of a sequence's drafts. Absent if nothing drafts. */
  createProposer?: ((request: GenerationRequest) => Proposer) | undefined;
  /** Creates the matcher of a sequence with a constraint. Absent if constraints are not supported. */
  createMatcher?: CreateMatcher | undefined;
  /** Creates the ban of a sequence's words. Absent if banned words are not supported. */
  createBan?: CreateBan | undefined;
  clock?: Clock;
}

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
