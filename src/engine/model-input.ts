// What one run of a serving graph is given: plain data.
import type { GroupPlan } from './adapter-groups.ts';

/** One run: B sequences in neighbouring slots, S new tokens each. */
export interface ModelInput {
  /** [B * S] */
  readonly tokenIds: readonly number[];
  readonly firstSlot: number;
  /** [B]: tokens that each sequence has in the cache already. */
  readonly pastLengths: readonly number[];
  /** Token rows whose logits are wanted. */
  readonly logitRows: readonly number[];
  readonly lora: LoraInput;
}

export type LoraInput =
  | { readonly kind: 'none' }
  | { readonly kind: 'single'; readonly slot: number }
  | { readonly kind: 'grouped'; readonly plan: GroupPlan };
