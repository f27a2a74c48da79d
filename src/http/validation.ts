// Checks a parsed body or query against its schema. The first fault becomes the error that names the field.
import { z } from '@hono/zod-openapi';
import { type ErrorCode, ServeError } from '../common/errors.ts';

/** Returns the body as the schema reads it. Throws `ServeError` with a `param` like `messages[2].content`. */
export function validateBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body, { reportInput: false });
  if (result.success) return result.data;
  const { issues } = result.error;
  const unknown = issues.find(({ code }) => code === 'unrecognized_keys');
  if (unknown?.code === 'unrecognized_keys') {
    throw unknownParameter([...unknown.path, unknown.keys[0]!]);
  }
  const issue = issues[0]!;
  const code =
    issue.code === 'custom' ? (issue.params?.['code'] as ErrorCode | undefined) : undefined;
  const isMissing = issue.code === 'invalid_type' && issue.message.includes('received undefined');
  const message = isMissing ? 'is required' : issue.message;
  const param = toParam(issue.path);
  if (!param) throw new ServeError(code ?? 'invalid_request', message);
  throw new ServeError(code ?? 'invalid_request', `${param}: ${message}`, { param });
}

const NO_QUERY = z.strictObject({});

/** Checks query parameters; without a schema there may be none. Ignores the version that Azure's clients always send. */
export function validateQuery<T>(
  schema: z.ZodType<T> | undefined,
  { 'api-version': _, ...query }: Record<string, string>,
): T {
  return validateBody(schema ?? (NO_QUERY as unknown as z.ZodType<T>), query);
}

/** An error repeats at most this much of a name that the client made up. */
const MAX_NAME_LENGTH = 64;

/** Refuses an unknown field or query parameter in OpenAI's words. */
function unknownParameter(path: readonly PropertyKey[]): ServeError {
  const name = path.at(-1);
  const shown = typeof name === 'string' ? name.slice(0, MAX_NAME_LENGTH) : name;
  const param = toParam([...path.slice(0, -1), shown!]);
  return new ServeError('unknown_parameter', `Unknown parameter: '${param}'.`, { param });
}

function toParam(path: readonly PropertyKey[]): string {
  let param = '';
  for (const part of path) {
    if (typeof part === 'number') param += `[${part}]`;
    else param += param ? `.${String(part)}` : String(part);
  }
  return param;
}
