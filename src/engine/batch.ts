// The input and the output of one engine run, as plain data.
import type { TokenLogprob } from '../contracts/generation.ts';
import type { Pooler } from './pooler.ts';
import type { Sampler } from './sampling/sampler.ts';

/** Draws the tokens of a row. */
export type TokenSource = Pick<Sampler, 'sample'> &
  Partial<Pick<Sampler, 'isComplete' | 'prepare'>>;

/** The index of a KV cache slot, which is a row of the cache. */
export type SlotId = number & { readonly __slot: true };
/** The digest of an adapter. */
export type AdapterKey = string;

/** A chunk of a prompt. */
export interface PrefillBatch {
  kind: 'prefill';
  slot: SlotId;
  adapter: AdapterKey | undefined;
  /** The tokens at positions pastLength, pastLength + 1, … */
  tokenIds: readonly number[];
  pastLength: number;
  /** Set on the last chunk of the prompt if a token is to be sampled. */
  sampler: TokenSource | undefined;
  /** Tokens that run after the chunk, like `DecodeRow.forcedIds`. Only with a sampler. */
  forcedIds?: readonly number[];
  /**
   * Set if the prompt is scored. `nextIds[i]` is the token after `tokenIds[i]`, undefined after the last token of the
   * prompt. `topLogprobs` is the number of alternatives to report, and `targetIds[i]` are tokens to score instead of
   * `nextIds[i]`.
   */
  scoring:
    | {
        nextIds: readonly (number | undefined)[];
        topLogprobs: number;
        targetIds?: readonly (readonly number[] | undefined)[] | undefined;
      }
    | undefined;
  /** Receives the hidden states of the chunk. If set, nothing is sampled or scored. */
  pooler?: Pooler | undefined;
}

/** The next token of each running sequence, or several with drafts. Row i uses KV slot i. */
export interface DecodeBatch {
  kind: 'decode';
  rows: readonly DecodeRow[];
}

/** One running sequence. */
export interface DecodeRow {
  adapter: AdapterKey | undefined;
  /** The last token, which is not in the cache yet. */
  tokenId: number;
  /** How many of its tokens are in the cache. */
  pastLength: number;
  sampler: TokenSource;
  /**
   * Guesses at the tokens after `tokenId`, which the run verifies. Drafts do not change which tokens are drawn, so a guess must
   * not end the sequence: no token may be drawn after its end. Absent: no drafts.
   */
  draftIds?: readonly number[];
  /**
   * The tokens that the sampler returns next for any logits. If the batch has other rows, these tokens run alone before all
   * rows run together. None of them ends the sequence. Absent: none. A row with forced tokens has no drafts.
   */
  forcedIds?: readonly number[];
}

/** The input of one run. */
export type Batch = PrefillBatch | DecodeBatch;

/**
 * A token drawn for a row, or the reason that there is none. A row fails alone if its logits are not finite (its slot is then
 * zeroed), if its constraints allow no token, or if its grammar takes too long.
 */
export type RowResult =
  | { ok: true; id: number; logprob?: TokenLogprob }
  | { ok: false; reason: 'non_finite' | 'nothing_allowed' | 'too_ambiguous' };

/** A decode of several runs, one of which failed or was terminated. */
export class PartialDecode extends Error {
  override name = 'PartialDecode';
  /** The results of rows that were complete by then, whose samplers have drawn. Other rows are missing or empty. */
  readonly rows: readonly RowResult[][];

  constructor(rows: readonly RowResult[][], cause: unknown) {
    super('A run of the decode failed.', { cause });
    this.rows = rows;
  }
}

/** The output of one run. */
export interface BatchResult {
  /**
   * The results of each decode row: one, plus one for each accepted draft and each forced token. Only the last may have failed.
   * The last one, possibly the only one, is missing if its tokens are still being matched; the row then runs again. For a
   * prefill: one such row, or none if there is no sampler and the logits are finite.
   */
  rows: RowResult[][];
  /** For a scored prefill: one per defined entry of `nextIds`. */
  promptLogprobs: TokenLogprob[];
}
