// A training job as its file states it: one schema with every key, its bounds and its default. Knows no model: what
// the model decides (method, rate, lengths, counts of steps) is settled in `settings.ts`.
import { z } from 'zod';
import { NAME_PATTERN, RESERVED_NAMES } from '../adapters/repository/manifest.ts';
import { ConfigError } from '../src/common/errors.ts';
import { faultText } from '../src/common/fault-text.ts';
import { TARGET_LIMITS } from '../src/contracts/training.ts';

/** Beyond this a full weight is smaller for most layers; the server loads no more either. */
const MAX_RANK = 512;
/** Days of training at any speed; more is a slip of the finger. */
const MAX_STEPS = 10_000_000;
const MAX_EPOCHS = 1000;
/** Sequences of a micro-batch; larger windows accumulate. */
const MAX_BATCH = 1024;
const MAX_ACCUMULATION = 65_536;
/** Rates above this diverge with every optimizer here. */
const MAX_RATE = 1;
/** The largest seed that OpenAI's API takes. */
const MAX_SEED = 2_147_483_647;

const text = z.string().min(1).max(4096);
const count = (max: number) => z.number().int().min(1).max(max);
const share = z.number().min(0).lt(1);
const pattern = (value: z.ZodNumber) => z.record(z.string().min(1).max(2048), value);
const alpha = z.number().positive();

const jobSchema = z.strictObject({
  /** A folder, or a name of an imported model. */
  model: text,
  /** A JSONL file; relative paths start at the working folder. */
  data: text,
  /** A second JSONL file, of which nothing is learned. */
  validation: text.optional(),
  /** Share of the rows of `data` that is kept for validation. */
  validationSplit: z.number().min(0).max(0.5).default(0),
  /** Default: by the model's artifact, `qlora` for NF4 and `lora` for others. */
  method: z.enum(['qlora', 'lora', 'full']).optional(),
  /** Default 16, alpha 2 x rank, targets all-linear; with `initAdapter` what the adapter says. */
  rank: count(MAX_RANK).optional(),
  alpha: alpha.optional(),
  /** `all-linear`, a regular expression for whole module names, or a list of their endings. */
  targets: z
    .union(
      [
        z.string().min(1).max(TARGET_LIMITS.patternLength),
        z.array(z.string().min(1).max(TARGET_LIMITS.nameLength)).min(1).max(TARGET_LIMITS.names),
      ],
      'must be all-linear, names or a regular expression',
    )
    .optional(),
  rslora: z.boolean().optional(),
  rankPattern: pattern(z.number().int().min(1).max(MAX_RANK)).optional(),
  alphaPattern: pattern(alpha).optional(),
  /** Which blocks are adapted, from 0; default: all. */
  layers: z.array(z.number().int().min(0).max(2048)).min(1).max(2048).optional(),
  /** A PEFT folder to start from. */
  initAdapter: text.optional(),
  /** How the adapter's weights are stored; training is in 32 bits either way. Default: float32. */
  saveDtype: z.enum(['float32', 'float16']).optional(),
  dropout: share.default(0),
  seed: z.number().int().min(0).max(MAX_SEED).default(0),
  /** False: rows in the file's order, neither mixed nor grouped by length. */
  shuffle: z.boolean().default(true),
  /** Several examples in one sequence, none of which sees another. */
  packing: z.boolean().default(false),
  /** Tokens of the longest example; what is longer loses its end. */
  maxLength: z.number().int().min(2).max(1_048_576).optional(),
  /** Sequences of one micro-batch. */
  batchSize: count(MAX_BATCH).default(8),
  /** Micro-batches of one optimizer step. */
  gradAccumulation: count(MAX_ACCUMULATION).default(1),
  epochs: count(MAX_EPOCHS).default(3),
  /** Wins over `epochs`. */
  maxSteps: count(MAX_STEPS).optional(),
  /** The peak; default: by the model's width. */
  learningRate: z.number().positive().max(MAX_RATE).optional(),
  /** Of the peak, however it is chosen; what no rate of use reaches ends in the run's own checks. */
  learningRateMultiplier: z.number().positive().default(1),
  schedule: z.enum(['cosine', 'linear', 'constant']).default('cosine'),
  /** Default: 3 % of the steps. */
  warmupSteps: z.number().int().min(0).max(MAX_STEPS).optional(),
  weightDecay: z.number().min(0).max(1).default(0),
  /** The gradient's norm is cut down to this. */
  maxGradNorm: z.number().positive().default(1),
  betas: z.tuple([share, share]).default([0.9, 0.999]),
  epsilon: z.number().positive().max(1).default(1e-8),
  /** Steps between two validations; default: an epoch. */
  evalEvery: count(MAX_STEPS).optional(),
  /** Validations in a row without a better one, after which the run ends; default: none ends it. */
  patience: count(MAX_STEPS).optional(),
  /** Steps between two checkpoints; default: a tenth of the run. */
  checkpointEvery: count(MAX_STEPS).optional(),
  /** The adapter's name for the server: published when the run has succeeded. */
  name: z
    .string()
    .regex(NAME_PATTERN, 'must be 1 to 63 of A-Z a-z 0-9 . _ -')
    .refine((name) => !RESERVED_NAMES.has(name), 'means something else as a model')
    .optional(),
  /** A folder to publish a named adapter into, instead of the store. */
  adapters: text.optional(),
  /** Whether an adapter that does not pass its gates fails the run; else it is warned of. */
  gate: z.boolean().default(false),
  /** Keep block inputs only and compute the rest again for the gradient: less memory, a third more time. */
  recompute: z.boolean().default(true),
  /** Decoder blocks per graph. */
  blocksPerSegment: count(1024).default(1),
  /** Default: one per core. */
  threads: count(1024).optional(),
});

