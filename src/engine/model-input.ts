// The input of one run of a serving graph, as plain data, and its split into shorter runs.
import type { LoraLayout } from '../model/lora-graph.ts';
import type { GroupPlan } from './adapters/adapter-groups.ts';

/** One run: B sequences in adjacent KV slots, S new tokens each. */
export interface ModelInput {
  /** [B * S] */
  readonly tokenIds: readonly number[];
  readonly firstSlot: number;
  /** [B]: how many tokens of each sequence are in the cache. */
  readonly pastLengths: readonly number[];
  /** The token rows whose logits or hidden states are requested. */
  readonly logitRows: readonly number[];
  readonly lora: LoraInput;
}

/** The properties of a run that decide its graph. */
export interface GraphShape {
  readonly kind: Exclude<LoraLayout['kind'], 'none'>;
  readonly hasSeveralTokens: boolean;
}

/** The shapes of all runs, in the order in which a server needs them. */
export const GRAPH_SHAPES: readonly GraphShape[] = [
  { kind: 'sequence', hasSeveralTokens: true },
  { kind: 'token', hasSeveralTokens: false },
  { kind: 'rows', hasSeveralTokens: false },
  { kind: 'grouped', hasSeveralTokens: false },
];

/** Returns the shape of a run. */
export function shapeOf({ tokenIds, pastLengths, lora }: ModelInput): GraphShape {
  const hasSeveralTokens = tokenIds.length > pastLengths.length;
  if (hasSeveralTokens) return { kind: 'sequence', hasSeveralTokens };
  const kind = pastLengths.length === 1 ? 'token' : lora.kind === 'grouped' ? 'grouped' : 'rows';
  return { kind, hasSeveralTokens };
}

/** The adapters of a run: none, one for all rows, or groups of rows. */
export type LoraInput =
  | { readonly kind: 'none' }
  | { readonly kind: 'single'; readonly slot: number }
  | { readonly kind: 'grouped'; readonly plan: GroupPlan };

/** Returns the adapter slot of each token row. Undefined if none has an adapter. */
export function slotsOf({ tokenIds, pastLengths, lora }: ModelInput): number[] | undefined {
  if (lora.kind === 'none') return undefined;
  if (lora.kind === 'single') return tokenIds.map(() => lora.slot);
  const tokensEach = tokenIds.length / pastLengths.length;
  const { first, rowGroups } = lora.plan;
  return tokenIds.map((_, row) => first + rowGroups[Math.floor(row / tokensEach)]!);
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
