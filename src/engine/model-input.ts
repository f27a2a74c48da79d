// The input of one run of a serving graph, as plain data, and its split into shorter runs.
import { ZERO_SLOT } from './adapters/adapter-groups.ts';

/** One run: B sequences in adjacent KV slots, S new tokens each. */
export interface ModelInput {
  /** [B * S] */
  readonly tokenIds: readonly number[];
  readonly firstSlot: number;
  /** [B]: how many tokens of each sequence are in the cache. */
  readonly pastLengths: readonly number[];
  /** The token rows whose logits or hidden states are requested. */
  readonly logitRows: readonly number[];
  /** [B]: the adapter slot of each sequence. */
  readonly slots: readonly number[];
}

/** Whether a run has several new tokens of each sequence. */
export function hasSeveralTokens({ tokenIds, pastLengths }: ModelInput): boolean {
  return tokenIds.length > pastLengths.length;
}

/** Returns the adapter slot of each token row. Undefined if none has an adapter. */
export function rowSlots({ tokenIds, slots }: ModelInput): number[] | undefined {
  if (slots.every((slot) => slot === ZERO_SLOT)) return undefined;
  const tokensEach = tokenIds.length / slots.length;
  return tokenIds.map((_, row) => slots[Math.floor(row / tokensEach)]!);
}

/** A run over part of the tokens of another run. */
interface PartialRun {
  readonly input: ModelInput;
  /** The rows of the whole run that this run outputs, in order. If empty, its output is not used. */
  readonly rows: readonly number[];
}

/** Splits a run of one sequence into runs of at most `maxTokens` tokens, in order. */
export function splitRun(input: ModelInput, maxTokens: number): PartialRun[] {
  const { tokenIds, logitRows } = input;
  const runs: PartialRun[] = [];
  for (let start = 0; start < tokenIds.length; start += maxTokens) {
    const ids = tokenIds.slice(start, start + maxTokens);
    const rows = logitRows.filter((row) => row >= start && row < start + ids.length);
    const requested = rows.length > 0 ? rows.map((row) => row - start) : [ids.length - 1];
    const pastLengths = [input.pastLengths[0]! + start];
    runs.push({ input: { ...input, tokenIds: ids, pastLengths, logitRows: requested }, rows });
  }
  return runs;
}
