// The request of `POST /v1/completions`.
import { z } from '@hono/zod-openapi';
import { fail, toPrompts } from './fields.ts';
import { checkTogether, type SchemaBounds, samplingFields } from './sampling.ts';

export function completionRequestSchema(bounds: SchemaBounds) {
  const { vocabSize, limits } = bounds;
  const ids = { type: 'array', items: { type: 'integer' } } as const;
  return z
    .object({
      ...samplingFields(bounds),
      prompt: z
        .unknown()
        .transform(toPrompts({ vocabSize, maxPrompts: limits.maxPrompts }))
        .openapi({
          anyOf: [
            { type: 'string' },
            { type: 'array', items: { type: 'string' } },
            ids,
            { type: 'array', items: ids },
          ],
        }),
      max_tokens: z.int().min(0).nullish().openapi({ description: 'Default 16; 0 only with echo' }),
      best_of: z
        .int()
        .min(1)
        .nullish()
        .openapi({ description: 'Only the value of n is supported' }),
      echo: z.boolean().nullish(),
      logprobs: z.int().min(0).max(20).nullish(),
    })
    .superRefine((body, ctx) => {
      const { max_tokens: maxTokens, echo, best_of: bestOf } = body;
      const n = body.n ?? 1;
      checkTogether(body, ctx);
      if (maxTokens === 0 && !echo)
        fail(ctx, 'is at least 1 without echo', { path: ['max_tokens'] });
      if (bestOf == null || bestOf === n) return;
      if (bestOf < n) fail(ctx, 'is at least n', { path: ['best_of'] });
      else {
        const code = 'unsupported_parameter';
        fail(ctx, 'only the value of n is supported by this server', { path: ['best_of'], code });
      }
    })
    .openapi('CompletionRequest');
}

export type CompletionRequest = z.output<ReturnType<typeof completionRequestSchema>>;
