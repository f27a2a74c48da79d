// Runs the batches of a step on the engine, and announces each run. The scheduler interprets the results.

import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { ServeError } from '../common/errors.ts';
import {
  type AdapterKey,
  type Batch,
  type DecodeBatch,
  type DecodeRow,
  PartialDecode,
  type PrefillBatch,
  type RowResult,
  type SlotId,
} from '../engine/batch.ts';
import type { StepEngine } from './options.ts';
import { packPrefills } from './packs.ts';
import type { FromEngine, RunSize, SequenceId } from './protocol.ts';
import type { DecodeOutcome, RunOutcome, StepPrefill } from './step-plan.ts';

/** After this many rows whose separate runs were also terminated, the machine is at fault. All rows wait 15 s for each. */
const MAX_TERMINATED_ROWS = 2;

interface StepRunnerOptions {
  readonly engine: StepEngine;
  post(message: FromEngine): void;
  /** The weights of a leased adapter. */
  weights(adapter: AdapterKey): AdapterWeights;
  toServeError(error: unknown): ServeError;
}

/** Runs batches, and zeros the slots of those that failed. */
export class StepRunner {
  readonly #options: StepRunnerOptions;
  /** Whether the current run is being terminated. */
  #isTerminating = false;
  /** The last announced run. */
  #announced: Extract<FromEngine, { type: 'running' }> = { type: 'running', ids: [] };

  constructor(options: StepRunnerOptions) {
    this.#options = options;
  }

  /** Ends the current run, if there is one. */
  terminate(): void {
    this.#isTerminating = true;
    this.#options.engine.terminate();
  }

  /** Runs prompt chunks. Yields the outcomes of those that ran together. */
  async *prefills(prefills: readonly StepPrefill[]): AsyncGenerator<RunOutcome[], void, void> {
    const { engine } = this.#options;
    const packs = engine.runTogether
      ? packPrefills(prefills, engine.info.maxSeqLength)
      : prefills.map((one) => [one]);
    for (const pack of packs) {
      const refused: (RunOutcome | undefined)[] = [];
      for (const prefill of pack) refused.push(await this.#prepare(prefill));
      const isWhole = pack.length > 1 && refused.every((outcome) => !outcome);
      const together = isWhole ? await this.#runTogether(pack) : undefined;
      yield together ?? (await this.#runAlone(pack, refused));
    }
  }

  async #runAlone(
    pack: readonly StepPrefill[],
    refused: readonly (RunOutcome | undefined)[],
  ): Promise<RunOutcome[]> {
    const outcomes: RunOutcome[] = [];
    for (const [i, { id, batch }] of pack.entries()) {
      const run = async () => this.#zeroIfFailed(batch, await this.#run(batch, [id]));
      outcomes.push(refused[i] ?? (await run()));
    }
    return outcomes;
  }

  /** Runs chunks together. Returns undefined if they have to run alone, of which only those at fault will fail. */
  async #runTogether(pack: readonly StepPrefill[]): Promise<RunOutcome[] | undefined> {
    const batches = pack.map(({ batch }) => batch);
    this.#announce(
      pack.map(({ id }) => id),
      ...batches,
    );
    const rows = await this.#options.engine.runTogether!(batches).catch(() => undefined);
    return rows?.map((row) => ({ result: { rows: [row], promptLogprobs: [] } }));
  }

  /**
   * Restores a chunk's prefix and attaches its adapter, which stays attached if the chunk fails, because other prompts of the
   * step may use it. Returns the outcome if the chunk cannot run.
   */
  async #prepare({ id, batch, attach, restore }: StepPrefill): Promise<RunOutcome | undefined> {
    const { engine, weights, toServeError } = this.#options;
    if (restore) engine.prefixes?.restore(restore, batch.pastLength, batch.slot);
    if (attach !== undefined) {
      this.#announce([id], batch); // attaching can crash the process too
      try {
        await engine.attachAdapter(weights(attach));
      } catch (error) {
        return { error: toServeError(error), isDetached: true };
      }
    }
    return undefined;
  }

  /** Runs a decode batch. If the run is terminated, each row runs again alone, so that only the slow row fails. */
  async decode(batch: DecodeBatch, ids: readonly SequenceId[]): Promise<DecodeOutcome> {
    const outcome = await this.#run(batch, ids);
    const completed = completedRows(outcome);
    if (completed && batch.rows.length > 1) return this.#decodeAlone(batch, ids, completed);
    return this.#zeroIfFailed(batch, outcome);
  }

  /** Complete rows do not run again, because their samplers have already drawn. */
  async #decodeAlone(
    { rows }: DecodeBatch,
    ids: readonly SequenceId[],
    completed: readonly RowResult[][],
  ): Promise<DecodeOutcome> {
    const alone: RunOutcome[] = [];
    for (const [i, row] of rows.entries()) {
      const results = completed[i] ?? [];
      if (results.length > 0) {
        alone.push({ result: { rows: [results], promptLogprobs: [] } });
        continue;
      }
      const batch = toPrefill(row, i as SlotId);
      const isLimit = alone.filter(completedRows).length >= MAX_TERMINATED_ROWS;
      const outcome = isLimit ? tookTooLong() : await this.#run(batch, [ids[i]!]);
      alone.push(await this.#zeroIfFailed(batch, outcome));
    }
    return { alone };
  }

  async #run(batch: Batch, ids: readonly SequenceId[]): Promise<RunOutcome> {
    const { engine, toServeError } = this.#options;
    this.#announce(ids, batch);
    this.#isTerminating = false;
    try {
      return { result: await engine.run(batch) };
    } catch (error) {
      const isPartial = error instanceof PartialDecode;
      if (this.#isTerminating) return tookTooLong(isPartial ? error.rows : []);
      return { error: toServeError(isPartial ? error.cause : error) };
    }
  }

  /** Posts that nothing runs. */
  idle(): void {
    this.#announce([]);
  }

  /** Posts the sequences and the size of the run that begins, unless they equal the last run's. */
  #announce(ids: readonly SequenceId[], ...batches: readonly Batch[]): void {
    const last = this.#announced;
    const size = batches.length > 0 ? sizeOf(...batches) : undefined;
    const isSameSize = size?.tokens === last.size?.tokens && size?.keys === last.size?.keys;
    const isSame = ids.length === last.ids.length && ids.every((id, i) => id === last.ids[i]);
    if (isSame && isSameSize) return;
    this.#announced = { type: 'running', ids, ...(size && { size }) };
    this.#options.post(this.#announced);
  }

  /** A failed run may have left anything in its slots. */
  async #zeroIfFailed(batch: Batch, outcome: RunOutcome): Promise<RunOutcome> {
    if ('result' in outcome) return outcome;
    const slots = batch.kind === 'prefill' ? [batch.slot] : [...batch.rows.keys()];
    for (const slot of slots) await this.#options.engine.zeroSlot(slot as SlotId);
    return outcome;
  }
}

