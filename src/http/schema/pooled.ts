// The requests of `POST /v1/embeddings` and of vLLM's `POST /classify`, which takes the same inputs. Prompts and prefix cache
// fields are the same as in completions.
import { z } from '@hono/zod-openapi';
import {
  type FieldRow,
  fieldsOf,
  onlyValue,
  promptsForm,
  REFUSED,
  rowOf,
  sharedRows,
  toPrompts,
} from './fields.ts';
import { requestFields, type SchemaBounds } from './request-fields.ts';

const embeddings = rowOf('embeddings');
const classify = rowOf('classify');

/** The fields of completions that have the same meaning here. */
const COMPLETION_NAMES = ['truncation_side', 'cache_salt', 'user', 'metadata', 'priority'] as const;

/** The bounds of a model, of its embeddings and of the server. */
type EmbeddingBounds = SchemaBounds & { hiddenSize: number };

/** Returns the table of fields, with the bounds of this server's model. */
export function embeddingFields(bounds: EmbeddingBounds) {
  const { vocabSize, hiddenSize, limits } = bounds;
  const rows = requestFields(bounds);
  const { cache_prompt: cached, truncate_prompt_tokens: cut } = rows;
  return {
    model: embeddings(rows.model.completions, rows.model.help),
    input: embeddings(
      z
        .unknown()
        .transform(toPrompts({ vocabSize, maxPrompts: limits.maxInputs }))
        .openapi(promptsForm(vocabSize)),
      `Text, token ids, or up to ${limits.maxInputs} of either`,
    ),
    pooling: embeddings(
      z.enum(['mean', 'last']).nullish(),
      'mean of the hidden states of all tokens (the default), or the hidden state of the last token',
    ),
    dimensions: embeddings(
      z.int().min(1).max(hiddenSize).nullish(),
      'Keeps the first numbers of each embedding; default: all, the hidden size of the base',
    ),
    encoding_format: embeddings(
      z.enum(['float', 'base64']).nullish(),
      'float (the default), or base64 of float32 numbers in little-endian order',
    ),
    add_special_tokens: embeddings(
      rows.add_special_tokens.completions,
      'Whether the tokenizer adds its special tokens to a text (default: true)',
    ),
    truncate_prompt_tokens: embeddings(
      cut.completions,
      'Cuts longer inputs to this many tokens; -1 cuts to the context',
    ),
    cache_prompt: embeddings(cached.completions, `${cached.help}; only with last`),
    ...sharedRows(rows, COMPLETION_NAMES, 'completions', 'embeddings'),
    normalize: embeddings(onlyValue(true), 'Only true'),
    use_activation: embeddings(onlyValue(true), 'Only true'),
    messages: embeddings(REFUSED, 'Send the rendered conversation as input'),
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of an embeddings request, within the bounds. */
export function embeddingRequestSchema(bounds: EmbeddingBounds) {
  return z
    .strictObject(fieldsOf(embeddingFields(bounds), 'embeddings'))
    .openapi('EmbeddingRequest');
}

/** A checked embeddings request. */
export type EmbeddingRequest = z.output<ReturnType<typeof embeddingRequestSchema>>;

/** The fields of embeddings that have the same meaning here. */
const EMBEDDING_NAMES = [
  'input',
  'add_special_tokens',
  'truncate_prompt_tokens',
  'truncation_side',
  'cache_salt',
  'user',
  'metadata',
  'priority',
  'messages',
] as const;

/** Returns the table of fields, with the bounds of this server's model. */
export function classifyFields(bounds: SchemaBounds) {
  const fields = embeddingFields({ ...bounds, hiddenSize: 1 });
  const activation = z.boolean().nullish();
  const help = 'false: the scores as the head gives them instead of probabilities (default: true)';
  return {
    model: classify(z.string(), 'An adapter with a classification head'),
    ...sharedRows(fields, EMBEDDING_NAMES, 'embeddings', 'classify'),
    cache_prompt: classify(
      fields.cache_prompt.embeddings,
      'false: the request neither uses nor fills the prefix cache (default: true)',
    ),
    use_activation: classify(activation, help),
    activation: classify(activation, 'The older name of use_activation'),
    softmax: classify(activation, 'The oldest name of use_activation'),
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of a classify request, within the bounds. */
export function classifyRequestSchema(bounds: SchemaBounds) {
  return z.strictObject(fieldsOf(classifyFields(bounds), 'classify')).openapi('ClassifyRequest');
}
