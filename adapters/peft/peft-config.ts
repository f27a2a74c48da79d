// Parses PEFT's `adapter_config.json`: which modules an adapter changes, and with which rank and scaling. A configuration that
// cannot be served exactly is refused, and the error names the field. Tensors are checked elsewhere.
import { z } from 'zod';
import type { ServeError } from '../../src/common/errors.ts';
import { parseShallowJson } from '../../src/common/json-scan.ts';
import { largest } from '../../src/common/long-arrays.ts';
import { MAX_LABEL_LENGTH, MAX_LABELS, MAX_RANK } from '../../src/contracts/training-settings.ts';
import { TARGET_NAMES } from '../../src/model/target-modules.ts';
import { REFUSED_FIELDS } from './kinds.ts';
import { type ModuleMatcher, matchNames, PatternSet } from './module-pattern.ts';
import { invalidAdapter, quoteValue } from './refusal.ts';
import {
  type AdapterConfig,
  EMBEDDING,
  HEAD,
  isClassifier,
  type LoraSetting,
  type PeftType,
} from './tensor-names.ts';

/** Usual values are 0.25 to 16. A larger one amplifies rounding noise. */
const MAX_SCALING = 64;
/** Enough for two entries per linear of a 126-layer model. */
const MAX_ENTRIES = 2048;
const MAX_NAME_LENGTH = 2048;
/** Adding a language may train thousands. More than this is a whole table. */
const MAX_TRAINED_TOKENS = 65_536;
/** An invocation is a few words. */
const MAX_INVOCATION = 1024;
const FILE = 'adapter_config.json';

/** Initializations that leave the shared base unchanged. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA rewrite it. */
const BASE_PRESERVING_INITS = new Set(['gaussian', 'orthogonal', 'eva', 'mica']);

/** The classes that peft records for an adapter without a task type. They are compared, never loaded. */
const PLAIN_DECODERS = new Map([
  ['LlamaForCausalLM', 'transformers.models.llama.modeling_llama'],
  ['MistralForCausalLM', 'transformers.models.mistral.modeling_mistral'],
  ['Qwen2ForCausalLM', 'transformers.models.qwen2.modeling_qwen2'],
  ['Qwen3ForCausalLM', 'transformers.models.qwen3.modeling_qwen3'],
]);

const CLASSIFICATION = 'SEQ_CLS';
const TASK_TYPES: readonly unknown[] = ['CAUSAL_LM', CLASSIFICATION];

/** peft's default for the supported families. */
const DEFAULT_TARGETS = ['q_proj', 'v_proj'];

const rank = z.number().int().min(1).max(MAX_RANK);
const alpha = z.number().refine((value) => value !== 0, 'is 0: the adapter would change nothing');
const name = z.string().max(MAX_NAME_LENGTH);
const names = z.union([name, z.array(name).max(MAX_ENTRIES)]);
const layer = z.number().int().nonnegative();
const tokenIds = z.array(z.number().int().nonnegative()).min(1).max(MAX_TRAINED_TOKENS);

/** Unknown keys are ignored, as in peft, because newer versions add keys. */
const configSchema = z.object({
  r: rank,
  lora_alpha: alpha,
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().nullish(),
  lora_bias: z.boolean().nullish(),
  bias: z.enum(['none', 'all', 'lora_only']).nullish(),
  modules_to_save: z.array(name).max(MAX_ENTRIES).nullish(),
  trainable_token_indices: z
    .union([tokenIds, z.partialRecord(z.enum(['embed_tokens', 'lm_head']), tokenIds)])
    .nullish(),
  alora_invocation_tokens: z
    .array(z.number().int().nonnegative())
    .min(1)
    .max(MAX_INVOCATION)
    .nullish(),
  ensure_weight_tying: z.boolean().nullish(),
  task_type: z.string().nullish(),
  id2label: z.record(name, z.string().max(MAX_LABEL_LENGTH)).nullish(),
  target_modules: names.nullable(),
  exclude_modules: names.nullish(),
  layers_to_transform: z.union([layer, z.array(layer).max(MAX_ENTRIES)]).nullish(),
  layers_pattern: names.nullish(),
  rank_pattern: z.record(name, rank).nullish(),
  alpha_pattern: z.record(name, alpha).nullish(),
  base_model_name_or_path: z.string().nullish(),
});

type PeftConfig = z.infer<typeof configSchema>;

/** The configurations of LoHa and LoKr spell alpha differently. */
const factorSchema = configSchema
  .omit({ lora_alpha: true })
  .extend({ alpha })
  .transform(({ alpha, ...others }): PeftConfig => ({ ...others, lora_alpha: alpha }));

/** The types of adapters, and the name of alpha in each. */
const TYPES = {
  LORA: { schema: configSchema, alphaField: 'lora_alpha' },
  LOHA: { schema: factorSchema, alphaField: 'alpha' },
  LOKR: { schema: factorSchema, alphaField: 'alpha' },
} as const satisfies Record<PeftType, object>;