function tookTooLong(completed: readonly RowResult[][] = []): RunOutcome {
  const message =
    'The engine run of this request took far longer than others of its size, so it was terminated. Try again. If that ' +
    'fails too, send a shorter prompt, or ask the operator to look into the log of the server.';
  return { error: new ServeError('engine_restarting', message), completed };
}

/** The rows that were complete before their run was terminated. Undefined if the run was not terminated. */
function completedRows(outcome: RunOutcome): readonly RowResult[][] | undefined {
  return 'error' in outcome ? outcome.completed : undefined;
}

/**
 * A decode batch begins at slot 0, so a single row of another slot runs as a prompt of one token. Drafts and forced tokens are
 * left out, because the sampler draws them anyway.
 */
function toPrefill(
  { adapter, tokenId, pastLength, sampler }: DecodeRow,
  slot: SlotId,
): PrefillBatch {
  const tokenIds = [tokenId];
  return { kind: 'prefill', slot, adapter, tokenIds, pastLength, sampler, scoring: undefined };
}

/** Returns the size of batches that run together. A decoding row grows by one token per step, so its size changes rarely. */
export function sizeOf(...batches: readonly Batch[]): RunSize {
  let tokens = 0;
  let keys = 0;
  const rows = batches.flatMap((batch): readonly (PrefillBatch | DecodeRow)[] =>
    batch.kind === 'prefill' ? [batch] : batch.rows,
  );
  for (const row of rows) {
    const inputs = 'tokenIds' in row ? row.tokenIds.length : 1 + (row.draftIds?.length ?? 0);
    const count = inputs + (row.forcedIds?.length ?? 0);
    tokens += count;
    keys += count * (row.pastLength + count);
  }
  return { tokens: roundUp(tokens), keys: roundUp(keys) };
}

function roundUp(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}
