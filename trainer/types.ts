// The contract between the model, which computes gradients, and the training loop, which has data and optimizer. Neither ONNX
// nor files appear in it.
import type { Tensor } from '../src/common/tensor.ts';
import type { PairMetrics } from '../src/contracts/metrics.ts';

/** A padded micro-batch: N sequences (rows) of T positions. */
export interface MicroBatch {
  /** N */
  readonly rows: number;
  /** T */
  readonly length: number;
  /** [N*T]: token ids; padding is 0. */
  readonly inputIds: Int32Array;
  /** [N*T]: restarts at 0 with each packed example. */
  readonly positions: Int32Array;
  /** [N*T]: the example's number within its row; padding is -1. Attention is causal and stays inside a segment. */
  readonly segments: Int32Array;
  /** [N*T]: the token id or class that a position predicts (already shifted), or -1 if it is not in the loss. */
  readonly targets: Int32Array;
  /** [N*T]: the loss weight of each target (1, or the message's weight). */
  readonly weights: Float32Array;
}

/** A trained tensor. `data` and `grad` are the same arrays for the model's lifetime: write in place. */
export interface Parameter {
  /** The tensor's name in PEFT's file or in the model's. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /** The gradients accumulated since the caller last zeroed it. */
  readonly grad: Float32Array;
  /** Whether weight decay applies: not to norms and biases. */
  readonly decays: boolean;
  /** The values at which an adapter changes nothing. Absent: zeros. */
  readonly neutral?: Float32Array | undefined;
  /** The factor that the engine applies to the values. Absent: 1. */
  readonly scaling?: number;
  /** PiSSA: the values start from the neutral ones, and a file contains both. Absent: a file contains the values. */
  readonly startedAs?: 'a' | 'b';
}

/** The loss of a micro-batch, as sums. */
export interface LossSums {
  /** Sum of weighted token losses, in nats. */
  readonly loss: number;
  /** Sum of the loss weights. */
  readonly weight: number;
  /** The number of targets with a weight above 0. */
  readonly count: number;
  /** How many of these targets have the largest logit. */
  readonly hits: number;
  /** Sums over pairs. If present, weight, count and hits also count pairs. */
  readonly pairs?: PairMetrics;
}

/**
 * Returns the loss weights of the targets in the loss, given their log-probabilities, both in the batch's order. A weight is
 * the derivative of the loss with respect to the token's loss, so it may be negative.
 */
export type WeighTargets = (logProbs: readonly number[]) => Float32Array;

/** Computes the losses and gradients of micro-batches, in place. */
export interface TrainModel {
  readonly parameters: readonly Parameter[];
  /**
   * Runs forward and backward, and adds d(sum of weighted token losses)/d(parameter) to each `grad`. Dropout masks depend only
   * on the seed, the arguments of `setDropoutStep`, the module and the batch's shape.
   * @param weigh replaces the batch's loss weights between the forward and the backward pass
   */
  accumulate(batch: MicroBatch, weigh?: WeighTargets): Promise<LossSums>;
  /** Runs forward without dropout. */
  evaluate(batch: MicroBatch): Promise<LossSums>;
  /** Returns the log-probabilities of the targets in the loss, in the batch's order. Runs forward without dropout. */
  score(batch: MicroBatch): Promise<number[]>;
  /** Selects the masks of the next `accumulate`: optimizer step and micro-batch within it, both counted from 0. */
  setDropoutStep(step: number, microBatch: number): void;
  /** Frees the sessions. The parameters stay readable. */
  release(): Promise<void>;
}

/** A model that also predicts single tokens, without dropout. */
export interface ProbedModel extends TrainModel {
  /** Returns the most likely token, or class, after each row's last token: [N]. */
  predict(batch: MicroBatch): Promise<number[]>;
}

/** The arithmetic of the frozen linears and the head: float32, or int8 in per-token form. */
export type Compute = 'float32' | 'int8';

/** `qlora` trains an adapter on an NF4 base, `lora` an adapter on an unquantized base, `full` all weights. */
export type TrainMethod = 'qlora' | 'lora' | 'full';

/** How an adapter changes a linear. */
export interface ModuleUpdate {
  readonly rank: number;
  readonly scaling: number;
  /** DoRA: the rows of the adapted weight have trained norms. */
  readonly isDora?: boolean;
  /** B has a bias. */
  readonly hasBias?: boolean;
  /** PiSSA: A and B start as the largest singular vectors of W, and their product is taken out of W. */
  readonly isPissa?: boolean;
  /** Activated LoRA: it applies only from the invocation on. */
  readonly isActivated?: boolean;
}

/** An adapter to train, module by module. */
export interface LoraSettings {
  /** By module name, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, ModuleUpdate>;
  /** The base weights that are trained whole, such as biases: name in the checkpoint → name in PEFT's file. */
  readonly whole?: ReadonlyMap<string, string>;
  /** Whether changes of the embedding also change the output head. The base must tie them. Absent: false. */
  readonly tiesWeights?: boolean | undefined;
  /** Activated LoRA: the adapter applies from the last occurrence of these token ids. Absent: always. */
  readonly invocation?: readonly number[];
  /**
   * Initial weights by PEFT tensor name (`base_model.model.….lora_A.weight`). Tensors that start from the base's values may be
   * absent.
   */
  readonly init: ReadonlyMap<string, Tensor>;
  /** The names of a classifier's classes. Absent: the adapter generates text. */
  readonly classes?: readonly string[] | undefined;
}
