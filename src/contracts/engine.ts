// The engine as other parts see it: the model that it serves, and its figures. The engine process counts them, the server asks
// for them, and /health and /metrics show them.
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
  /** The instruction set of our own operator, such as `avx512-vnni`. null if the runtime computes all linears. */
  readonly int8Operator: string | null;
  /** Eight hex digits. Apart from adapters, engines with equal fingerprints compute the same on CPUs of one kind. */
  readonly fingerprint: string;
  /** The start phases of the engine process. */
  readonly start?: StartPhases;
}

/** Returns the totals of an engine that has just started. */
export function noTotals() {
  return {
    steps: 0,
    promptTokens: 0,
    generatedTokens: 0,
    nonFiniteRows: 0,
    /** Runs of a row with a draft, the tokens in these drafts, and the accepted ones. */
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
    /** Tokens that a grammar forced, which therefore needed no engine step. */
    forcedTokens: 0,
  };
}

type EngineTotals = ReturnType<typeof noTotals>;

/** Gauges of the engine now, and totals since it started. */
export interface EngineStats extends EngineTotals {
  running: number;
  waiting: number;
  slotCount: number;
  /** Share of KV positions in use, 0..1. */
  kvUsage: number;
  /** How many prompt tokens were looked up in the prefix cache, and how many it contained. */
  prefixQueryTokens: number;
  prefixHitTokens: number;
  prefixCache: PrefixCacheStats;
  /** Digests of the adapters in memory, the one used last at the end. */
  residentAdapters: readonly string[];
  /** The most distinct adapters that may run in the same step. */
  maxActiveAdapters: number;
  /** Digests of the adapters in slots. */
  attachedAdapters: readonly string[];
  /** Digests of the adapters of sequences without a KV slot. */
  waitingAdapters: readonly string[];
  adapterCache: AdapterTierStats;
  /** Resident memory of the engine process, and the CPU time that it has used. */
  residentMemoryBytes: number;
  cpuSeconds: number;
}

/** The tokens of a cached block. Larger blocks cost less to copy; smaller ones leave less of a prompt to compute. */
export const BLOCK_TOKENS = 16;

/** The figures of a prefix cache that is off. */
export const NO_PREFIX_CACHE: PrefixCacheStats = {
  bytes: 0,
  capacityBytes: 0,
  capacityBlocks: 0,
  evictions: 0,
};

/** The prefix cache now, and the blocks evicted since the engine process started. All zero if it is off. */
export interface PrefixCacheStats {
  readonly bytes: number;
  readonly capacityBytes: number;
  readonly capacityBlocks: number;
  readonly evictions: number;
}

/** A change of the prefix cache. Routers follow these changes to find the server that has computed a prompt's prefix. */
export type PrefixEvent =
  | {
      readonly type: 'stored';
      /** The keys of cached blocks that follow each other. */
      readonly keys: string[];
      /** The key of the block before them. Absent at the start of a prompt. */
      readonly parent: string | undefined;
      readonly tokenIds: number[];
      /** The digest of the adapter that computed them. Absent for the base. */
      readonly adapter: string | undefined;
    }
  | { readonly type: 'removed'; readonly keys: string[] }
  /** The whole cache is gone, together with its process. */
  | { readonly type: 'cleared' };

/** One tier of the adapter caches (memory or disk) now, and totals since its process started. */
export interface AdapterTierStats {
  readonly bytes: number;
  readonly adapters: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  /** Successful loads, and failed loads. */
  readonly loaded: number;
  readonly failed: number;
}

/** The disk tier, and the store behind it. */
export interface DiskTierStats extends AdapterTierStats {
  /** Fetches in progress or waiting. */
  readonly fetching: number;
  /** Whether fetches are suspended because the store does not respond. */
  readonly isPaused: boolean;
}