/** A configuration whose fields are checked, but whose patterns are not compiled yet. */
interface OpenedConfig {
  /** Answers only for modules that the patterns were evaluated for. */
  readonly config: AdapterConfig;
  /** Matches the patterns against these modules. Throws `ServeError` (422) that names a pattern that cannot be used. */
  evaluatePatterns(moduleNames: readonly string[]): Promise<void>;
}

/**
 * Parses an `adapter_config.json` for these modules. A worker matches regular expressions against their names. Throws
 * `ServeError` (422) with the field at fault as `param`, such as `r` or `rank_pattern[3]`.
 */
export async function parseAdapterConfig(
  bytes: Uint8Array,
  moduleNames: readonly string[],
): Promise<AdapterConfig> {
  const { config, evaluatePatterns } = openAdapterConfig(bytes);
  await evaluatePatterns(moduleNames);
  return config;
}

/** Parses without waiting for patterns. Throws as `parseAdapterConfig`. */
export function openAdapterConfig(bytes: Uint8Array): OpenedConfig {
  const json = parseObject(bytes);
  const type = typeOf(json);
  refuseUnsupported(json);
  const result = TYPES[type].schema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const { message } = issue.code === 'invalid_key' ? issue.issues[0]! : issue;
    throw invalidAdapter(placeOf(issue.path, json), message);
  }
  const raw = result.data;
  const patterns = new PatternSet();
  const isTargeted = createTargetMatcher(raw, patterns);
  const settingOf = createSettings(raw, type, patterns);
  const isDora = raw.use_dora === true;
  const hasUpdateBias = raw.lora_bias === true;
  const classifies = raw.task_type === CLASSIFICATION;
  const saved = raw.modules_to_save ?? [];
  if (isDora && hasUpdateBias)
    throw invalidAdapter('lora_bias', 'true cannot be combined with use_dora');
  const config = {
    peftType: type,
    baseModel: raw.base_model_name_or_path ?? undefined,
    isTargeted,
    isDora,
    hasUpdateBias,
    biases: raw.bias ?? 'none',
    savesModules: saved.some((name) => !(classifies && isClassifier(name))),
    isSaved: savedMatcher(saved),
    trainedTokens: trainedTokens(raw.trainable_token_indices),
    invocation: raw.alora_invocation_tokens ?? undefined,
    classifies,
    labels: raw.id2label ?? {},
    tiesWeights: raw.ensure_weight_tying === true,
    settingOf,
  };
  return { config, evaluatePatterns: (moduleNames) => patterns.evaluate(moduleNames) };
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let json: unknown;
  try {
    json = parseShallowJson(bytes);
  } catch (error) {
    throw invalidAdapter(FILE, 'is not JSON', error);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw invalidAdapter(FILE, 'is not a JSON object');
  }
  return json as Record<string, unknown>;
}

/** Names a field such as `r`, or an entry by its position, because keys may be long. */
function placeOf([field, entry]: readonly PropertyKey[], json: Record<string, unknown>): string {
  if (field === undefined) return FILE;
  if (entry === undefined) return String(field);
  const index = Object.keys(json[String(field)] as object).indexOf(String(entry));
  return `${String(field)}[${index}]`;
}

function refusal(json: Record<string, unknown>, field: string, supported: string): ServeError {
  const message = `${quoteValue(json[field])} is not supported (supported: ${supported})`;
  return invalidAdapter(field, message);
}

function typeOf(json: Record<string, unknown>): PeftType {
  const type = json['peft_type'];
  const found = (Object.keys(TYPES) as PeftType[]).find((known) => known === type);
  if (found) return found;
  throw refusal(json, 'peft_type', '"LORA", "LOHA", "LOKR"');
}

function refuseUnsupported(json: Record<string, unknown>): void {
  const refuse = (field: string, supported: string): never => {
    throw refusal(json, field, supported);
  };
  for (const field of REFUSED_FIELDS) if (!isOff(json[field])) refuse(field, 'none');
  if (!TASK_TYPES.includes(json['task_type'] ?? 'CAUSAL_LM')) {
    refuse('task_type', '"CAUSAL_LM" or "SEQ_CLS"');
  }
  if (!isBasePreserving(json['init_lora_weights'])) {
    refuse('init_lora_weights', `true, false, ${[...BASE_PRESERVING_INITS].join(', ')}`);
  }
  if (!isPlainDecoder(json['auto_mapping'])) {
    refuse('auto_mapping', [...PLAIN_DECODERS.keys()].join(', '));
  }
}

