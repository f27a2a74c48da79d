// Reads and checks a training job. The table of training settings defines its keys and their bounds. Values that depend on the
// model (method, learning rate, lengths, steps) are resolved in `prepare-run.ts`.
import { z } from 'zod';
import { NAME_PATTERN, RESERVED_NAMES } from '../../adapters/repository/manifest.ts';
import { ConfigError, FileError } from '../../src/common/errors.ts';
import { append } from '../../src/common/long-arrays.ts';
import { readRegular, SMALL_FILE_BYTES } from '../../src/common/regular-file.ts';
import { describeIssue } from '../../src/common/schema-errors.ts';
import { OBJECTIVES } from '../../src/contracts/preference-settings.ts';
import { type JobSource, jobShape, keysOf } from '../../src/contracts/training-fields.ts';
import type { TrainingSetting } from '../../src/contracts/training-setting.ts';
import { MAX_RANK, TRAINING_SETTINGS } from '../../src/contracts/training-settings.ts';
import { graderSchema } from '../../src/graders/schema.ts';

const jobSchema = z.strictObject({
  ...jobShape(),
  name: z
    .string()
    .regex(NAME_PATTERN, 'must be 1 to 63 of A-Z a-z 0-9 . _ -')
    .refine((name) => !RESERVED_NAMES.has(name), 'is reserved')
    .optional(),
});

/** A checked job: each key is set, has its default, or is absent. */
export type TrainJob = z.infer<typeof jobSchema>;

const ADAPTER_KEYS = keysOf(({ needs }) => needs === 'adapter');
const VALIDATION_KEYS = keysOf(({ needs }) => needs === 'validation');

