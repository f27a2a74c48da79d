// The request of vLLM's `POST /classify`. It takes the same inputs as embeddings.
import { z } from '@hono/zod-openapi';
import { embeddingFields } from './embeddings.ts';
import { type FieldRow, fieldsOf } from './field-table.ts';
import type { SchemaBounds } from './request-fields.ts';

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

type EmbeddingFields = ReturnType<typeof embeddingFields>;

function sharedRows(fields: EmbeddingFields) {
  const rows = SHARED_NAMES.map((name) => {
    return [name, { classify: fields[name].embeddings, help: fields[name].help }];
  });
  return Object.fromEntries(rows) as {
    [Name in (typeof SHARED_NAMES)[number]]: {
      classify: EmbeddingFields[Name]['embeddings'];
      help: string;
    };
  };
}

/** Returns the table of fields, with the bounds of this server's model. */
export function classifyFields(bounds: SchemaBounds) {
  const fields = embeddingFields({ ...bounds, hiddenSize: 1 });
  const activation = z.boolean().nullish();
  const help = 'false: the scores as the head gives them instead of probabilities (default: true)';
  return {
    model: { classify: z.string(), help: 'An adapter with a classification head' },
    ...sharedRows(fields),
    cache_prompt: {
      classify: fields.cache_prompt.embeddings,
      help: 'false: the request neither uses nor fills the prefix cache (default: true)',
    },
    use_activation: { classify: activation, help },
    activation: { classify: activation, help: 'The older name of use_activation' },
    softmax: { classify: activation, help: 'The oldest name of use_activation' },
  } as const satisfies Record<string, FieldRow>;
}

/** The schema of a request, within the bounds. */
export function classifyRequestSchema(bounds: SchemaBounds) {
  return z.strictObject(fieldsOf(classifyFields(bounds), 'classify')).openapi('ClassifyRequest');
}
