// The messages between the server process and the engine process, and the channel that carries them. Messages are plain
// data: token ids, slots and digests.

import type { PlainError } from '../common/errors.ts';
import type { EngineInfo, EngineStats, PrefixEvent } from '../contracts/engine.ts';
import type {
  AdapterSource,
  CacheTier,
  FinishReason,
  GenerationRequest,
  Prefetched,
  TokenLogprob,
} from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';

/** The file descriptor of the heartbeat pipe in the engine process. */
export const HEARTBEAT_FD = 4;

/** Identifies a sequence for the life of the server process. */
export type SequenceId = number & { readonly __sequence: true };

/** Identifies a prefetch for the life of the server process. */
export type PrefetchId = number & { readonly __prefetch: true };

/** A message to the engine process. */
export type ToEngine =
  | {
      type: 'submit';
      id: SequenceId;
      /** The scheduler divides the engine's time and the adapter cache fairly between tenants. */
      tenant: TenantShare;
      adapter?: AdapterSource;
      request: GenerationRequest;
    }
  | { type: 'abort'; id: SequenceId }
  /**
   * Loads an adapter ahead of its first request. For `keepWarmMs`, other adapters are evicted before it. Without a tenant, the
   * server itself asks for it.
   */
  | {
      type: 'prefetch';
      id: PrefetchId;
      adapter: AdapterSource;
      keepWarmMs: number;
      tenant: TenantShare | undefined;
    }
  | { type: 'stats' }
  /** Takes no step from now on, or takes steps again. Sequences keep their state. */
  | { type: 'pause'; isPaused: boolean }
  /** Ends the current run. Rows that decoded together run again, each alone; others fail. The loop continues. */
  | { type: 'terminate' }
  /** Ends the process once all sequences have ended, or after the deadline. */
  | { type: 'drain'; deadlineMs: number };

/** The size of a run's batch, rounded up to powers of two. */
export interface RunSize {
  /** Token rows. */
  readonly tokens: number;
  /** The number of keys that these tokens attend to, in total. */
  readonly keys: number;
}

/** A message from the engine process. */
export type FromEngine =
  | { type: 'ready'; model: EngineInfo }
  /** The engine could not start because of a configuration or file error. */
  | { type: 'refused'; message: string }
  /**
   * The events since the last `step` message, in order. `step` counts from 1 without gaps. `ran` is true if the engine ended a
   * step, even one without events, which the watchdog counts as progress.
   */
  | { type: 'step'; step: number; ran: boolean; events: EngineEvent[] }
  /** The sequences and the size of the run that begins, sent if they changed since the last run. Empty: the engine is idle. */
  | { type: 'running'; ids: readonly SequenceId[]; size?: RunSize }
  | { type: 'prefetched'; id: PrefetchId; outcome: PrefetchOutcome }
  /** Changes of the prefix cache, in order, if the engine records them. */
  | { type: 'prefixes'; events: readonly PrefixEvent[] }
  | { type: 'stats'; stats: EngineStats }
  | EngineLogLine;

/** The result of a prefetch. */
export type PrefetchOutcome = Prefetched | { error: PlainError };

/** A log line that the server writes for the engine process. */
export interface EngineLogLine {
  type: 'log';
  level: 'info' | 'warn' | 'error';
  message: string;
  fields?: Record<string, unknown>;
}

/**
 * An event of one sequence, in the order: accepted, admitted, prompt?, embedding or scores?, token*, then exactly one of
 * finished or failed.
 */
export type EngineEvent =
  | { type: 'accepted'; id: SequenceId; tier?: CacheTier; loadMs?: number }
  /** The sequence owns a KV slot. Its prefill begins after the tokens that came from the prefix cache. */
  | { type: 'admitted'; id: SequenceId; cachedTokens: number }
  | { type: 'prompt'; id: SequenceId; logprobs: TokenLogprob[] }
  /** [D], not normalized. */
  | { type: 'embedding'; id: SequenceId; embedding: Float32Array }
  /** One score per label, not normalized. */
  | { type: 'scores'; id: SequenceId; scores: Float32Array; labels: readonly string[] }
  | { type: 'token'; id: SequenceId; tokenId: number; logprob?: TokenLogprob }
  | { type: 'finished'; id: SequenceId; reason: FinishReason }
  | { type: 'failed'; id: SequenceId; error: PlainError };

/** The state of an engine as the server sees it. */
export type EngineState = 'starting' | 'ready' | 'restarting' | 'stopped';

/** Carries messages to an engine and back. It starts the engine, restarts it and ends it. */
export interface EngineChannel {
  readonly state: EngineState;
  /** The engine's model. Undefined until the engine has been ready once. */
  readonly model: EngineInfo | undefined;
  /** False while a ready engine is suspended, or while its run takes far longer than earlier runs of that size. */
  readonly isProgressing: boolean;
  /** Resolves once the engine is ready (again). Rejects if the engine refused its options or was stopped. */
  whenReady(): Promise<EngineInfo>;
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