/** Checks the JSON of a job file. @throws ConfigError with one line per fault, naming the key */
export function parseJob(json: unknown): TrainJob {
  const result = jobSchema.safeParse(json, { error: describeIssue });
  const faults = (result.error?.issues ?? []).flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${key}: is not a key of a job`)
      : [`${issue.path.join('.') || 'job'}: ${issue.message}`],
  );
  if (result.data) append(faults, contradictions(result.data));
  if (!result.success || faults.length > 0) throw new ConfigError(faults);
  return result.data;
}

function contradictions(job: TrainJob): string[] {
  const faults: string[] = [];
  if (job.validation !== undefined && job.validationSplit > 0) {
    faults.push('validationSplit: cannot be combined with validation');
  }
  if (job.validation === undefined && job.validationSplit === 0) {
    for (const key of VALIDATION_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: needs validation or validationSplit`);
    }
  }
  if (job.adapters !== undefined && job.name === undefined) {
    faults.push('adapters: needs name, because only named adapters are published');
  }
  append(faults, [
    ...contradictoryKinds(job),
    ...wholeModuleFaults(job),
    ...objectiveFaults(job),
    ...(job.objective === 'reinforcement' ? rewardFaults(job) : []),
  ]);
  if (job.objective === 'dpo' && job.labelSmoothing !== undefined && job.loss !== 'robust') {
    faults.push('labelSmoothing: is only for the loss robust');
  }
  if (job.method === 'full') {
    for (const key of ADAPTER_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: does not apply, because method is full`);
    }
    if (job.dropout > 0) faults.push('dropout: does not apply, because method is full');
    if (job.compute !== 'float32') {
      faults.push('compute: must be float32, because method is full and no linear is frozen');
    }
    if (job.gate) faults.push('gate: does not apply, because method is full');
    if (job.name !== undefined)
      faults.push('name: does not apply, because method is full and only adapters are published');
  }
  return faults;
}

function objectiveFaults(job: TrainJob): string[] {
  const { objective = 'supervised' } = job;
  return (Object.keys(TRAINING_SETTINGS) as (keyof TrainJob)[]).flatMap((key) => {
    const { objectives = OBJECTIVES, default: absent }: TrainingSetting = TRAINING_SETTINGS[key];
    if (objectives.includes(objective) || job[key] === undefined || job[key] === absent) return [];
    const isSpecial = !objectives.includes('supervised');
    return `${key}: ${isSpecial ? `is only for ${objectives}` : `is not for ${objective}`}`;
  });
}

function rewardFaults(job: TrainJob): string[] {
  const faults: string[] = [];
  if (job.method === 'full')
    faults.push('method: must not be full, because samples need an adapter');
  if (job.grader === undefined) return [...faults, 'grader: is missing'];
  const { error } = graderSchema.safeParse(job.grader, { error: describeIssue });
  for (const { path, message } of error?.issues ?? []) {
    faults.push(`${['grader', ...path].join('.')}: ${message}`);
  }
  return faults;
}

/** The largest rank of an adapter that starts with PiSSA: its file has twice the rank. */
const MAX_PISSA_RANK = MAX_RANK / 2;

/** Returns the faults of settings that contradict each other. The reader of adapters has the same rules. */
function contradictoryKinds(job: TrainJob): string[] {
  const faults: string[] = [];
  const biases = job.bias !== undefined && job.bias !== 'none';
  if (job.dora && job.loraBias) faults.push('loraBias: cannot be combined with dora');
  if (job.alora !== undefined) {
    const others = { dora: job.dora, loraBias: job.loraBias, bias: biases };
    for (const [key, isSet] of Object.entries(others)) {
      if (isSet) faults.push(`${key}: cannot be combined with alora`);
    }
  }
  if (job.init === 'pissa') {
    if (job.initAdapter !== undefined) {
      faults.push('init: does not apply, because initAdapter has the initial weights');
    }
    const ranks = { rank: job.rank ?? 0, ...job.rankPattern };
    if (Object.values(ranks).some((rank) => rank > MAX_PISSA_RANK)) {
      faults.push(
        `rank: must be at most ${MAX_PISSA_RANK} with init pissa, because the file has twice the rank`,
      );
    }
  }
  return faults;
}

/** The keys of the embedding and the output head. */
const TABLE_KEYS = ['trainEmbeddings', 'trainHead'] as const;

/** Returns the contradictions of whole modules and tables with the rest of a job. */
function wholeModuleFaults(job: TrainJob): string[] {
  const faults: string[] = [];
  const set = (['modulesToSave', 'ensureWeightTying', ...TABLE_KEYS] as const).filter(
    (key) => job[key] !== undefined,
  );
  if (job.initAdapter !== undefined) {
    return set.map((key) => `${key}: does not apply, because initAdapter says what is trained`);
  }
  if (job.alora !== undefined)
    for (const key of set) faults.push(`${key}: cannot be combined with alora`);
  for (const key of TABLE_KEYS) {
    if (job[key] !== 'lora') continue;
    const others = { dora: job.dora, loraBias: job.loraBias, init: job.init === 'pissa' };
    for (const [other, isSet] of Object.entries(others)) {
      if (isSet) faults.push(`${key}: lora cannot be combined with ${other}`);
    }
    if (typeof job.targets === 'string' && job.targets !== 'all-linear') {
      faults.push(`${key}: lora needs targets to be a list of names, or all-linear`);
    }
    if (key === 'trainHead' && job.dropout > 0)
      faults.push('dropout: cannot be combined with trainHead lora');
  }
  if (job.ensureWeightTying) {
    if (job.trainHead) faults.push('trainHead: cannot be combined with ensureWeightTying');
    if (!job.trainEmbeddings) faults.push('ensureWeightTying: needs trainEmbeddings');
    if (job.trainEmbeddings === 'lora' && job.dropout > 0) {
      faults.push('dropout: cannot be combined with trainEmbeddings lora and ensureWeightTying');
    }
  }
  return faults;
}

/** Reads a job file and applies the flags to it. @throws FileError if it is not JSON, ConfigError if it is not an object */
export function readJob({ file, overrides }: JobSource): Record<string, unknown> {
  if (file === undefined) return { ...overrides };
  const json = parse(file, readRegular(file, SMALL_FILE_BYTES).toString());
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new ConfigError(`${file}: is not a JSON object`);
  }
  return { ...json, ...overrides };
}

function parse(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FileError(file, 'is not JSON. A job file has settings; pass rows with --data.', {
      cause,
    });
  }
}
