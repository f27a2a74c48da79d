// A prompt's chunk in pieces, for devices that must not be given many tokens of a sequence at once. Pure.
import type { LogitsRow } from './logits.ts';
import type { ModelInput } from './model-input.ts';

/** A run of a part of another run's tokens. */
export interface Piece {
  readonly input: ModelInput;
  /** Rows of the whole run whose logits it gives, in its order; none: its logits are nobody's. */
  readonly rows: readonly number[];
}

/** Runs of at most `longest` tokens of the one sequence, in order. */
export function splitRun(input: ModelInput, longest: number): Piece[] {
  const { tokenIds, logitRows } = input;
  const pieces: Piece[] = [];
  for (let start = 0; start < tokenIds.length; start += longest) {
    const ids = tokenIds.slice(start, start + longest);
    const rows = logitRows.filter((row) => row >= start && row < start + ids.length);
    const wanted = rows.length > 0 ? rows.map((row) => row - start) : [ids.length - 1];
    const pastLengths = [input.pastLengths[0]! + start];
    pieces.push({ input: { ...input, tokenIds: ids, pastLengths, logitRows: wanted }, rows });
  }
  return pieces;
}

/** A row that outlives the next run. */
export function copyRow({ logits, top }: LogitsRow): LogitsRow {
  if (!top) return { logits: logits.slice() };
  const { values, ids, logSumExp } = top;
  return {
    logits: logits.slice(),
    top: { values: values.slice(), ids: Array.from(ids, Number), logSumExp },
  };
}
