// The request of `POST /v1/completions`.
import { z } from '@hono/zod-openapi';
import { addIssue, addUnsupported } from '../../common/schema-issues.ts';
import { fieldsOf } from './fields.ts';
import { checkTogether, requestFields, type SchemaBounds } from './request-fields.ts';

/** The schema of a completion request, within a model's bounds. */
export function completionRequestSchema(bounds: SchemaBounds) {
  return z
    .strictObject(fieldsOf(requestFields(bounds), 'completions'))
    .superRefine((body, ctx) => {
      const { max_tokens: maxTokens, echo, best_of: bestOf } = body;
      const n = body.n ?? 1;
      const prompts = body.prompt.kind === 'text' ? body.prompt.texts : body.prompt.prompts;
      checkTogether(body, ctx);
      if (n * prompts.length > bounds.limits.maxSequences) {
        const { maxSequences } = bounds.limits;
        addIssue(ctx, `n times the number of prompts is more than ${maxSequences}`, ['n']);
      }
      if (maxTokens === 0 && !echo) {
        addIssue(ctx, 'must be at least 1 without echo', ['max_tokens']);
      }
      if (bestOf == null || bestOf === n) return;
      if (bestOf < n) addIssue(ctx, 'must be at least n', ['best_of']);
      else addUnsupported(ctx, 'only the value of n is supported by this server', ['best_of']);
    })
    .openapi('CompletionRequest');
}

/** A checked completion request. */
export type CompletionRequest = z.output<ReturnType<typeof completionRequestSchema>>;
