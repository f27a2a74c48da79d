// Every setting of a training run, as one table. The command line, the job file, the fine-tuning API and docs/training-settings.md
// derive from it. The table defines names and values; the trainer gives them their effect.
import { z } from 'zod';
import { ADAPTER_KIND_SETTINGS } from './adapter-kind-settings.ts';
import { PREFERENCE_SETTINGS } from './preference-settings.ts';
import { REINFORCEMENT_SETTINGS } from './reinforcement-settings.ts';
import { TOOL_FORMAT_NAMES } from './tool-format.ts';
import type { TrainingSetting } from './training-setting.ts';

/** The largest rank of an adapter. Beyond it, the full weights of most layers are smaller. */
export const MAX_RANK = 512;
/** A rate above it diverges with every optimizer. */
export const MAX_LEARNING_RATE = 1;
/** Twice the rank is usual. At this scale one step of any rate diverges. */
const MAX_ALPHA = 65_536;
/** A larger factor raises even a rate of 1e-6, which is lower than any default, above the highest rate. */
const MAX_RATE_MULTIPLIER = 1_000_000;
/** No loss of a token comes near it, so a gate with this limit is off. */
const MAX_NATS = 1e9;
/** The rank of an adapter if the job sets none. */
export const DEFAULT_RANK = 16;
/** The most classes of a classifier: enough for every intent data set, and a bound on the response. */
export const MAX_LABELS = 1024;
/** The most characters of a class name. */
export const MAX_LABEL_LENGTH = 256;
/** The largest seed that OpenAI's API allows. */
const MAX_SEED = 2_147_483_647;
/** No gradient is clipped at this norm. */
const MAX_GRADIENT_NORM = 1e12;
/** Days of training at any speed. More is a typo. */
const MAX_STEPS = 10_000_000;
/** The server reads an adapter_config.json of up to 64 KiB, with expressions of up to 2,048 characters. */
const TARGET_LIMITS = { names: 64, nameLength: 256, patternLength: 2048 };

const text = z.string().min(1).max(4096);
const count = (max: number) => z.int().min(1).max(max);
const share = z.number().min(0).lt(1);
const pattern = <T extends z.ZodType>(value: T) => z.record(z.string().min(1).max(2048), value);
const alpha = z.number().positive().max(MAX_ALPHA);
const multiplier = z.number().positive().max(MAX_RATE_MULTIPLIER);
const wholeNumber = (max: number) => ({
  schema: count(max),
  rule: `a whole number from 1 to ${max}`,
});
const targets = z.union(
  [
    z.string().min(1).max(TARGET_LIMITS.patternLength),
    z.array(z.string().min(1).max(TARGET_LIMITS.nameLength)).min(1).max(TARGET_LIMITS.names),
  ],
  `must be all-linear, a regular expression of up to ${TARGET_LIMITS.patternLength} characters, or a list of up to ${TARGET_LIMITS.names} module names of up to ${TARGET_LIMITS.nameLength}`,
);

/** The gates' limits: what an adapter must reach to be published. */
export const GATE_SETTINGS = {
  margin: {
    schema: z.number().min(-MAX_NATS).max(MAX_NATS),
    default: 0,
    help: "nats by which the validation loss must be below the base's",
  },
  maxForgetting: {
    schema: z.number().positive().max(MAX_NATS),
    // Four public adapters of SmolLM2-135M move the loss by -0.15 to 0.13: ten times that is damage.
    default: 1.5,
    help: 'nats per token by which the loss on a fixed text may rise',
  },
} as const satisfies Record<string, Pick<TrainingSetting, 'schema' | 'default' | 'help'>>;

/** The gates' limits that a job may change. */
export const gateSchema = z.object({
  margin: GATE_SETTINGS.margin.schema.optional(),
  maxForgetting: GATE_SETTINGS.maxForgetting.schema.optional(),
});

