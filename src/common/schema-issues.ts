// Issues of zod schemas, added by checks that read a whole value.
import type { z } from 'zod';
import type { ErrorCode } from './errors.ts';

/** Collects the issues of a check. */
export type Refine = z.RefinementCtx;

/** The details of an issue. */
interface IssueOptions {
  /** The path below the checked value. */
  path?: PropertyKey[];
  code?: ErrorCode;
}

/** Adds an issue. The library then drops the transform's result. */
export function addIssue(
  ctx: Refine,
  message: string,
  { path = [], code }: IssueOptions = {},
): never {
  ctx.addIssue({ code: 'custom', message, path, ...(code ? { params: { code } } : {}) });
  return undefined as never;
}

/** Parses with a schema inside a check, so that its issues keep their paths. */
export function parseInside<T>(schema: z.ZodType<T>, value: unknown, ctx: Refine): T | undefined {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) {
    ctx.addIssue({ ...issue, input: value } as Parameters<Refine['addIssue']>[0]);
  }
  return undefined;
}
