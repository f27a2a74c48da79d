// The parts of an `adapter_config.json` that decide how an adapter is read. `peft-config.ts` parses it.

/** The types of adapters that are read, as PEFT's `peft_type` spells them. */
export type PeftType = 'LORA' | 'LOHA' | 'LOKR';

/** The rank and the scaling of a module. */
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
