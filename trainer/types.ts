// The contract between what computes a step (graphs, gradients) and what drives it (data, optimizer, loop). Plain data:
// it knows no ONNX, no files and no schedule.
import type { Tensor } from '../src/common/tensor.ts';

/** One micro-batch, padded: N sequences (rows) of T positions. Padding is free where it is never attended to. */
export interface MicroBatch {
  /** N */
  readonly rows: number;
  /** T */
  readonly length: number;
  /** [N*T]; padding is 0. */
  readonly inputIds: Int32Array;
  /** [N*T]; starts again at 0 with each packed example. */
  readonly positions: Int32Array;
  /** [N*T]: number of the example within its row, -1 is padding. Attention stays inside a segment and causal. */
  readonly segments: Int32Array;
  /** [N*T]: the id that a position predicts (already shifted), -1 where nothing counts. */
  readonly targets: Int32Array;
  /** [N*T]: loss weight of each target (1, or the message's weight). */
  readonly weights: Float32Array;
}

/** A trained tensor. `data` and `grad` stay the same arrays as long as the model lives: write in place. */
export interface Parameter {
  /** PEFT's or the checkpoint's tensor name. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /** Sum of the gradients accumulated since the caller last filled it with 0. */
  readonly grad: Float32Array;
  /** Whether weight decay applies: not to norms and biases. */
  readonly decays: boolean;
}

export interface LossSums {
  /** Sum of weighted token losses, in nats. */
  readonly loss: number;
  /** Sum of the weights. */
  readonly weight: number;
  /** Targets that count (weight above 0). */
  readonly count: number;
  /** Of these, how many the largest logit gets right. */
  readonly hits: number;
}

export interface TrainModel {
  readonly parameters: readonly Parameter[];
  /**
   * Forward and backward: adds d(sum of weighted token losses)/d(parameter) to each `grad`. Dropout masks depend on
   * the seed, the two numbers of `setDropoutStep`, the module and the batch's shape only.
   */
  accumulate(batch: MicroBatch): Promise<LossSums>;
  /** Forward only, without dropout. */
  evaluate(batch: MicroBatch): Promise<LossSums>;
  /** Which masks the next `accumulate` draws: optimizer step and micro-batch within it, both from 0. */
  setDropoutStep(step: number, microBatch: number): void;
  /** Frees the sessions; the parameters stay readable. */
  release(): Promise<void>;
}

/** A model that also tells about single tokens: what an adapter is looked at by. Without dropout. */
export interface ProbedModel extends TrainModel {
  /** Log-probabilities of the targets that count, in the batch's order. */
  score(batch: MicroBatch): Promise<number[]>;
  /** The likeliest token after each row's last one: [N]. */
  predict(batch: MicroBatch): Promise<number[]>;
}

export type TrainMethod = 'qlora' | 'lora' | 'full';

/** An adapter to train, resolved per module. */
export interface LoraSettings {
  /** By module name, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, { readonly rank: number; readonly scaling: number }>;
  /** First values by PEFT tensor name (`base_model.model.….lora_A.weight`). */
  readonly init: ReadonlyMap<string, Tensor>;
}

export interface TrainModelOptions {
  readonly method: TrainMethod;
  /** For `lora` and `qlora`. */
  readonly adapter: LoraSettings | undefined;
  /** Probability with which an element of a LoRA input is dropped. */
  readonly dropout: number;
  /** Recompute each block in the backward pass instead of keeping its activations. */
  readonly recompute: boolean;
  /** Of activations that a recomputing step keeps all the same; default: a share of what it holds anyway. */
  readonly savedBytes?: number;
  /** Decoder blocks per graph. */
  readonly blocksPerSegment: number;
  /** Threads inside one operator; undefined: one per core. */
  readonly threads: number | undefined;
  readonly seed: number;
}
