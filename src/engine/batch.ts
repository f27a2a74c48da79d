// The input and the output of one engine run: plain data, no queues, no time.
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
  /** Tokens that run behind the chunk, as those of `DecodeRow`. Only with a sampler. */
  forcedIds?: readonly number[];
  /**
   * Set if the prompt is scored. `nextIds[i]` is the token after `tokenIds[i]`, undefined after the last token of the
   * prompt. `topLogprobs` is the number of alternatives to report.
   */
  scoring: { nextIds: readonly (number | undefined)[]; topLogprobs: number } | undefined;
  /** Gets the hidden states of the chunk. With one, nothing is sampled or scored. */
  pooler?: Pooler | undefined;
}

/** The next token of each running sequence, or several if it has drafts. Row i uses KV slot i. */
export interface DecodeBatch {
  kind: 'decode';
  rows: readonly DecodeRow[];
}

/** One running sequence. */
export interface DecodeRow {
  adapter: AdapterKey | undefined;
  /** The last token, which is not in the cache yet. */
  tokenId: number;
  /** The number of tokens in the cache. */
  pastLength: number;
  sampler: TokenSource;
  /**
   * Guesses at the tokens after `tokenId`, which the run verifies. The tokens drawn are those that would be drawn one by
   * one, so a guess must not end the sequence: a token after its end must not be drawn. Absent: none.
   */
  draftIds?: readonly number[];
  /**
   * The tokens that the sampler returns next for any logits. With other rows, they run alone before all rows run together. None of them ends
   * the sequence. Absent: none. A row with these has no drafts.
   */
  forcedIds?: readonly number[];
}

/** The input of one run. */
export type Batch = PrefillBatch | DecodeBatch;

/**
 * A token drawn for a row, or why there is none. A row fails alone if its logits are not finite, after which its slot is
 * zeroed, if its constraints allow no token, or if its grammar takes too long.
 */
export type RowResult =
  | { ok: true; id: number; logprob?: TokenLogprob }
  | { ok: false; reason: 'non_finite' | 'nothing_allowed' | 'too_ambiguous' };

/** A decode that takes several runs of the model, of which one failed or was terminated. */
export class PartialDecode extends Error {
  override name = 'PartialDecode';
  /** The results of the rows that were complete by then, whose samplers have drawn. Others are missing or empty. */
  readonly rows: readonly RowResult[][];

  constructor(rows: readonly RowResult[][], cause: unknown) {
    super('A run of the decode failed.', { cause });
    this.rows = rows;
  }
}

/** The output of one run. */
export interface BatchResult {
  /**
   * The results of each decode row: one, and one more for each draft that was accepted and each forced token. Only the last
   * may have failed. The last one is missing, maybe the only one, if its tokens are still being matched: then the row runs
   * again. For a prefill: one such row, or none without a sampler if its logits are finite.
   */
  rows: RowResult[][];
  /** For a scored prefill: one per defined entry of `nextIds`. */
  promptLogprobs: TokenLogprob[];
}
