// The kinds of adapters, by the field of PEFT's configuration that asks for each. The documentation shows this table.

import { type AdapterConfig, EMBEDDING, HEAD } from './tensor-names.ts';

interface AdapterKind {
  readonly field: string;
  readonly name: string;
  /** Undefined: it is refused if the field is set. */
  readonly served?: string;
}

/** All kinds other than plain LoRA. */
export const ADAPTER_KINDS = [
  {
    field: 'peft_type',
    name: 'LoHa, LoKr',
    served:
      '`LOHA` of rank r counts as rank r²; `LOKR` as the product of the ranks of its two matrices (a whole one counts with its shorter side); not trained',
  },
  { field: 'use_rslora', name: 'rsLoRA', served: 'the scaling is alpha / sqrt(r)' },
  { field: 'rank_pattern', name: 'ranks per module', served: 'also `alpha_pattern`' },
  {
    field: 'use_dora',
    name: 'DoRA',
    served: 'the norms of the rows of W + BA are computed once, when the adapter is loaded',
  },
  { field: 'lora_bias', name: 'biases of B', served: 'not with DoRA, as in peft' },
  {
    field: 'bias',
    name: 'trained biases of the base',
    served: '`all` or `lora_only`, for bases that have biases',
  },
  {
    field: 'target_modules',
    name: 'embedding and head',
    served:
      'updates of `embed_tokens` and `lm_head`, tied or not (`ensure_weight_tying`); not with DoRA or `lora_bias`',
  },
  {
    field: 'modules_to_save',
    name: 'whole modules',
    served: 'norms, `embed_tokens` and `lm_head`',
  },
  {
    field: 'trainable_token_indices',
    name: 'trained token embeddings',
    served: 'also tokens of a resized vocabulary, and in a tied head',
  },
  {
    field: 'save_embedding_layers',
    name: 'resized vocabularies',
    served:
      'by up to 65,536 tokens, or shorter, with both tables in the file, as peft saves them; not with activated LoRA; not trained, merged or evaluated; one in a composition',
  },
  {
    field: 'alora_invocation_tokens',
    name: 'activated LoRA',
    served: 'with updates of linears only; not in a composition',
  },
  {
    field: 'task_type',
    name: 'sequence classifiers',
    served:
      '`SEQ_CLS` with the head `score` or `classifier`, at `POST /classify`; not in a composition',
  },
  { field: 'fan_in_fan_out', name: 'transposed weights' },
  { field: 'layer_replication', name: 'repeated layers' },
  { field: 'target_parameters', name: 'parameters without a module' },
  { field: 'use_qalora', name: 'QALoRA' },
  { field: 'use_bdlora', name: 'BD-LoRA' },
  { field: 'megatron_config', name: 'Megatron' },
  { field: 'loftq_config', name: 'LoftQ' },
  { field: 'corda_config', name: 'CorDA' },
  { field: 'lora_ga_config', name: 'LoRA-GA' },
  { field: 'velora_config', name: 'VeLoRA' },
  { field: 'monteclora_config', name: 'MonteCLoRA' },
  { field: 'kasa_config', name: 'KaSA' },
  { field: 'arrow_config', name: 'Arrow' },
] as const satisfies readonly AdapterKind[];

/** The fields of kinds that are refused. */
export const REFUSED_FIELDS: readonly string[] = ADAPTER_KINDS.filter(
  (kind) => !('served' in kind),
).map(({ field }) => field);

/** Returns the configuration field that asks for changes other than updates of linears and a classification head. */
export function otherChanges(config: AdapterConfig): string | undefined {
  if (config.isDora) return 'use_dora';
  if (config.hasUpdateBias) return 'lora_bias';
  if (config.biases !== 'none') return 'bias';
  if (config.savesModules) return 'modules_to_save';
  if (config.trainedTokens.size > 0) return 'trainable_token_indices';
  return [EMBEDDING, HEAD].find(config.isTargeted);
}
