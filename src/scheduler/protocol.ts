// The messages between the server process and the engine process, and the channel that carries them. Messages are plain
// data: token ids, slots and digests.

import type { PlainError } from '../common/errors.ts';
import type { StartPhases } from '../common/start-phases.ts';
import type {
  AdapterSource,
  FinishReason,
  GenerationRequest,
  TokenLogprob,
} from '../contracts/generation.ts';
import type { AdapterCacheShare, TenantShare } from '../contracts/tenant.ts';

/** Identifies a sequence for the life of the server process. */
export type SequenceId = number & { readonly __sequence: true };

/** Identifies a prefetch for the life of the server process. */
export type PrefetchId = number & { readonly __prefetch: true };

/** The fastest place that held an adapter: a slot of the engine, the cache in memory, or the local disk. */
export type CacheTier = 'slot' | 'ram' | 'disk';

/** A message to the engine process. */
export type ToEngine =
  | {
      type: 'submit';
      id: SequenceId;
      /** The scheduler is fair between tenants. */
      tenant: string;
      /** The tenant's share relative to other tenants. */
      weight: number;
      /** The tenant's part of the adapter cache, if it has settings for it. */
      adapterCache?: AdapterCacheShare | undefined;
      adapter?: AdapterSource;
      request: GenerationRequest;
    }
  | { type: 'abort'; id: SequenceId }
  /**
   * Loads an adapter ahead of its first request. Other adapters are evicted before it for `keepWarmMs`. Without a tenant, the server
   * itself asks for it.
   */
  | {
      type: 'prefetch';
      id: PrefetchId;
      adapter: AdapterSource;
      keepWarmMs: number;
      tenant: TenantShare | undefined;
    }
  | { type: 'stats' }
  /** Ends the run in flight. Rows that decoded together run again, each alone; others fail. The loop goes on. */
  | { type: 'terminate' }
  /** Ends the process once all sequences have ended, or after the deadline. */
  | { type: 'drain'; deadlineMs: number };

/** The size of a run's batch, rounded up to powers of two. */
export interface RunSize {
  /** Token rows. */
  readonly tokens: number;
  /** The keys that these tokens attend to, all together. */
  readonly keys: number;
}

/** A message from the engine process. */
export type FromEngine =
  | { type: 'ready'; model: EngineModelInfo }
  /** The engine could not start because of a configuration or file error. */
  | { type: 'refused'; message: string }
  /**
   * The events since the last `step` message, in order. `step` counts from 1 without gaps. `ran` says that the engine
   * ended a step, even if it had no events; the watchdog counts that as progress.
   */
  | { type: 'step'; step: number; ran: boolean; events: EngineEvent[] }
  /** The sequences and the size of the run that begins, if they changed since the last run. Empty: the engine is idle. */
  | { type: 'running'; ids: readonly SequenceId[]; size?: RunSize }
  | { type: 'prefetched'; id: PrefetchId; outcome: PrefetchOutcome }
  | { type: 'stats'; stats: EngineStats }
  | EngineLogLine;

/** The tier that held a prefetched adapter, and how long its load took. */
export interface Prefetched {
  tier: CacheTier;
  loadMs: number;
}

/** The result of a prefetch. */
export type PrefetchOutcome = Prefetched | { error: PlainError };

/** A log line that the server writes for the engine process. */
export interface EngineLogLine {
  type: 'log';
  level: 'info' | 'warn' | 'error';
  message: string;
  fields?: Record<string, unknown>;
}

/** The base model as the engine serves it. */
export interface EngineModelInfo {
  vocabSize: number;
  maxSeqLength: number;
  slotCount: number;
  provider: string;
  weights: string;
  /** The type of the KV cache's elements. */
  kv: string;
  /** The fewest token rows of a run for which int8 weights take the row form; null if they never do. */
  rowFormFrom: number | null;
  /** Changes if what the engine computes does, apart from adapters. */
  fingerprint: string;
  /** The start phases of the engine process. */
  start?: StartPhases;
}

/**
 * An event of one sequence. In order: accepted, admitted, prompt?, embedding or scores?, token*, then exactly one of finished or
 * failed.
 */
export type EngineEvent =
  | { type: 'accepted'; id: SequenceId; tier?: CacheTier; loadMs?: number }
  /** The sequence owns a KV slot, and its prefill begins behind the tokens that the prefix cache had. */
  | { type: 'admitted'; id: SequenceId; cachedTokens: number }
  | { type: 'prompt'; id: SequenceId; logprobs: TokenLogprob[] }
  /** [D], not normalized. */
  | { type: 'embedding'; id: SequenceId; embedding: Float32Array }
  /** One score per label, not normalized. */
  | { type: 'scores'; id: SequenceId; scores: Float32Array; labels: readonly string[] }
  | { type: 'token'; id: SequenceId; tokenId: number; logprob?: TokenLogprob }
  | { type: 'finished'; id: SequenceId; reason: FinishReason }
  | { type: 'failed'; id: SequenceId; error: PlainError };

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
  const tokens = { promptTokens: 0, generatedTokens: 0, forcedTokens: 0 };
  return {
    steps: 0,
    ...tokens,
    nonFiniteRows: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
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
  prefixCache: PrefixCacheFigures;
  residentAdapters: string[];
  adapterCacheBytes: number;
  /** Distinct adapters that may run at once. */
  maxActiveAdapters: number;
  /** Digests of the adapters in slots. */
  attachedAdapters: string[];
  /** Digests of the adapters of sequences without a KV slot. */
  waitingAdapters: string[];
  adapterCache: AdapterCacheFigures;
  /** Resident memory of the engine process. */
  residentMemoryBytes: number;
}

/** The prefix cache now, and totals since the engine process started. All zero if it is off. */
export interface PrefixCacheFigures {
  bytes: number;
  capacityBytes: number;
  evictions: number;
}

/** The adapter cache now, and totals since the engine process started. */
export interface AdapterCacheFigures {
  bytes: number;
  adapters: number;
  hits: number;
  misses: number;
  evictions: number;
  /** Loads that succeeded, and loads that failed. */
  loaded: number;
  failed: number;
}

/** The state of an engine as the server sees it. */
export type EngineState = 'starting' | 'ready' | 'restarting' | 'stopped';

/** Carries messages to an engine and back. It starts the engine, restarts it and ends it. */
export interface EngineChannel {
  readonly state: EngineState;
  /** Known once the engine was ready. */
  readonly model: EngineModelInfo | undefined;
  /** False while a ready engine is suspended, or its run takes far longer than earlier ones of its size. */
  readonly isProgressing: boolean;
  /** Resolves once the engine is ready (again). Rejects if it refused its options or is stopped. */
  whenReady(): Promise<EngineModelInfo>;
  send(message: ToEngine): void;
  /** Kills an engine whose messages make no sense, and starts another if the channel can. */
  kill(reason: string): void;
  /** Ends the engine, whose requests fail, and starts another if the channel can. Does not count as a crash. */
  restart(reason: string): void;
  /** Lets running sequences end until the deadline. Resolves once the engine has ended. */
  drain(deadlineMs: number): Promise<void>;
}

/** Handles the messages and the failures of a channel. */
export interface ChannelHandlers {
  onMessage(message: FromEngine): void;
  /** A run takes far too long and is about to be terminated. */
  onStuck(): void;
  /** The engine is gone, with everything it held. */
  onLost(): void;
  /** The engine crashed by itself. Called after `onLost`. */
  onCrashed(): void;
  /** Whether a sequence waits for a step. A sequence whose adapter or grammar is still loading does not. */
  isWaiting(): boolean;
}
