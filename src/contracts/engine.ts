// The engine as everybody else sees it: the model that it serves, and its figures. The engine process counts them, the server
// asks for them, and /health and /metrics show them.
import type { StartPhases } from '../common/start-phases.ts';

/** The base model as an engine serves it. */
export interface EngineInfo {
  readonly vocabSize: number;
  readonly maxSeqLength: number;
  /** KV slots. */
  readonly slotCount: number;
  readonly provider: string;
  readonly weights: string;
  /** The type of the KV cache's elements. */
  readonly kv: string;
  /** The fewest token rows of a run for which int8 linears take the row form; null if they never do. */
  readonly perTokenFormFrom: number | null;
  /** Eight hex digits. Engines with equal ones compute the same on processors of one kind, apart from adapters. */
  readonly fingerprint: string;
  /** The start phases of the engine process. */
  readonly start?: StartPhases;
}

/** Totals since the engine started. */
export interface EngineTotals {
  steps: number;
  promptTokens: number;
  generatedTokens: number;
  nonFiniteRows: number;
  /** Runs of a row with a draft, the tokens of these drafts, and those that were accepted. */
  drafts: number;
  draftTokens: number;
  acceptedDraftTokens: number;
  /** Tokens that a grammar forced and that needed no step of their own. */
  forcedTokens: number;
}

/** The totals of an engine that starts. */
export function noTotals(): EngineTotals {
  return {
    steps: 0,
    promptTokens: 0,
    generatedTokens: 0,
    nonFiniteRows: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
    forcedTokens: 0,
  };
}

/** Gauges of the engine now, and totals since it started. */
export interface EngineStats extends EngineTotals {
  running: number;
  waiting: number;
  slotCount: number;
  /** Share of KV positions in use, 0..1. */
  kvUsage: number;
  /** Tokens of the prompts that were looked up in the prefix cache, and those that it had. */
  prefixQueryTokens: number;
  prefixHitTokens: number;
  prefixCache: PrefixCacheStats;
  residentAdapters: readonly string[];
  adapterCacheBytes: number;
  /** Distinct adapters that may run at once. */
  maxActiveAdapters: number;
  /** Digests of the adapters in slots. */
  attachedAdapters: readonly string[];
  /** Digests of the adapters of sequences without a KV slot. */
  waitingAdapters: readonly string[];
  adapterCache: AdapterTierStats;
  /** Resident memory of the engine process. */
  residentMemoryBytes: number;
}

/** The prefix cache now, and the blocks evicted since the engine process started. All zero if it is off. */
export interface PrefixCacheStats {
  readonly bytes: number;
  readonly capacityBytes: number;
  readonly evictions: number;
}

/** One tier of the adapter caches (memory or disk) now, and totals since its process started. */
export interface AdapterTierStats {
  readonly bytes: number;
  readonly adapters: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  /** Loads that succeeded, and loads that failed. */
  readonly loaded: number;
  readonly failed: number;
}

/** The disk tier, and the store behind it. */
export interface DiskTierStats extends AdapterTierStats {
  /** Fetches under way or waiting. */
  readonly fetching: number;
  /** Fetches are suspended because the store does not answer. */
  readonly isPaused: boolean;
}
