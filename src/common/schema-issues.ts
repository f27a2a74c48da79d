// Issues of zod schemas, added by checks that read a whole value.
import type { z } from 'zod';

/** Collects the issues of a check. */
export type Refine = z.RefinementCtx;

/** Adds an issue. The library then drops the transform's result. @param path below the checked value */
export function addIssue(ctx: Refine, message: string, path: PropertyKey[] = []): never {
  ctx.addIssue({ code: 'custom', message, path });
  return undefined as never;
}

/** Adds an issue of something that only other servers support. */
export function addUnsupported(ctx: Refine, message: string, path: PropertyKey[] = []): never {
  ctx.addIssue({ code: 'custom', message, path, params: { code: 'unsupported_parameter' } });
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