export type TrainJob = z.infer<typeof jobSchema>;

/** Keys that describe an adapter: they have no meaning for `full`. */
const ADAPTER_KEYS = [
  'rank',
  'alpha',
  'targets',
  'rslora',
  'rankPattern',
  'alphaPattern',
  'layers',
  'initAdapter',
  'saveDtype',
] as const satisfies readonly (keyof TrainJob)[];

/** Keys that say something about validation rows: without these nothing would come of them. */
const VALIDATION_KEYS = ['evalEvery', 'patience'] as const satisfies readonly (keyof TrainJob)[];

/** Checks the JSON of a job file. @throws ConfigError with one line per fault, each naming its key. */
export function parseJob(json: unknown): TrainJob {
  const result = jobSchema.safeParse(json, { error: faultText });
  const faults = (result.error?.issues ?? []).flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${key}: is no key of a job`)
      : [`${issue.path.join('.') || 'job'}: ${issue.message}`],
  );
  if (result.data) faults.push(...contradictions(result.data));
  if (!result.success || faults.length > 0) throw new ConfigError(faults);
  return result.data;
}

function contradictions(job: TrainJob): string[] {
  const faults: string[] = [];
  if (job.validation !== undefined && job.validationSplit > 0) {
    faults.push('validationSplit: contradicts validation, which names a file');
  }
  if (job.validation === undefined && job.validationSplit === 0) {
    for (const key of VALIDATION_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: needs validation or validationSplit`);
    }
  }
  if (job.adapters !== undefined && job.name === undefined) {
    faults.push('adapters: only an adapter with a name is published');
  }
  if (job.method === 'full') {
    for (const key of ADAPTER_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: has no meaning where method is full`);
    }
    if (job.dropout > 0) faults.push('dropout: acts on adapters only, method is full');
    if (job.gate) faults.push('gate: measures adapters, method is full');
    if (job.name !== undefined) faults.push('name: a full model is no adapter to publish');
  }
  return faults;
}
