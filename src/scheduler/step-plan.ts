// The engine's next step as plain data: which slots move, which adapters are attached, what runs, and the outcome. Runs nothing.
import type { ServeError } from '../common/errors.ts';
import type {
  AdapterKey,
  BatchResult,
  DecodeBatch,
  PrefillBatch,
  RowResult,
  SlotId,
} from '../engine/batch.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import type { EngineEvent, SequenceId } from './protocol.ts';
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
  /** The ends of idle sequences that lost their slots. */
  readonly evicted: readonly EngineEvent[];
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

/** A copy from one KV slot to another. */
export interface SlotMove {
  readonly from: SlotId;
  readonly to: SlotId;
  /** How many positions are filled and have to be copied. */
  readonly length: number;
}

/**
 * Moves running sequences from slots past the end into free slots before it. Afterwards `rows[i]` owns slot i, and the
 * prefilling sequences own the slots after the last row, in order. Prefilling sequences without a slot get one.
 */
export function compactSlots(
  running: readonly Sequence[],
  prefilling: readonly Sequence[],
): {
  rows: Sequence[];
  moves: SlotMove[];
} {
  const rows = new Array<Sequence | undefined>(running.length).fill(undefined);
  const outside: Sequence[] = [];
  for (const sequence of running) {
    if (sequence.slot! < rows.length) rows[sequence.slot!] = sequence;
    else outside.push(sequence);
  }
  const moves: SlotMove[] = [];
  const move = (sequence: Sequence, to: number) => {
    moves.push({ from: sequence.slot!, to: to as SlotId, length: sequence.pastLength });
    sequence.slot = to as SlotId;
  };
  for (const [i, row] of rows.entries()) {
    if (row) continue;
    rows[i] = outside.pop()!; // as many sequences are outside as slots are free
    move(rows[i]!, i);
  }
  prefilling.forEach((sequence, i) => {
    if (sequence.slot === undefined) sequence.slot = (rows.length + i) as SlotId;
    else if (sequence.slot !== rows.length + i) move(sequence, rows.length + i);
  });
  return { rows: rows as Sequence[], moves };
}

/**
 * Removes and returns the attached adapters that none of these sequences use. Until then they stay attached, because the next
 * request may use them.
 */
export function detachUnused(
  attached: Set<AdapterKey>,
  sequences: readonly Pick<Sequence, 'adapter'>[],
): AdapterKey[] {
  const used = new Set(sequences.map(({ adapter }) => adapter));
  const unused = [...attached].filter((key) => !used.has(key));
  for (const key of unused) attached.delete(key);
  return unused;
}

/** Adds an adapter, and returns it if it still has to be attached. */
export function attach(
  attached: Set<AdapterKey>,
  adapter: AdapterKey | undefined,
): AdapterKey | undefined {
  if (adapter === undefined || attached.has(adapter)) return undefined;
  attached.add(adapter);
  return adapter;
}
