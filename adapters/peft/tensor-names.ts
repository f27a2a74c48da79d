// The names of the tensors in PEFT's files, and which of them a module must or may have under a configuration.
import { embeddingName, headName } from '../../src/model/names.ts';
import { TARGET_MODULES, TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';

/** The types of adapters that are read, as PEFT's `peft_type` spells them. */
export type PeftType = 'LORA' | 'LOHA' | 'LOKR';

/** A module's rank and scaling. */
export interface LoraSetting {
  readonly rank: number;
  /** alpha / r, or alpha / sqrt(r) with rsLoRA. */
  readonly scaling: number;
}

/** PEFT's `bias`. */
type Biases = 'none' | 'all' | 'lora_only';

/** A parsed configuration. */
export interface AdapterConfig {
  readonly peftType: PeftType;
  /** `base_model_name_or_path`, for information only. The tensors' shapes decide whether an adapter fits. */
  readonly baseModel: string | undefined;
  /** Whether a module (`model.layers.0.self_attn.q_proj`) is adapted. */
  isTargeted(moduleName: string): boolean;
  /** Whether each adapted linear has a magnitude per output. */
  readonly isDora: boolean;
  /** Whether B has a bias. */
  readonly hasUpdateBias: boolean;
  /** The linears whose biases the adapter replaces, if the base has any. */
  readonly biases: Biases;
  /** Whether any module other than a classification head is saved whole. */
  readonly savesModules: boolean;
  /** Whether the adapter stores the module's whole weight. */
  isSaved(moduleName: string): boolean;
  /** The tokens whose embeddings are trained, by module. */
  readonly trainedTokens: ReadonlyMap<string, readonly number[]>;
  /** The tokens after which the adapter applies. */
  readonly invocation: readonly number[] | undefined;
  /** Whether the adapter has a classification head (the task type SEQ_CLS). */
  readonly classifies: boolean;
  /** The names of the classes by index, `id2label`. Some or all may be missing. */
  readonly labels: Readonly<Record<string, string>>;
  /** Whether changes of the embedding also apply to the output head if the base ties the two. */
  readonly tiesWeights: boolean;
  /** Returns a module's rank and scaling. Throws `ServeError` if the scaling is too large. */
  settingOf(moduleName: string): LoraSetting;
}

/** The tensors of one module, by the ending of their names. */
export const MODULE_TENSORS = {
  /** [rank, in] */
  a: 'lora_A.weight',
  /** [out, rank] */
  b: 'lora_B.weight',
  /** [out]: DoRA's norms of the rows of the adapted weight */
  magnitude: 'lora_magnitude_vector',
  /** [out]: added to B A x, and scaled with it */
  updateBias: 'lora_B.bias',
  /** [out]: replaces the bias of a linear that has an update */
  adaptedBias: 'base_layer.bias',
  /** [out]: replaces the bias of a linear without one */
  bias: 'bias',
  /** [rank, vocabulary], of the embedding */
  embeddingA: 'lora_embedding_A',
  /** [hidden, rank] */
  embeddingB: 'lora_embedding_B',
  /** [vocabulary, hidden]: a copy of the base's embedding or output head, which peft saves along with their updates */
  copy: 'base_layer.weight',
  /** [tokens, hidden]: the embeddings of the trained tokens */
  tokens: 'token_adapter.trainable_tokens_delta',
  /** [vocabulary, hidden]: the table under trained tokens, which peft saves if the vocabulary was resized */
  tokensCopy: 'token_adapter.base_layer.weight',
  /** The whole weight of a module of `modules_to_save`, or a table of a resized vocabulary */
  whole: 'weight',
  /** [vocabulary, hidden]: the table before it was trained as a whole */
  original: 'original_module.weight',
  /** [vocabulary, hidden]: the same as `whole` */
  wholeAgain: 'modules_to_save.weight',
} as const;

/** A key of `MODULE_TENSORS`. */
export type ModuleTensor = keyof typeof MODULE_TENSORS;

/** The modules that are not linears of a layer. */
export const EMBEDDING = moduleOf(embeddingName);
export const HEAD = moduleOf(headName);

/** The names of a classification head. transformers' decoders use the first one. */
export const CLASSIFIER_NAMES = ['score', 'classifier'] as const;

/** Whether a module is a classification head. */
export function isClassifier(module: string): boolean {
  return CLASSIFIER_NAMES.some((name) => name === module);
}

const PREFIX = 'base_model.model.';
/** Longer endings first: `base_layer.bias` also ends in `bias`. */
const ENDINGS = (Object.entries(MODULE_TENSORS) as [ModuleTensor, string][]).sort(
  ([, one], [, other]) => other.length - one.length,
);

/** Returns the name of a tensor of a module such as `model.layers.0.self_attn.q_proj`. */
export function tensorName(module: string, tensor: ModuleTensor): string {
  return `${PREFIX}${module}.${MODULE_TENSORS[tensor]}`;
}

/** Splits a name into a module and its tensor; undefined if it has another form. Whether the module exists is not checked. */
export function splitTensorName(
  name: string,
): { readonly module: string; readonly tensor: ModuleTensor } | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const match = ENDINGS.find(([, ending]) => name.endsWith(`.${ending}`));
  if (!match) return undefined;
  const [tensor, ending] = match;
  return { module: name.slice(PREFIX.length, -ending.length - 1), tensor };
}

