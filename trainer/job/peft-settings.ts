// The fields of `adapter_config.json` that a job sets, and the adapter that they describe. Each module's rank and scaling are
// resolved by the same code as in serving.

import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import {
  type AdapterConfig,
  EMBEDDING,
  HEAD,
  tensorName,
} from '../../adapters/peft/tensor-names.ts';
import { ConfigError, ServeError } from '../../src/common/errors.ts';
import { DEFAULT_RANK } from '../../src/contracts/training-settings.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { biasName, hasBias } from '../../src/model/names.ts';
import { linearsOf, moduleName, targetNames } from '../../src/model/target-modules.ts';
import type { LoraSettings, ModuleUpdate } from '../types.ts';
import type { TrainJob } from './job.ts';
import { type WholeModuleFields, wholeModuleFields, wholeModules } from './whole-modules.ts';

/** The fields of peft's configuration that a job can set. */
export interface PeftSettings extends WholeModuleFields {
  r: number;
  lora_alpha: number;
  use_rslora: boolean;
  use_dora: boolean;
  lora_bias: boolean;
  bias: 'none' | 'all' | 'lora_only';
  /** `pissa` during training. The result is a plain LoRA file, as peft converts it. */
  init_lora_weights: true | 'pissa';
  alora_invocation_tokens: readonly number[] | null;
  target_modules: string | readonly string[];
  exclude_modules: string | readonly string[] | null;
  rank_pattern: Readonly<Record<string, number>>;
  alpha_pattern: Readonly<Record<string, number>>;
  layers_to_transform: number | readonly number[] | null;
  layers_pattern: string | readonly string[] | null;
  lora_dropout: number;
}

/** Job key → field of peft's file. */
export const PEFT_FIELDS = {
  rank: 'r',
  alpha: 'lora_alpha',
  rslora: 'use_rslora',
  targets: 'target_modules',
  rankPattern: 'rank_pattern',
  alphaPattern: 'alpha_pattern',
  layers: 'layers_to_transform',
  dora: 'use_dora',
  loraBias: 'lora_bias',
  bias: 'bias',
  alora: 'alora_invocation_tokens',
} as const satisfies Partial<Record<keyof TrainJob, keyof PeftSettings>>;

/** The values of the fields that may be absent. */
const PEFT_DEFAULTS = {
  use_rslora: false,
  use_dora: false,
  lora_bias: false,
  bias: 'none',
  modules_to_save: null,
  ensure_weight_tying: false,
  alora_invocation_tokens: null,
  target_modules: ['q_proj', 'v_proj'],
  exclude_modules: null,
  rank_pattern: {},
  alpha_pattern: {},
  layers_to_transform: null,
  layers_pattern: null,
} as const satisfies Partial<PeftSettings>;

/** Reads the fields of a file. `parseAdapter` has accepted it, so the types are right. */
export function readPeftSettings(
  json: Partial<PeftSettings>,
  model: DecoderConfig,
): Omit<PeftSettings, 'lora_dropout'> {
  const fields = Object.entries(PEFT_DEFAULTS).map(([field, value]) => {
    return [field, json[field as keyof PeftSettings] ?? value];
  });
  const settings = Object.fromEntries(fields) as typeof PEFT_DEFAULTS;
  const targets = listTargets(settings.target_modules, model);
  const { r, lora_alpha } = json as PeftSettings;
  return { ...settings, r, lora_alpha, init_lora_weights: true, target_modules: targets };
}

/** Returns the fields of a new adapter, without those that the model and the rows decide. */
export function newPeftSettings(job: TrainJob): Omit<PeftSettings, 'target_modules'> {
  const fields = Object.entries(PEFT_FIELDS).flatMap(([key, field]) => {
    const value = job[key as keyof typeof PEFT_FIELDS];
    return value === undefined ? [] : [[field, value]];
  });
  const { rank = DEFAULT_RANK } = job;
  return {
    ...PEFT_DEFAULTS,
    r: rank,
    lora_alpha: 2 * rank,
    ...Object.fromEntries(fields),
    init_lora_weights: job.init === 'pissa' ? 'pissa' : true,
    ...wholeModuleFields(job),
    lora_dropout: job.dropout,
  };
}

