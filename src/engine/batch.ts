// What one engine run is asked and what it answers: plain data, no queues, no time.
import type { TokenLogprob } from '../contracts/generation.ts';
import type { Sampler } from './sampler.ts';

/** A row of the KV cache. */
export type SlotId = number & { readonly __slot: true };
/** The digest of an attached adapter. */
export type AdapterKey = string;

/** A chunk of one sequence's prompt. */
export interface PrefillBatch {
  kind: 'prefill';
  slot: SlotId;
  adapter: AdapterKey | undefined;
  /** The chunk's tokens; they stand at positions pastLength, pastLength + 1, … */
  tokenIds: readonly number[];
  pastLength: number;
  /** Set on the prompt's last chunk where a token is to be sampled. */
  sampler: Sampler | undefined;
  /**
   * Set to score this chunk's tokens: `nextIds[i]` is the token after `tokenIds[i]`
   * (undefined after the last of the prompt), `topLogprobs` the alternatives to report.
   */
  scoring: { nextIds: readonly (number | undefined)[]; topLogprobs: number } | undefined;
}

/** One token for each running sequence; row i lives in KV slot i. */
export interface DecodeBatch {
  kind: 'decode';
  rows: readonly DecodeRow[];
}

export interface DecodeRow {
  adapter: AdapterKey | undefined;
  /** The last token, not yet in the cache. */
  tokenId: number;
  /** Tokens already in the cache. */
  pastLength: number;
  sampler: Sampler;
}

export type Batch = PrefillBatch | DecodeBatch;

/**
 * A row's outcome. A row whose logits are not finite ends alone; its slot has been zeroed. So does one whose constraints
 * leave no token to draw.
 */
export type RowResult =
  | { ok: true; id: number; logprob?: TokenLogprob }
  | { ok: false; reason: 'non_finite' | 'nothing_allowed' };

export interface BatchResult {
  /** Per decode row; for a prefill one entry, or none where no sampler was given. */
  rows: RowResult[];
  /** For a scored prefill: one entry per defined `nextIds`. */
  promptLogprobs: TokenLogprob[];
}
