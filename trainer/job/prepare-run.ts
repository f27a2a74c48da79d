// Prepares a run: method, rows, adapter and settings of a job. All faults of the job are found before anything is written or
// trained.

import { createHash } from 'node:crypto';
import path from 'node:path';
import { ConfigError } from '../../src/common/errors.ts';
import { VERSION } from '../../src/common/version.ts';
import { DEFAULT_PREFERENCE, type Preference } from '../../src/contracts/preference-settings.ts';
import {
  COMPLETIONS_RANGE,
  DEFAULT_SAMPLING,
  type Sampling,
} from '../../src/contracts/reinforcement-settings.ts';
import { keysOf } from '../../src/contracts/training-fields.ts';
import type { TrainingOrigin } from '../../src/contracts/training-origin.ts';
import { graderSchema, refuseUnknownItem } from '../../src/graders/schema.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { TrainingRowError } from '../../src/rows/row-schema.ts';
import { createRowEncoder, type ModelText, readModelText } from '../data/encode-row.ts';
import { planEpoch } from '../data/epoch-plan.ts';
import { sequenceLengths } from '../data/example.ts';
import { learnFromInvocation, resolveInvocation } from '../data/invocation.ts';
import { type Classes, namedClasses, readClasses } from '../data/labels.ts';
import type { Dataset, RowEncoder } from '../data/load-dataset.ts';
import { dropMasked, loadRows, type TrainingRows } from '../data/load-rows.ts';
import { examineData, examineKeys, type Warning } from '../run/curve-warnings.ts';
import type { TrainMethod } from '../types.ts';
import { type AdapterPlan, planAdapter } from './adapter-plan.ts';
import type { TrainJob } from './job.ts';
import {
  orderOptions,
  type RunSettings,
  resolveMaxLength,
  resolveMethod,
  resolveSettings,
} from './resolve-settings.ts';

/** Everything that a run needs. */
export interface PreparedRun {
  /** The job with all open settings resolved. */
  readonly job: TrainJob;
  readonly settings: RunSettings;
  /** Undefined if the method is `full`. */
  readonly adapter: AdapterPlan | undefined;
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  /** Present if the run learns from pairs. */
  readonly preference: Preference | undefined;
  /** Present if the run learns from rewards. */
  readonly sampling: Sampling | undefined;
  /** Undefined if the model has no tokenizer. */
  readonly modelText: ModelText | undefined;
  /** The forms of the training rows, see `ROW_SHAPES`. */
  readonly rowShapes: readonly string[];
  /** Whether all training rows are conversations, which the base's own template renders. */
  readonly usesTemplate: boolean;
  readonly warnings: readonly Warning[];
  readonly origin: TrainingOrigin;
  /** Hash of job, base and rows. A checkpoint belongs to one hash. */
  readonly configHash: string;
}

/** Requirements for a job's rows. */
export interface PrepareOptions {
  /** The fewest rows of the training file. Absent: few rows only cause a warning. */
  readonly minExamples?: number | undefined;
}

/** Prepares a run. @throws ConfigError, DatasetError or FileError if the job, its rows or its base are at fault */
export async function prepareRun(
  job: TrainJob,
  artifact: Artifact,
  { minExamples = 1 }: PrepareOptions = {},
): Promise<PreparedRun> {
  const method = resolveMethod(job, artifact.info);
  const maxLength = resolveMaxLength(job, artifact.config);
  const { objective = 'supervised' } = job;
  const ofRows = objective === 'supervised' ? await readClasses(job.data) : undefined;
  if (ofRows && method === 'full') {
    throw new ConfigError('method: full trains no classifier, but the rows of data have a label');
  }
  const modelText = await readModelText(artifact.dir, job.toolFormat);
  const { vocabSize } = artifact.config;
  const properties = {
    invocation: resolveInvocation(job.alora, { vocabSize, modelText }),
    classes: ofRows?.names,
  };
  const adapter = method === 'full' ? undefined : await planAdapter(job, artifact, properties);
  const classes = classesOf(job, adapter, ofRows);
  const { reasoningEffort } = job;
  const encodeWhole = createRowEncoder({
    ...modelText,
    ...{ vocabSize, classes, objective, reasoningEffort },
  });
  const encode = leaveRoom(learnFromInvocation(encodeWhole, adapter?.lora.invocation), maxLength);
  const rows = await loadRows(job, { encode, maxLength, minExamples, objective });
  if (job.grader !== undefined) {
    const items = rows.train.examples.map(({ item }) => item);
    refuseUnknownItem(graderSchema.parse(job.grader), items);
  }
  return prepareRows(job, artifact, { method, maxLength, adapter, rows, modelText });
}

