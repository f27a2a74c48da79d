// Plans a job's adapter: converts the job's settings, or the files of an adapter to continue, to PEFT settings and initial
// weights.
import { type AdapterFiles, readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { invalidAdapter } from '../../adapters/peft/refusal.ts';
import { CLASSIFIER_NAMES, EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import { trainableBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { ConfigError, ServeError } from '../../src/common/errors.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import {
  CLASSIFICATION_HEAD,
  type ClassifierFields,
  classifierFields,
  drawClassificationHead,
  readClassificationHead,
  refuseOtherTask,
} from '../adapter/classification-head.ts';
import { drawAdapter } from '../adapter/initial-weights.ts';
import { adapterTensors } from '../adapter/tensors.ts';
import { resolveInvocation } from '../data/invocation.ts';
import type { LoraSettings } from '../types.ts';
import type { TrainJob } from './job.ts';
import {
  listTargets,
  newPeftSettings,
  PEFT_FIELDS,
  type PeftSettings,
  readPeftSettings,
  resolveAdapter,
} from './peft-settings.ts';
import { refuseForeignModules, tablesOf } from './whole-modules.ts';

/** An adapter to train. */
export interface AdapterPlan {
  readonly peft: PeftSettings & Partial<ClassifierFields>;
  readonly lora: LoraSettings;
  /** The digest of the job's `initAdapter`. */
  readonly initDigest?: string;
}

/** The base of an adapter. */
type PlannedBase = Pick<Artifact, 'config' | 'tensors'>;

/** The properties of an adapter that depend on its rows and the tokenizer. */
interface RowProperties {
  /** The token ids of the job's `alora`. */
  readonly invocation?: readonly number[] | undefined;
  /** The names of the classes in the job's rows; undefined if the rows have no labels. */
  readonly classes?: readonly string[] | undefined;
}

/**
 * Returns the adapter that a job trains on this base, with its initial weights.
 * @throws ConfigError naming the job's key that is wrong or contradicts `initAdapter`
 */
export async function planAdapter(
  job: TrainJob,
  base: PlannedBase,
  { invocation, classes }: RowProperties = {},
): Promise<AdapterPlan> {
  const model = base.config;
  if (job.initAdapter !== undefined) {
    const adapter = await continueAdapter(job, base, invocation);
    refuseOtherTask(adapter.lora.classes, classes);
    return adapter;
  }
  if (invocation && classes) {
    throw new ConfigError('alora: cannot be combined with rows that have a label');
  }
  const { peft, settings } = await resolveNewAdapter(job, model, { invocation, classes });
  const init = drawAdapter(settings, model, job.seed);
  if (classes) {
    init.set(CLASSIFICATION_HEAD, drawClassificationHead(classes.length, model, job.seed));
  }
  return withClasses(peft, { ...settings, init }, classes);
}

/**
 * Checks a job against its base alone, before its rows and the adapter to continue are read.
 * @throws ConfigError naming the job's key
 */
export async function checkAdapter(job: TrainJob, model: DecoderConfig): Promise<void> {
  if (job.initAdapter !== undefined) return;
  const ids = typeof job.alora === 'string' ? undefined : job.alora; // a text's tokens matter only to the rows
  const { vocabSize } = model;
  const invocation = resolveInvocation(ids, { vocabSize, modelText: undefined });
  await resolveNewAdapter(job, model, { invocation });
}

async function resolveNewAdapter(
  job: TrainJob,
  model: DecoderConfig,
  { invocation, classes }: RowProperties,
) {
  refuseForeignLayers(job, model);
  refuseForeignModules(job, model, classes);
  const peft: PeftSettings = {
    ...newPeftSettings(job),
    alora_invocation_tokens: invocation ?? null,
    target_modules: withTables(job, listTargets(job.targets ?? 'all-linear', model)),
  };
  return { peft, settings: await resolveAdapter(peft, model) };
}

/** Adds the updated tables to a list of targets. An expression must name them itself. */
function withTables(
  job: TrainJob,
  targets: string | readonly string[],
): string | readonly string[] {
  return typeof targets === 'string' ? targets : [...targets, ...tablesOf(job, 'lora')];
}

function refuseForeignLayers({ layers = [] }: TrainJob, { layerCount }: DecoderConfig): void {
  const foreign = layers.filter((layer) => layer >= layerCount);
  if (foreign.length === 0) return;
  throw new ConfigError(
    `layers: the model has blocks 0 to ${layerCount - 1}, not ${foreign.join(', ')}`,
  );
}

async function continueAdapter(
  job: TrainJob,
  base: PlannedBase,
  invocation: readonly number[] | undefined,
): Promise<AdapterPlan> {
  try {
    const files = await readAdapterFiles(job.initAdapter!);
    await parseAdapter(files, base.config, trainableBaseOf(base)); // checks each tensor against the model
    const adapter = await readAdapter(files, base.config, job.dropout);
    refuseContradictions({ ...job, alora: invocation?.slice() }, adapter.peft, base.config);
    return { ...adapter, initDigest: files.digest };
  } catch (error) {
    if (!(error instanceof ServeError)) throw error;
    throw new ConfigError(`initAdapter: ${error.message}`);
  }
}

/**
 * Opens an adapter for evaluation. Accepts everything that the server accepts, and also weights that are not finite or too
 * large.
 * @throws ServeError naming the field or tensor
 */
export async function openAdapter(files: AdapterFiles, base: PlannedBase): Promise<LoraSettings> {
  await parseAdapter(files, base.config, trainableBaseOf(base)).catch((error) => {
    if (!(error instanceof ServeError && error.code === 'adapter_non_finite')) throw error;
  });
  return (await readAdapter(files, base.config, 0)).lora;
}

const ONLY_SERVED = 'such an adapter can be served, but not trained or evaluated';

async function readAdapter(
  { configBytes, weightsBytes }: AdapterFiles,
  model: DecoderConfig,
  dropout: number,
): Promise<AdapterPlan> {
  const json = JSON.parse(Buffer.from(configBytes).toString('utf8'));
  if (json.peft_type !== 'LORA') throw invalidAdapter('peft_type', ONLY_SERVED);
  const peft = { ...readPeftSettings(json, model), lora_dropout: dropout };
  const { tensors } = parseSafetensors(weightsBytes, ADAPTER_LIMITS);
  const settings = await resolveAdapter(peft, model);
  const { classes, head } = readClassificationHead(json, tensors) ?? {};
  const init = head ? new Map(tensors).set(CLASSIFICATION_HEAD, head) : tensors;
  const plan = withClasses(peft, { ...settings, init }, classes);
  refuseUntrained(tensors, plan.lora, model);
  return plan;
}

/** Returns the plan of an adapter; if it has classes, of a classifier. */
function withClasses(
  peft: PeftSettings,
  lora: LoraSettings,
  classes: readonly string[] | undefined,
): AdapterPlan {
  if (!classes) return { peft, lora };
  const fields = classifierFields(classes, peft.modules_to_save);
  return { peft: { ...peft, ...fields }, lora: { ...lora, classes } };
}

/** The tensors of a tied output head that repeat the embedding's. */
const TIED_COPIES = ['whole', 'a', 'b'] as const;

/** Refuses files with tensors that the server reads but the trainer does not. */
function refuseUntrained(
  tensors: ReadonlyMap<string, unknown>,
  lora: LoraSettings,
  model: DecoderConfig,
): void {
  const names = new Set(adapterTensors(model, lora).map(({ name }) => name));
  // peft also stores a tied output head, and the tables under their updates.
  for (const table of [EMBEDDING, HEAD]) names.add(tensorName(table, 'copy'));
  if (lora.tiesWeights) for (const part of TIED_COPIES) names.add(tensorName(HEAD, part));
  if (lora.classes) for (const name of CLASSIFIER_NAMES) names.add(tensorName(name, 'whole'));
  const unknown = [...tensors.keys()].find((name) => !names.has(name));
  if (unknown === undefined) return;
  throw invalidAdapter(unknown, ONLY_SERVED);
}

function refuseContradictions(job: TrainJob, peft: PeftSettings, model: DecoderConfig): void {
  const faults = (Object.keys(PEFT_FIELDS) as (keyof typeof PEFT_FIELDS)[]).flatMap((key) => {
    const wanted = key === 'targets' && job.targets ? listTargets(job.targets, model) : job[key];
    const found = peft[PEFT_FIELDS[key]];
    if (wanted === undefined || canonical(wanted) === canonical(found)) return [];
    return [
      `${key}: ${JSON.stringify(job[key])} contradicts initAdapter's ${JSON.stringify(found)}`,
    ];
  });
  if (faults.length > 0) throw new ConfigError(faults);
}

/** Returns equal texts for equal settings. Lists are compared as sets, and a number as a list of one. */
function canonical(value: unknown): string {
  if (typeof value === 'number') return canonical([value]);
  if (Array.isArray(value)) return JSON.stringify([...value].sort());
  return JSON.stringify(value);
}
