// Checks a parsed body against its schema and turns the first fault into the error that names the field.
import type { z } from '@hono/zod-openapi';
import { type ErrorCode, ServeError } from '../errors.ts';

/** Returns the body as the schema gives it; throws `ServeError` with `param` like `messages[2].content`. */
export function validate<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body, { reportInput: false });
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const code =
    issue.code === 'custom' ? (issue.params?.['code'] as ErrorCode | undefined) : undefined;
  const isMissing = issue.code === 'invalid_type' && issue.message.includes('received undefined');
  const message = isMissing ? 'is required' : issue.message;
  const param = toParam(issue.path);
  if (!param) throw new ServeError(code ?? 'invalid_request', message);
  throw new ServeError(code ?? 'invalid_request', `${param}: ${message}`, { param });
}

function toParam(path: readonly PropertyKey[]): string {
  let param = '';
  for (const part of path) {
    if (typeof part === 'number') param += `[${part}]`;
    else param += param ? `.${String(part)}` : String(part);
  }
  return param;
}
