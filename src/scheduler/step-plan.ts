// The engine's next step and its outcome, as plain data.
import type { ServeError } from '../common/errors.ts';
import type {
  AdapterKey,
  BatchResult,
  DecodeBatch,
  PrefillBatch,
  RowResult,
} from '../engine/batch.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import type { SlotMove } from './compact-slots.ts';
import type { SequenceId } from './protocol.ts';
import type { Sequence } from './sequence.ts';

/** A prompt chunk, and the preparations before it runs. */
export interface StepPrefill {
  readonly id: SequenceId;
  readonly attach: AdapterKey | undefined;
  /** The cached prefix that is copied to the positions before the chunk. */
  readonly restore: PrefixChain | undefined;
  readonly batch: PrefillBatch;
}

/** The engine's next step, in this order: moves, detach, prefills, decode. */
export interface StepPlan {
  /** Sequences whose prefill begins in this step. */
  readonly admitted: readonly Pick<Sequence, 'id' | 'cachedTokens'>[];
  readonly moves: readonly SlotMove[];
  readonly detach: readonly AdapterKey[];
  /** At most `prefillChunk` tokens in total. A prompt that stays unfinished uses them all. */
  readonly prefills: readonly StepPrefill[];
  readonly decode: DecodeBatch | undefined;
  /** The sequences of `decode`, by row. */
  readonly decodeIds: readonly SequenceId[];
}

/** The result of a run, or the error it threw. */
export type RunOutcome =
  | { readonly result: BatchResult }
  | {
      readonly error: ServeError;
      /** The adapter of the prefill could not be attached. */
      readonly isDetached?: true;
      /** Set if the run took too long: the results of rows that were already complete. Other rows are missing or empty. */
      readonly completed?: readonly RowResult[][];
    };

/** The outcome of a decode: of one run of all rows, or of a separate run of each row. */
export type DecodeOutcome = RunOutcome | { readonly alone: readonly RunOutcome[] };

/** The outcome of a decode for row `i`. */
export function rowOutcome(
  decoded: DecodeOutcome,
  i: number,
): { readonly results: readonly RowResult[] | undefined } | { readonly error: ServeError } {
  const outcome = 'alone' in decoded ? decoded.alone[i]! : decoded;
  if ('error' in outcome) return outcome;
  return { results: outcome.result.rows['alone' in decoded ? 0 : i] };
}

/** A step whose results are not all applied. */
export interface StepInFlight {
  readonly plan: StepPlan;
  /** The sequences of the prefills, in order. */
  readonly prefilled: readonly Sequence[];
  /** The sequences of the decode, by row. */
  readonly decoded: readonly Sequence[];
  appliedPrefills: number;
}
