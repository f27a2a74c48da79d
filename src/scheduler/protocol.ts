// Messages between the server process and the engine process: plain data, token ids and digests only.

import type { PlainError } from '../common/errors.ts';
import type { StartPhases } from '../common/start-phases.ts';
import type { AdapterSource } from '../contracts/adapter-source.ts';
import type { FinishReason, GenerationRequest, TokenLogprob } from '../contracts/generation.ts';

/** Unique for the life of the server process. */
export type SequenceId = number & { readonly __sequence: true };

/** The same for prefetches. */
export type PrefetchId = number & { readonly __prefetch: true };

export type CacheTier = 'slot' | 'ram' | 'disk';

export type ToEngine =
  | {
      type: 'submit';
      id: SequenceId;
      /** Fairness is between these. */
      tenant: string;
      /** Its share relative to others'. */
      weight: number;
      adapter?: AdapterSource;
      request: GenerationRequest;
    }
  | { type: 'abort'; id: SequenceId }
  /** Loads an adapter beforehand; others are evicted before it until `keepWarmMs` are over. */
  | { type: 'prefetch'; id: PrefetchId; adapter: AdapterSource; keepWarmMs: number }
  | { type: 'stats' }
  /** Ends the process once all sequences have ended, or after the deadline. */
  | { type: 'drain'; deadlineMs: number };

export type FromEngine =
  | { type: 'ready'; model: EngineModelInfo }
  /** Fatal at start: a configuration or file fault. */
  | { type: 'refused'; message: string }
  /**
   * What happened since the last one, in order; `step` counts from 1 without gaps. `ran`: a step of
   * the engine ended, be it without events, which is what the watchdog takes as progress.
   */
  | { type: 'step'; step: number; ran: boolean; events: EngineEvent[] }
  /** The sequences of the run that begins, if they are others than in the run before; none: the engine is idle. */
  | { type: 'running'; ids: readonly SequenceId[] }
  | { type: 'prefetched'; id: PrefetchId; outcome: PrefetchOutcome }
  | { type: 'stats'; stats: EngineStats }
  | EngineLogLine;

/** Where an adapter was found, and what its load took. */
export interface Prefetched {
  tier: CacheTier;
  loadMs: number;
}

export type PrefetchOutcome = Prefetched | { error: PlainError };

export interface EngineLogLine {
  type: 'log';
  level: 'info' | 'warn' | 'error';
  message: string;
  fields?: Record<string, unknown>;
}

export interface EngineModelInfo {
  vocabSize: number;
  maxSeqLength: number;
  slotCount: number;
  provider: string;
  weights: string;
  /** Of its process. */
  start?: StartPhases;
}

/** A sequence sees: accepted, admitted, prompt?, token*, then exactly one of finished or failed. */
export type EngineEvent =
  | { type: 'accepted'; id: SequenceId; tier?: CacheTier; loadMs?: number }
  /** It owns a KV slot, and its prefill begins. */
  | { type: 'admitted'; id: SequenceId }
  | { type: 'prompt'; id: SequenceId; logprobs: TokenLogprob[] }
  | { type: 'token'; id: SequenceId; tokenId: number; logprob?: TokenLogprob }
  | { type: 'finished'; id: SequenceId; reason: FinishReason }
  | { type: 'failed'; id: SequenceId; error: PlainError };

export interface EngineStats {
  running: number;
  waiting: number;
  slotCount: number;
  /** Share of KV positions in use, 0..1. */
  kvUsage: number;
  steps: number;
  promptTokens: number;
  generatedTokens: number;
  nonFiniteRows: number;
  residentAdapters: string[];
  adapterCacheBytes: number;
  /** Distinct adapters that may run at once. */
  maxActiveAdapters: number;
  /** Digests of the adapters in slots. */
  attachedAdapters: string[];
  /** Digests of the adapters of sequences without a KV slot. */
  waitingAdapters: string[];
  adapterCache: AdapterCacheFigures;
  /** Of the engine process. */
  residentMemoryBytes: number;
}

/** Adapters in memory; totals since the process began. */
export interface AdapterCacheFigures {
  bytes: number;
  adapters: number;
  hits: number;
  misses: number;
  evictions: number;
  /** Loads that ended, by how. */
  loaded: number;
  failed: number;
}