/** All settings, one row each. */
export const TRAINING_SETTINGS = {
  model: {
    heading: 'Rows and result:',
    schema: text,
    isRequired: true,
    isCommon: true,
    help: 'folder or name of an imported model',
    api: { name: 'model' },
    isHashed: false,
  },
  data: {
    schema: text,
    isRequired: true,
    isCommon: true,
    help: 'file of rows: JSON lines, a JSON list, CSV or Parquet, in the forms of OpenAI, TRL, ShareGPT or Alpaca',
    api: { name: 'training_file' },
    isHashed: false,
  },
  validation: {
    schema: text,
    isCommon: true,
    help: 'file of validation rows, which are not trained on',
    api: { name: 'validation_file' },
    isHashed: false,
  },
  validationSplit: {
    schema: z.number().min(0).max(0.5),
    default: 0,
    isCommon: true,
    help: 'share of the rows that is held out for validation',
    api: { group: 'lorikeet', name: 'validation_split' },
  },
  name: {
    schema: z.string(),
    isCommon: true,
    help: "the adapter's name; it is published under it when the run has succeeded",
    api: { name: 'suffix' },
  },
  adapters: {
    schema: text,
    flag: 'none',
    help: 'folder to publish a named adapter into, instead of the store',
    isHashed: false,
  },
  method: {
    schema: z.enum(['qlora', 'lora', 'full']),
    help: 'qlora, lora or full',
    fallback: 'qlora on an NF4 base, else lora',
    api: { group: 'lorikeet', name: 'method', schema: z.enum(['qlora', 'lora']) },
  },
  ...PREFERENCE_SETTINGS,
  ...REINFORCEMENT_SETTINGS,
  rank: {
    heading: 'Adapter:',
    schema: count(MAX_RANK),
    isCommon: true,
    help: "the adapter's rank",
    fallback: String(DEFAULT_RANK),
    api: { group: 'lorikeet', name: 'rank', label: 'LoRA rank' }, // --max-job-rank is the limit
    needs: 'adapter',
  },
  alpha: {
    schema: alpha,
    help: 'the adapter is scaled by alpha / rank',
    fallback: 'twice the rank',
    api: { group: 'lorikeet', name: 'alpha', label: 'LoRA alpha' },
    needs: 'adapter',
  },
  targets: {
    schema: targets,
    flag: 'names',
    isCommon: true,
    help: 'adapted modules: all-linear, names such as q_proj,v_proj, or a regular expression',
    fallback: 'all-linear',
    api: { group: 'lorikeet', name: 'targets' },
    needs: 'adapter',
  },
  rslora: {
    schema: z.boolean(),
    help: 'scale by alpha / sqrt(rank)',
    fallback: 'false',
    api: { group: 'lorikeet', name: 'rslora' },
    needs: 'adapter',
  },
  ...ADAPTER_KIND_SETTINGS,
  rankPattern: {
    heading: 'Start, layers and formats:',
    schema: pattern(count(MAX_RANK)),
    help: 'other ranks for some modules: a regular expression for each rank',
    needs: 'adapter',
  },
  alphaPattern: {
    schema: pattern(alpha),
    help: 'other alphas for some modules: a regular expression for each alpha',
    needs: 'adapter',
  },
  layers: {
    schema: z.array(z.int().min(0).max(2048)).min(1).max(2048),
    help: 'adapted blocks, counted from 0',
    fallback: 'all',
    needs: 'adapter',
  },
  dropout: {
    schema: share,
    default: 0,
    help: "share of the adapters' inputs that is dropped",
    api: { group: 'lorikeet', name: 'dropout', label: 'LoRA dropout' },
    objectives: ['supervised', 'dpo'],
  },
  initAdapter: {
    schema: text,
    help: 'PEFT folder to start from; the adapter keeps its rank, alpha and targets',
    api: { name: 'model' },
    needs: 'adapter',
    isHashed: false,
  },
  toolFormat: {
    schema: z.enum(TOOL_FORMAT_NAMES),
    help: 'how rows show calls of tools: hermes, llama3 or mistral; must match the server',
    fallback: "as the base's chat template shows them, else hermes",
  },
  saveDtype: {
    schema: z.enum(['float32', 'float16']),
    help: 'float32 or float16: how the adapter is stored; training uses float32',
    fallback: 'float32',
    needs: 'adapter',
  },
  compute: {
    schema: z.enum(['float32', 'int8']),
    default: 'float32',
    isCommon: true,
    help: 'float32 or int8: the arithmetic of the frozen linears and the logits; int8 is faster',
    api: { group: 'lorikeet', name: 'compute', label: 'Arithmetic' },
    // A checkpoint stores it in a separate field, which a resumed run must match.
    isHashed: false,
  },
  learningRate: {
    heading: 'Optimizer:',
    schema: z.number().positive().max(MAX_LEARNING_RATE),
    isCommon: true,
    help: 'the peak of the learning rate',
    fallback: "by the model's width; a twentieth of that for dpo and reinforcement",
  },
  schedule: {
    schema: z.enum(['cosine', 'linear', 'constant']),
    default: 'cosine',
    help: 'cosine, linear or constant',
  },
  warmupSteps: {
    schema: z.int().min(0).max(MAX_STEPS),
    help: 'steps before the peak',
    fallback: '3% of all',
  },
  epochs: {
    schema: count(1000),
    default: 3,
    isCommon: true,
    help: 'passes over the rows',
    api: { group: 'hyperparameters', name: 'n_epochs', label: 'Epochs', ...wholeNumber(50) },
  },
  maxSteps: {
    schema: count(MAX_STEPS),
    help: 'optimizer steps; overrides epochs',
  },
  batchSize: {
    schema: count(1024),
    default: 8,
    isCommon: true,
    help: 'sequences (pairs, prompts) of a micro-batch',
    api: { group: 'hyperparameters', name: 'batch_size', label: 'Batch size', ...wholeNumber(256) },
  },
  gradAccumulation: {
    schema: count(65_536),
    default: 1,
    help: 'micro-batches of an optimizer step',
    // The API states the product.
    api: { name: 'batch_size' },
  },
  learningRateMultiplier: {
    schema: multiplier,
    flag: 'none',
    default: 1,
    help: 'factor for the peak of the learning rate',
    api: {
      group: 'hyperparameters',
      name: 'learning_rate_multiplier',
      label: 'Learning rate multiplier',
      rule: `a number above 0, at most ${MAX_RATE_MULTIPLIER}`,
    },
  },
  maxLength: {
    heading: 'Sequences and regularization:',
    schema: z.int().min(2).max(1_048_576),
    isCommon: true,
    help: 'maximum number of tokens of an example; longer ones are cut off',
    fallback: '1024',
  },
  packing: {
    schema: z.boolean(),
    default: false,
    help: 'put several examples into one sequence; they do not see each other',
    objectives: ['supervised'],
  },
  shuffle: {
    schema: z.boolean(),
    default: true,
    help: "false: keep the rows in the file's order",
  },
  seed: {
    schema: z.int().min(0).max(MAX_SEED),
    default: 0,
    isCommon: true,
    help: 'the same seed gives the same bytes',
    api: { name: 'seed', label: 'Seed', absent: 'random' },
  },
  weightDecay: {
    schema: z.number().min(0).max(1),
    default: 0,
    help: 'weight decay, except for norms and biases',
  },
  maxGradNorm: {
    schema: z.number().positive().max(MAX_GRADIENT_NORM),
    default: 1,
    help: 'gradients are clipped to this norm',
  },
  betas: {
    schema: z.tuple([share, share]),
    default: [0.9, 0.999],
    help: "AdamW's decay rates of the two moments",
  },
  epsilon: {
    schema: z.number().positive().max(1),
    flag: 'none',
    default: 1e-8,
    help: "AdamW's epsilon",
  },
  evalEvery: {
    heading: 'Validation, checkpoints, gate:',
    schema: count(MAX_STEPS),
    help: 'steps between validations',
    fallback: 'an epoch',
    // OpenAI's API has it only for this objective.
    api: {
      group: 'hyperparameters',
      name: 'eval_interval',
      label: 'Validate after steps',
      rule: 'a whole number of at least 1',
      auto: 'stepsPerEpoch',
      objectives: ['reinforcement'],
    },
    needs: 'validation',
  },
  patience: {
    schema: count(MAX_STEPS),
    help: 'stop after this many validations in a row without a better loss',
    fallback: 'none',
    needs: 'validation',
  },
  checkpointEvery: {
    schema: count(MAX_STEPS),
    help: 'steps between checkpoints',
    fallback: 'a tenth of the run',
  },
  gate: {
    schema: z.boolean(),
    default: false,
    help: 'fail if the adapter does not pass its gates; otherwise the run only warns',
    api: { group: 'lorikeet', name: 'gate', schema: gateSchema },
    isHashed: false,
  },
  recompute: {
    heading: 'Memory and threads:',
    schema: z.boolean(),
    default: true,
    help: 'activation checkpointing: less memory for a third more time',
  },
  blocksPerSegment: {
    schema: count(1024),
    default: 1,
    help: 'decoder blocks per graph',
  },
  threads: {
    schema: count(1024),
    help: 'threads',
    fallback: 'one per core',
  },
} as const satisfies Record<string, TrainingSetting>;
