// Tasks for a trainer that serves many adapters on one base, and their results. A task changes one adapter, or reads it. Plain
// data; numbers cross the process boundary as typed arrays.
import { z } from 'zod';

const CLIP = { clip_low_threshold: 0.8, clip_high_threshold: 1.2 } as const;
const OF_SAMPLES = ['logprobs', 'advantages'] as const;

/**
 * The losses of tokens, by their names in Tinker's protocol: the inputs that every sequence must have, and the parameters with
 * their defaults. A sequence may have an input with the name of a parameter, which then has a value for each token.
 */
export const TOKEN_LOSS_SHAPES = {
  cross_entropy: { inputs: ['weights'], parameters: {} },
  importance_sampling: { inputs: OF_SAMPLES, parameters: {} },
  ppo: { inputs: OF_SAMPLES, parameters: CLIP },
  cispo: { inputs: OF_SAMPLES, parameters: { clip_low_threshold: 0, clip_high_threshold: 4 } },
  dro: { inputs: OF_SAMPLES, parameters: { beta: 0.05 } },
  gspo: { inputs: [...OF_SAMPLES, 'sequence_ratio_mask'], parameters: CLIP },
} as const satisfies Record<string, TokenLossShape>;

interface TokenLossShape {
  readonly inputs: readonly string[];
  readonly parameters: Readonly<Record<string, number>>;
}

/** The name of a loss of tokens. */
export type TokenLossName = keyof typeof TOKEN_LOSS_SHAPES;
/** The names of all. */
export const TOKEN_LOSS_NAMES = Object.keys(TOKEN_LOSS_SHAPES) as TokenLossName[];

/** A sequence of T tokens, and what its loss needs. */
export interface TokenDatum {
  /** [T] */
  readonly inputIds: Int32Array;
  /** [T]: the token that each position predicts (already shifted). */
  readonly targets: Int32Array;
  /** The loss's inputs by name, such as `weights` or `advantages`: [T] each. */
  readonly inputs: Readonly<Record<string, Float32Array>>;
}

/** A loss and its parameters. A parameter that is absent has its default. */
export interface TokenLossChoice {
  readonly name: TokenLossName;
  readonly config: Readonly<Record<string, number>>;
}

export const newAdapterSchema = z.object({
  rank: z.int().positive(),
  /** Below 2**31 */
  seed: z.int().nonnegative(),
  trainsMlp: z.boolean(),
  trainsAttention: z.boolean(),
  /** Whether the output head gets an update. */
  trainsHead: z.boolean(),
});
/** The adapter of a new model. */
export type NewAdapter = Readonly<z.infer<typeof newAdapterSchema>>;

export const adamStepSchema = z.object({
  learningRate: z.number(),
  betas: z.tuple([z.number(), z.number()]).readonly(),
  epsilon: z.number(),
  weightDecay: z.number(),
  /** 0: gradients are not clipped. */
  maxGradNorm: z.number(),
});
/** An update by AdamW. */
export type AdamStep = Readonly<z.infer<typeof adamStepSchema>>;

/** The tasks by kind, each with its result. `model` is an id that the sender chooses. */
export interface ServiceCalls {
  /** Creates a model whose adapter changes nothing yet. */
  create: { readonly task: { readonly adapter: NewAdapter }; readonly result: LoadedModel };
  /** Creates a model from a PEFT folder, and from the file of its moments if there is one. */
  load: {
    readonly task: { readonly directory: string; readonly momentsFile: string | undefined };
    readonly result: LoadedModel;
  };
  /** Computes the loss of a micro-batch, and adds its gradients unless `isForwardOnly`. */
  pass: {
    readonly task: {
      readonly data: readonly TokenDatum[];
      readonly loss: TokenLossChoice;
      readonly isForwardOnly: boolean;
    };
    readonly result: PassResult;
  };
  /** Updates the adapter with the gradients since the last step, and clears them. */
  step: {
    readonly task: { readonly adam: AdamStep };
    readonly result: { readonly gradNorm: number };
  };
  /** Writes the adapter as a PEFT folder, and to a file, if one is named, its moments and perhaps its gradients. */
  save: {
    readonly task: {
      readonly directory: string;
      readonly momentsFile: string | undefined;
      readonly withGradients: boolean;
    };
    readonly result: null;
  };
  /** Forgets a model. */
  drop: { readonly task: object; readonly result: null };
}

/** A model that can be trained. */
interface LoadedModel {
  readonly rank: number;
}

/** The result of a pass. */
export interface PassResult {
  /** The log-probabilities of the targets, by datum: [T] each. */
  readonly logProbs: readonly Float32Array[];
  /** Summed over all tokens. */
  readonly loss: number;
}

/** The kind of a task. */
export type ServiceCall = keyof ServiceCalls;

/** A task of some kind. */
export type ServiceTask = {
  [K in ServiceCall]: { readonly kind: K; readonly model: string } & ServiceCalls[K]['task'];
}[ServiceCall];

/** The result of a task of some kind. */
export type ServiceResult = ServiceCalls[ServiceCall]['result'];
