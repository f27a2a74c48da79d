// The request of vLLM's `POST /classify`. It takes the same inputs as embeddings.
import { z } from '@hono/zod-openapi';
import { embeddingFields } from './embeddings.ts';
import { type FieldRow, fieldsOf, rowOf, sharedRows } from './fields.ts';
import type { SchemaBounds } from './request-fields.ts';

const classify = rowOf('classify');

/** The fields of embeddings that have the same meaning here. */
const SHARED_NAMES = [
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
    ...sharedRows(fields, SHARED_NAMES, 'embeddings', 'classify'),
    cache_prompt: classify(
      fields.cache_prompt.embeddings,
      'false: the request neither uses nor fills the prefix cache (default: true)',
    ),
    use_activation: classify(activation, help),
    activation: classify(activation, 'The older name of use_activation'),
    softmax: classify(activation, 'The oldest name of use_activation'),
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of a request, within the bounds. */
export function classifyRequestSchema(bounds: SchemaBounds) {
  return z.strictObject(fieldsOf(classifyFields(bounds), 'classify')).openapi('ClassifyRequest');
}