/** Whether the value is absent, null, false or empty. */
function isOff(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function isBasePreserving(init: unknown): boolean {
  if (typeof init === 'string') return BASE_PRESERVING_INITS.has(init.toLowerCase());
  return init === undefined || init === null || typeof init === 'boolean';
}

function isPlainDecoder(mapping: unknown): boolean {
  if (isOff(mapping)) return true;
  const { base_model_class: name, parent_library: library } = mapping as Record<string, unknown>;
  return typeof name === 'string' && PLAIN_DECODERS.get(name) === library && library !== undefined;
}

/**
 * `exclude_modules` and `modules_to_save` take precedence over `target_modules`. The layers only limit names that match by
 * their ending.
 */
function createTargetMatcher(raw: PeftConfig, patterns: PatternSet): ModuleMatcher {
  const isSaved = savedMatcher(raw.modules_to_save ?? []);
  const isNamed = raw.exclude_modules
    ? createMatcher('exclude_modules', raw.exclude_modules, patterns)
    : () => false;
  const isExcluded = (module: string) => isNamed(module) || isSaved(module);
  const targets = raw.target_modules ?? DEFAULT_TARGETS;
  const isInLayers = createLayerMatcher(raw, patterns);
  if (typeof targets !== 'string') {
    const byName = new Set(targets);
    const byEnding = matchNames(targets);
    return (module) =>
      !isExcluded(module) && (byName.has(module) || (byEnding(module) && isInLayers(module)));
  }
  const isTarget =
    targets.toLowerCase() === 'all-linear'
      ? matchNames(TARGET_NAMES)
      : createMatcher('target_modules', targets, patterns);
  return (module) => !isExcluded(module) && isTarget(module);
}

/** peft compares the ends of module names without regard to the dots: `norm` also matches `input_layernorm`. */
function savedMatcher(saved: readonly string[]): ModuleMatcher {
  return (module) => saved.some((ending) => module.endsWith(ending));
}

function trainedTokens(raw: PeftConfig['trainable_token_indices']): Map<string, number[]> {
  const byName = Array.isArray(raw) ? { embed_tokens: raw } : (raw ?? {});
  const modules = { embed_tokens: EMBEDDING, lm_head: HEAD };
  const entries = Object.entries(byName) as [keyof typeof modules, number[]][];
  return new Map(entries.map(([name, ids]) => [modules[name], ids]));
}

function createMatcher(
  field: string,
  value: string | readonly string[],
  patterns: PatternSet,
): ModuleMatcher {
  return typeof value === 'string' ? patterns.fullMatch(field, value) : matchNames(value);
}

function createLayerMatcher(raw: PeftConfig, patterns: PatternSet): ModuleMatcher {
  const layers = [raw.layers_to_transform ?? []].flat();
  const layerPatterns = [raw.layers_pattern ?? []].flat();
  if (layers.length === 0) {
    if (layerPatterns.length === 0) return () => true;
    throw invalidAdapter('layers_pattern', 'needs layers_to_transform');
  }
  if (typeof raw.target_modules === 'string') {
    throw invalidAdapter('layers_to_transform', 'needs target_modules to be a list');
  }
  const wanted = new Set(layers);
  const indexers =
    layerPatterns.length === 0
      ? [firstNumberedSegment]
      : layerPatterns.map((pattern, i) => patterns.layerIndex(`layers_pattern[${i}]`, pattern));
  return (moduleName) => {
    for (const indexOf of indexers) {
      const index = indexOf(moduleName);
      if (index !== undefined) return wanted.has(index);
    }
    return false;
  };
}

/** peft's rule without a pattern. The module names come from our code, so the expression is safe. */
function firstNumberedSegment(moduleName: string): number | undefined {
  const match = /^.*?\.[^.]*\.(\d+)\./.exec(moduleName);
  return match ? Number(match[1]) : undefined;
}

/** The first matching key wins. Rank and alpha are looked up independently. */
function createSettings(
  raw: PeftConfig,
  type: PeftType,
  patterns: PatternSet,
): (moduleName: string) => LoraSetting {
  const lookup = (field: 'rank_pattern' | 'alpha_pattern', otherwise: number) => {
    const entries = Object.entries(raw[field] ?? {});
    if (entries.length > MAX_ENTRIES)
      throw invalidAdapter(field, `has more than ${MAX_ENTRIES} entries`);
    const rules = entries.map(([key, value], i) => ({
      matches: patterns.suffixMatch(`${field}[${i}]`, key),
      value,
    }));
    return (module: string) => rules.find((rule) => rule.matches(module))?.value ?? otherwise;
  };
  const rankOf = lookup('rank_pattern', raw.r);
  const alphaOf = lookup('alpha_pattern', raw.lora_alpha);
  return (moduleName) => {
    const rank = rankOf(moduleName);
    const scaling = alphaOf(moduleName) / (raw.use_rslora ? Math.sqrt(rank) : rank);
    if (Math.abs(scaling) <= MAX_SCALING) return { rank, scaling };
    throw invalidAdapter(
      TYPES[type].alphaField,
      `results in a scaling of ${scaling}; the limit is ${MAX_SCALING}`,
    );
  };
}

/** Returns the names of all classes. A class without a name gets the one that transformers would give it. */
export function classNames(count: number, names: Readonly<Record<string, string>>): string[] {
  return Array.from({ length: count }, (_, i) => names[i] ?? `LABEL_${i}`);
}

/** Returns the names of a classifier's classes up to the last one with a name; undefined for other adapters. */
export function labelsOfConfig({
  classifies,
  labels,
}: Pick<AdapterConfig, 'classifies' | 'labels'>): readonly string[] | undefined {
  if (!classifies) return undefined;
  const numbers = Object.keys(labels).map(Number);
  const count = largest([0, ...numbers.filter((n) => n < MAX_LABELS).map((n) => n + 1)]);
  return classNames(count, labels);
}
