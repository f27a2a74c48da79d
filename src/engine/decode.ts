// Decodes: runs the next token of each running row, all rows together, or row after row with drafts and forced tokens.
import { ServeError } from '../common/errors.ts';
import type { AdapterSlots } from './adapters/adapter-slots.ts';
import {
  type BatchResult,
  type DecodeBatch,
  type DecodeRow,
  PartialDecode,
  type RowResult,
  type SlotId,
  type TokenSource,
} from './batch.ts';
import { isFiniteRow, type LogitsRow } from './logits.ts';
import type { ModelRunner } from './model-runner.ts';

/** The parts of an engine that decoding uses. */
interface DecodeParts {
  readonly runner: ModelRunner;
  readonly slots: AdapterSlots;
  zeroSlot(slot: SlotId): void;
}

/** Runs decode batches. */
export class Decode {
  readonly #parts: DecodeParts;

  constructor(parts: DecodeParts) {
    this.#parts = parts;
  }

  /** Rejects with `PartialDecode` if a run fails after others have succeeded. */
  async run(batch: DecodeBatch): Promise<BatchResult> {
    if (!batch.rows.some(({ forcedIds = [] }) => forcedIds.length > 0))
      return this.#decodeRows(batch);
    // Forced tokens are a draft that is certain: one run takes them and the next token.
    const [{ forcedIds, ...only }, ...others] = batch.rows as [DecodeRow, ...DecodeRow[]];
    if (others.length === 0)
      return this.#decodeRows({ ...batch, rows: [{ ...only, draftIds: forcedIds ?? [] }] });
    const forced: RowResult[][] = [];
    const rows: DecodeRow[] = [];
    for (const [slot, row] of batch.rows.entries()) {
      forced.push(await orPartial(forced, () => this.#runForced(row, slot as SlotId)));
      rows.push(afterForced(row));
    }
    try {
      const decoded = await this.#decodeRows({ ...batch, rows });
      return { ...decoded, rows: withForced(forced, decoded.rows) };
    } catch (error) {
      if (!(error instanceof PartialDecode)) throw new PartialDecode(withForced(forced, []), error);
      throw new PartialDecode(withForced(forced, error.rows), error.cause);
    }
  }

  /** Runs a row's last token and all its forced tokens except the last. Returns the forced tokens, or a failure. */
  async #runForced(row: DecodeRow, slot: SlotId): Promise<RowResult[]> {
    const { tokenId, forcedIds = [], sampler } = row;
    if (forcedIds.length === 0) return [];
    const tokenIds = [tokenId, ...forcedIds.slice(0, -1)];
    return this.#drawn(sampler, await this.#runTokens(row, slot, tokenIds), slot);
  }

  /** Runs several tokens of one row. Returns the logits of each. */
  #runTokens(
    { pastLength, adapter }: DecodeRow,
    slot: SlotId,
    tokenIds: readonly number[],
  ): Promise<LogitsRow[]> {
    return this.#parts.runner.run({
      tokenIds,
      firstSlot: slot,
      pastLengths: [pastLength],
      logitRows: tokenIds.map((_, i) => i),
      slots: [this.#parts.slots.slotOf(adapter)],
    });
  }

  async #decodeRows(batch: DecodeBatch): Promise<BatchResult> {
    if (!batch.rows.some(hasDrafts)) return this.#decodeTogether(batch);
    const rows: RowResult[][] = [];
    for (const [slot, row] of batch.rows.entries()) {
      rows.push(await orPartial(rows, () => this.#decodeAlone(row, slot as SlotId)));
    }
    return { rows, promptLogprobs: [] };
  }

  async #decodeTogether({ rows }: DecodeBatch): Promise<BatchResult> {
    const logits = await this.#parts.runner.run({
      tokenIds: rows.map((row) => row.tokenId),
      firstSlot: 0,
      pastLengths: rows.map((row) => row.pastLength),
      logitRows: rows.map((_, row) => row),
      slots: rows.map((row) => this.#parts.slots.slotOf(row.adapter)),
    });
    const results = logits.map((row, i) => this.#drawn(rows[i]!.sampler, [row], i as SlotId));
    return { rows: results, promptLogprobs: [] };
  }

  /**
   * Runs one row's last token together with its drafts. The runtime's attention takes several tokens only for a single
   * sequence. Rejected drafts stay in the cache after the end of the row, and the next run overwrites them.
   */
  async #decodeAlone(row: DecodeRow, slot: SlotId): Promise<RowResult[]> {
    const { tokenId, draftIds = [] } = row;
    const tokenIds = [tokenId, ...draftIds];
    const logits = await this.#runTokens(row, slot, tokenIds);
    // A NaN at a wrong draft also reaches earlier tokens: attention multiplies it by a weight of zero, which gives NaN.
    const isSpoiled = draftIds.length > 0 && !logits.every(isFiniteRow);
    if (isSpoiled) return this.#decodeAlone({ ...row, draftIds: [] }, slot);
    const results: RowResult[] = [];
    for (const [i, position] of logits.entries()) {
      const [result] = this.#drawn(row.sampler, [position], slot);
      if (!result) break;
      results.push(result);
      if (!result.ok || result.id !== draftIds[i] || row.sampler.isComplete) break;
    }
    return results;
  }

  /** Draws from successive rows of a sequence. */
  #drawn(sampler: TokenSource, logits: readonly LogitsRow[], slot: SlotId): RowResult[] {
    if (logits.every(isFiniteRow)) return sampledAll(sampler, logits);
    this.#parts.zeroSlot(slot);
    return [{ ok: false, reason: 'non_finite' }];
  }
}

function afterForced({ forcedIds = [], ...row }: DecodeRow): DecodeRow {
  const pastLength = row.pastLength + forcedIds.length;
  return { ...row, tokenId: forcedIds.at(-1) ?? row.tokenId, pastLength };
}

/**
 * Joins each row's results: forced tokens first, then the tokens after them. A row whose forced tokens failed has no others.
 */
function withForced(
  forced: readonly RowResult[][],
  decoded: readonly (readonly RowResult[])[],
): RowResult[][] {
  const isLost = (head: readonly RowResult[]) => head.some(({ ok }) => !ok);
  return forced.map((head, i) => (isLost(head) ? head : [...head, ...(decoded[i] ?? [])]));
}

/** Runs another row. If it fails, rejects with a `PartialDecode` that carries the results of the rows before it. */
async function orPartial<T>(rows: readonly RowResult[][], run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new PartialDecode(rows, error);
  }
}

function hasDrafts({ draftIds = [] }: DecodeRow): boolean {
  return draftIds.length > 0;
}

/** Samples a token from each row, and stops at the first row that fails or whose token is still being matched. */
export function sampledAll(sampler: TokenSource, rows: readonly LogitsRow[]): RowResult[] {
  const results: RowResult[] = [];
  for (const row of rows) {
    if (sampler.prepare?.() === false) break;
    const result = sampled(sampler, row);
    results.push(result);
    if (!result.ok) break;
  }
  return results;
}

/** A grammar may refuse to continue. This must not end the other rows. */
function sampled(sampler: TokenSource, row: LogitsRow): RowResult {
  try {
    const token = sampler.sample(row);
    return token ? { ok: true, ...token } : { ok: false, reason: 'nothing_allowed' };
  } catch (error) {
    if (error instanceof ServeError) return { ok: false, reason: 'too_ambiguous' };
    throw error;
  }
}