/** Replaces `all-linear` with the list of modules, as peft stores it. */
export function listTargets(
  targets: string | readonly string[],
  model: DecoderConfig,
): string | readonly string[] {
  return targets === 'all-linear' ? targetNames(model) : targets;
}

/** Returns the adapter that the settings describe. @throws ConfigError naming the job's key */
export async function resolveAdapter(
  peft: PeftSettings,
  model: DecoderConfig,
): Promise<Omit<LoraSettings, 'init'>> {
  const names = linearsOf(model).map(([layer, target]) => moduleName(layer, target));
  const { init_lora_weights, ...served } = peft;
  try {
    const bytes = Buffer.from(JSON.stringify({ peft_type: 'LORA', ...served }));
    const tables = [EMBEDDING, HEAD];
    const config = await parseAdapterConfig(bytes, [...names, ...tables]);
    const kind = kindOf(config, init_lora_weights === 'pissa');
    const updates = (of: readonly string[], properties: Partial<ModuleUpdate>) =>
      of
        .filter((module) => config.isTargeted(module))
        .map((module) => [module, { ...config.settingOf(module), ...properties }] as const);
    const modules = new Map([...updates(names, kind), ...updates(tables, {})]);
    if (modules.size === 0) throw noTargets(model);
    const { invocation } = config;
    return {
      modules,
      whole: new Map([...trainedBiases(config, model), ...wholeModules(config, model)]),
      ...(config.tiesWeights && model.tiedEmbeddings && { tiesWeights: true }),
      ...(invocation && { invocation }),
    };
  } catch (error) {
    throw error instanceof ServeError ? asJobFault(error) : error;
  }
}

function kindOf(config: AdapterConfig, isPissa: boolean): Partial<ModuleUpdate> {
  return {
    ...(config.isDora && { isDora: true }),
    ...(config.hasUpdateBias && { hasBias: true }),
    ...(isPissa && { isPissa }),
    ...(config.invocation && { isActivated: true }),
  };
}

/** Lists the base's biases that the adapter trains, by checkpoint name. */
function trainedBiases(
  { biases, isTargeted }: AdapterConfig,
  model: DecoderConfig,
): Map<string, string> {
  const names = new Map<string, string>();
  if (biases === 'none') return names;
  for (const [layer, target] of linearsOf(model)) {
    const module = moduleName(layer, target);
    const isAdapted = isTargeted(module);
    if (!hasBias(model, target) || (!isAdapted && biases === 'lora_only')) continue;
    names.set(biasName(layer, target), tensorName(module, isAdapted ? 'adaptedBias' : 'bias'));
  }
  if (names.size > 0) return names;
  const which = biases === 'all' ? 'the base has no biases' : 'no adapted linear has a bias';
  throw new ConfigError(`bias: ${biases} would train nothing, because ${which}`);
}

function noTargets(model: DecoderConfig): ConfigError {
  const known = targetNames(model);
  const example = moduleName(0, known[0]!);
  return new ConfigError(
    `targets: no module of the model matches. Use a list of endings (${known.join(', ')}), or a regular expression for whole names such as ${example}.`,
  );
}

function asJobFault(error: ServeError): ConfigError {
  const [, field, place = ''] = /^(\w+)(\[\d+\])?$/.exec(error.param ?? '') ?? [];
  const key = Object.entries(PEFT_FIELDS).find(([, name]) => name === field)?.[0];
  const reason = error.message.replace(/^adapter refused: ([\w[\]]+: )?/, '');
  return new ConfigError(`${key ? `${key}${place}` : 'initAdapter'}: ${reason}`);
}
