// Plans a job's adapter: the job's settings become an `adapter_config.json`, and that file becomes rank and scaling per
// module, read by the code that serving uses. Also draws the adapter's initial weights.
import { type AdapterFiles, readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import { ConfigError, ServeError } from '../../src/common/errors.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { DEFAULT_RANK } from '../../src/contracts/training-settings.ts';
import { ADAPTER_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, targetNames } from '../../src/model/target-modules.ts';
import {
  CLASSIFIER_HEAD,
  type ClassifierFields,
  classifierFields,
  drawHead,
  readHead,
  refuseOtherTask,
} from '../adapter/classifier.ts';
import { seededRandom, streamSeed } from '../random.ts';
import type { LoraSettings } from '../types.ts';
import type { TrainJob } from './job.ts';

/** The fields of peft's configuration of a plain LoRA adapter. */
export interface PeftSettings {
  r: number;
  lora_alpha: number;
  use_rslora: boolean;
  target_modules: string | readonly string[];
  exclude_modules: string | readonly string[] | null;
  rank_pattern: Readonly<Record<string, number>>;
  alpha_pattern: Readonly<Record<string, number>>;
  layers_to_transform: number | readonly number[] | null;
  layers_pattern: string | readonly string[] | null;
  lora_dropout: number;
}

/** An adapter to train. */
export interface AdapterPlan {
  readonly peft: PeftSettings & Partial<ClassifierFields>;
  readonly lora: LoraSettings;
}

/** Job key → field of peft's file. */
const FIELDS = {
  rank: 'r',
  alpha: 'lora_alpha',
  rslora: 'use_rslora',
  targets: 'target_modules',
  rankPattern: 'rank_pattern',
  alphaPattern: 'alpha_pattern',
  layers: 'layers_to_transform',
} as const satisfies Partial<Record<keyof TrainJob, keyof PeftSettings>>;

/**
 * Returns the adapter that a job trains on this model, with its initial weights.
 * @param classes the names of the classes of the job's rows; undefined if they have none
 * @throws ConfigError naming the job's key that is wrong or contradicts `initAdapter`
 */
export async function planAdapter(
  job: TrainJob,
  model: DecoderConfig,
  classes?: readonly string[],
): Promise<AdapterPlan> {
  if (job.initAdapter !== undefined) {
    const adapter = await continueAdapter(job, job.initAdapter, model);
    refuseOtherTask(adapter.lora.classes, classes);
    return adapter;
  }
  refuseForeignLayers(job, model);
  const rank = job.rank ?? DEFAULT_RANK;
  const peft: PeftSettings = {
    r: rank,
    lora_alpha: job.alpha ?? 2 * rank,
    use_rslora: job.rslora ?? false,
    target_modules: listTargets(job.targets ?? 'all-linear', model),
    exclude_modules: null,
    rank_pattern: job.rankPattern ?? {},
    alpha_pattern: job.alphaPattern ?? {},
    layers_to_transform: job.layers ?? null,
    layers_pattern: null,
    lora_dropout: job.dropout,
  };
  const modules = await resolveModules(peft, model);
  const init = drawAdapter(modules, model, job.seed);
  if (!classes) return { peft, lora: { modules, init } };
  init.set(CLASSIFIER_HEAD, drawHead(classes.length, model, job.seed));
  return { peft: { ...peft, ...classifierFields(classes) }, lora: { modules, init, classes } };
}

function refuseForeignLayers({ layers = [] }: TrainJob, { layerCount }: DecoderConfig): void {
  const foreign = layers.filter((layer) => layer >= layerCount);
  if (foreign.length === 0) return;
  throw new ConfigError([
    `layers: the model has blocks 0 to ${layerCount - 1}, not ${foreign.join(', ')}`,
  ]);
}

/** Replaces `all-linear` with the list of modules, as peft stores it. */
function listTargets(
  targets: string | readonly string[],
  model: DecoderConfig,
): string | readonly string[] {
  return targets === 'all-linear' ? targetNames(model) : targets;
}

/** Returns rank and scaling by module name, in the model's order. */
async function resolveModules(
  peft: PeftSettings,
  model: DecoderConfig,
): Promise<LoraSettings['modules']> {
  const modules = new Map<string, { rank: number; scaling: number }>();
  const layers = Array.from({ length: model.layerCount }, (_, layer) => layer);
  const known = targetNames(model);
  const names = layers.flatMap((layer) => known.map((target) => moduleName(layer, target)));
  try {
    const bytes = Buffer.from(JSON.stringify({ peft_type: 'LORA', ...peft }));
    const config = await parseAdapterConfig(bytes, names);
    for (const module of names) {
      if (config.isTargeted(module)) modules.set(module, config.settingOf(module));
    }
  } catch (error) {
    throw error instanceof ServeError ? asJobFault(error) : error;
  }
  if (modules.size > 0) return modules;
  const example = moduleName(0, known[0]!);
  throw new ConfigError([
    `targets: no module of the model matches. Use a list of endings (${known.join(', ')}), or a regular expression for whole names such as ${example}.`,
  ]);
}

function asJobFault(error: ServeError): ConfigError {
  const [, field, place = ''] = /^(\w+)(\[\d+\])?$/.exec(error.param ?? '') ?? [];
  const key = Object.entries(FIELDS).find(([, name]) => name === field)?.[0];
  const reason = error.message.replace(/^adapter refused: ([\w[\]]+: )?/, '');
  return new ConfigError([`${key ? `${key}${place}` : 'initAdapter'}: ${reason}`]);
}

async function continueAdapter(
  job: TrainJob,
  directory: string,
  model: DecoderConfig,
): Promise<AdapterPlan> {
  try {
    const files = await readAdapterFiles(directory);
    await parseAdapter(files, model); // checks each tensor's shape against the model
    const adapter = await readAdapter(files, model, job.dropout);
    refuseContradictions(job, adapter.peft, model);
    return adapter;
  } catch (error) {
    if (!(error instanceof ServeError)) throw error;
    throw new ConfigError([`initAdapter: ${error.message}`]);
  }
}

/**
 * Opens an adapter for evaluation. It accepts what the server accepts, and adapters with non-finite or too large weights.
 * @throws ServeError naming the field or tensor
 */
export async function openAdapter(
  files: AdapterFiles,
  model: DecoderConfig,
): Promise<LoraSettings> {
  await parseAdapter(files, model).catch((error) => {
    if (!(error instanceof ServeError && error.code === 'adapter_non_finite')) throw error;
  });
  return (await readAdapter(files, model, 0)).lora;
}

async function readAdapter(
  { configBytes, weightsBytes }: AdapterFiles,
  model: DecoderConfig,
  dropout: number,
): Promise<AdapterPlan> {
  const json = JSON.parse(Buffer.from(configBytes).toString('utf8'));
  const peft = { ...readSettings(json, model), lora_dropout: dropout };
  const { tensors } = parseSafetensors(weightsBytes, ADAPTER_LIMITS);
  const modules = await resolveModules(peft, model);
  const given = readHead(json, tensors);
  if (!given) return { peft, lora: { modules, init: tensors } };
  const { classes, head } = given;
  const init = new Map(tensors).set(CLASSIFIER_HEAD, head);
  return { peft: { ...peft, ...classifierFields(classes) }, lora: { modules, init, classes } };
}

/** Reads the fields of a file that has passed `parseAdapter`, so they have their types. */
function readSettings(
  json: Partial<PeftSettings>,
  model: DecoderConfig,
): Omit<PeftSettings, 'lora_dropout'> {
  return {
    r: json.r!,
    lora_alpha: json.lora_alpha!,
    use_rslora: json.use_rslora ?? false,
    target_modules: listTargets(json.target_modules ?? ['q_proj', 'v_proj'], model),
    exclude_modules: json.exclude_modules ?? null,
    rank_pattern: json.rank_pattern ?? {},
    alpha_pattern: json.alpha_pattern ?? {},
    layers_to_transform: json.layers_to_transform ?? null,
    layers_pattern: json.layers_pattern ?? null,
  };
}

function refuseContradictions(job: TrainJob, peft: PeftSettings, model: DecoderConfig): void {
  const faults = (Object.keys(FIELDS) as (keyof typeof FIELDS)[]).flatMap((key) => {
    const wanted = key === 'targets' && job.targets ? listTargets(job.targets, model) : job[key];
    const found = peft[FIELDS[key]];
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

/**
 * Draws the initial weights as peft does: A [rank, in] uniform in ±1/sqrt(in) (kaiming with a = sqrt 5), B [out, rank] zero.
 * A tensor's values depend on the seed and its name only. Keys are PEFT's names.
 */
function drawAdapter(
  modules: LoraSettings['modules'],
  model: DecoderConfig,
  seed: number,
): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (let layer = 0; layer < model.layerCount; layer++) {
    for (const target of targetNames(model)) {
      const module = moduleName(layer, target);
      const rank = modules.get(module)?.rank;
      if (rank === undefined) continue;
      const inFeatures = TARGET_MODULES[target].inFeatures(model);
      const outFeatures = TARGET_MODULES[target].outFeatures(model);
      const names = loraNames(module);
      const a = uniform(rank * inFeatures, 1 / Math.sqrt(inFeatures), streamSeed(seed, names.a));
      tensors.set(names.a, fromFloat32(a, [rank, inFeatures], 'F32'));
      const b = new Float32Array(outFeatures * rank);
      tensors.set(names.b, fromFloat32(b, [outFeatures, rank], 'F32'));
    }
  }
  return tensors;
}

function uniform(count: number, bound: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return new Float32Array(count).map(() => (2 * random() - 1) * bound);
}