/** Returns the module of a weight such as `model.norm.weight`. */
export function moduleOf(weight: string): string {
  return weight.slice(0, -'.weight'.length);
}

const TARGET_OF_PATH = new Map<string, TargetName>(
  TARGET_NAMES.map((target) => [TARGET_MODULES[target].path, target]),
);

/** Returns the target of a module such as `model.layers.3.self_attn.q_proj`; undefined if it is not a linear of a layer. */
export function targetOfModule(module: string): TargetName | undefined {
  return TARGET_OF_PATH.get(/^model\.layers\.\d{1,4}\.([\w.]+)$/.exec(module)?.[1] ?? '');
}

/** Whether a module must have a tensor in the file (`required`), may have it (`optional`), or must not (undefined). */
export function presenceOf(
  tensor: ModuleTensor,
  module: string,
  config: AdapterConfig,
): 'required' | 'optional' | undefined {
  const isTargeted = config.isTargeted(module);
  /** peft also saves the head of a tied change. Its values equal the embedding's. */
  const isTiedHead = module === HEAD && config.tiesWeights;
  const isLinear = module !== EMBEDDING && module !== HEAD;
  /** In a tied base, peft saves the tokens of both tables. */
  const tokensAreTied = config.trainedTokens.has(EMBEDDING);
  const when = (isThere: boolean) => (isThere ? 'required' : undefined);
  const optional = (isPossible: boolean) => (isPossible ? 'optional' : undefined);
  switch (tensor) {
    case 'a':
    case 'b':
      if (isTiedHead && config.isTargeted(EMBEDDING)) return 'optional';
      return when(isTargeted && module !== EMBEDDING);
    case 'embeddingA':
    case 'embeddingB':
      return when(isTargeted && module === EMBEDDING);
    case 'copy':
      if (isTiedHead && config.isTargeted(EMBEDDING)) return 'optional';
      return isTargeted && !isLinear ? 'optional' : undefined;
    case 'magnitude':
      return when(isTargeted && config.isDora);
    case 'updateBias':
      return when(isTargeted && config.hasUpdateBias);
    case 'adaptedBias': // peft does not find them for `lora_only`, so its files lack them
      if (config.biases === 'lora_only') return isTargeted ? 'optional' : undefined;
      return when(isTargeted && config.biases === 'all');
    case 'bias':
      return when(!isTargeted && config.biases === 'all');
    case 'tokens':
      if (module === HEAD && !config.trainedTokens.has(HEAD)) return optional(tokensAreTied);
      return when(config.trainedTokens.has(module));
    case 'tokensCopy':
      return optional(config.trainedTokens.has(module) || (module === HEAD && tokensAreTied));
    case 'whole':
      if (isClassifier(module)) return config.classifies ? 'optional' : undefined;
      if (isTiedHead && config.isSaved(EMBEDDING)) return 'optional';
      // If the configuration does not list it, it may be the table of a resized vocabulary.
      return when(config.isSaved(module)) ?? optional(!isLinear);
    case 'original':
    case 'wholeAgain':
      if (isTiedHead && config.isSaved(EMBEDDING)) return 'optional';
      return optional(!isLinear && config.isSaved(module));
  }
}