/** Refuses prompts that leave no room for a completion. */
function leaveRoom(encode: RowEncoder, maxLength: number): RowEncoder {
  return (row) => {
    const example = encode(row);
    const { length } = example.ids;
    if (!example.item || length < maxLength) return example;
    throw new TrainingRowError(
      `messages: have ${length} tokens, which leave no room for a completion within maxLength (${maxLength})`,
    );
  };
}

/** Returns the classes for encoding rows. A classifier that is continued keeps its classes. */
function classesOf(
  { initAdapter }: TrainJob,
  adapter: AdapterPlan | undefined,
  ofRows: Classes | undefined,
): Classes | undefined {
  const names = adapter?.lora.classes;
  return names && initAdapter !== undefined ? namedClasses(names) : ofRows;
}

/** The parts of a run that were read from files. */
interface RunInputs {
  readonly method: TrainMethod;
  readonly maxLength: number;
  readonly adapter: AdapterPlan | undefined;
  readonly rows: TrainingRows;
  readonly modelText?: ModelText | undefined;
}

/** Prepares a run whose rows are in memory. Pure. */
export function prepareRows(
  job: TrainJob,
  artifact: Artifact,
  { method, maxLength, adapter, rows, modelText }: RunInputs,
): PreparedRun {
  const train = job.shuffle ? dropMasked(rows.train) : rows.train;
  const lengths = sequenceLengths(train.examples);
  const settings = resolveSettings(job, artifact.config, {
    method,
    maxLength,
    stepsPerEpoch: planEpoch(lengths, 0, orderOptions(job, maxLength)).length,
    hasValidation: rows.validation !== undefined,
  });
  const settled = resolveJob(job, settings, artifact);
  return {
    job: settled,
    settings,
    adapter,
    train,
    validation: rows.validation,
    preference: preferenceOf(job),
    sampling: samplingOf(job),
    modelText,
    rowShapes: [...(rows.notes?.shapes ?? [])],
    usesTemplate: [...(rows.notes?.kinds ?? [])].join() === 'chat',
    warnings: [
      ...examineData(rows.train, rows.validation),
      ...examineKeys(rows.notes?.unknown ?? new Set()),
    ],
    origin: {
      program: `lorikeet ${VERSION}`,
      ...rows.files,
      ...(adapter?.initDigest !== undefined && { init_adapter: adapter.initDigest }),
    },
    configHash: hashConfig(settled, artifact.info.digest, [train, rows.validation]),
  };
}

function preferenceOf({ objective, beta, loss, labelSmoothing }: TrainJob): Preference | undefined {
  if (objective !== 'dpo') return undefined;
  const defaults = DEFAULT_PREFERENCE;
  return {
    loss: loss ?? defaults.loss,
    beta: beta ?? defaults.beta,
    labelSmoothing: labelSmoothing ?? defaults.labelSmoothing,
  };
}

function samplingOf(job: TrainJob): Sampling | undefined {
  if (job.objective !== 'reinforcement') return undefined;
  const { completions, completionLength } = DEFAULT_SAMPLING;
  const [fewest, most] = COMPLETIONS_RANGE;
  const wanted = Math.round((job.completions ?? completions) * (job.computeMultiplier ?? 1));
  return {
    completions: Math.min(Math.max(wanted, fewest), most),
    completionLength: job.completionLength ?? completionLength,
  };
}

/** Makes paths absolute and fills in defaults. The run's job file can then repeat the run anywhere. */
function resolveJob(job: TrainJob, settings: RunSettings, artifact: Artifact): TrainJob {
  const { method, schedule, evalEvery, checkpointEvery, order } = settings;
  const { validation, initAdapter, adapters } = job;
  return {
    ...job,
    model: path.resolve(artifact.dir),
    data: path.resolve(job.data),
    ...(validation !== undefined && { validation: path.resolve(validation) }),
    ...(initAdapter !== undefined && { initAdapter: path.resolve(initAdapter) }),
    ...(adapters !== undefined && { adapters: path.resolve(adapters) }),
    method,
    maxLength: order.maxLength,
    learningRate: schedule.peak,
    learningRateMultiplier: 1, // the peak contains it
    warmupSteps: schedule.warmupSteps,
    ...(evalEvery !== undefined && { evalEvery }),
    checkpointEvery,
  };
}

const UNHASHED_KEYS: ReadonlySet<string> = new Set(keysOf(({ isHashed }) => isHashed === false));

function hashConfig(
  job: TrainJob,
  baseDigest: string,
  datasets: readonly (Dataset | undefined)[],
): string {
  const settings = Object.entries(job)
    .filter(([key]) => !UNHASHED_KEYS.has(key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash('sha256').update(JSON.stringify(settings)).update(baseDigest);
  for (const dataset of datasets) {
    hash.update('rows');
    for (const print of dataset?.fingerprints ?? []) hash.update(print);
  }
  return hash.digest('hex');
}
