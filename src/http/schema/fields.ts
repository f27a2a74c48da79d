// Checks that are quicker or stricter than a schema library's own: their cost is bounded before their items are read.
// Each gives a transform for `z.unknown()`; issues name the item at fault.
import { z } from '@hono/zod-openapi';
import type { ErrorCode } from '../../common/errors.ts';

/** Where a check tells its faults. */
export type Refine = z.RefinementCtx;

export interface Fault {
  /** Below the value that is checked. */
  path?: PropertyKey[];
  code?: ErrorCode;
}

/** Adds an issue; what a transform returns after that is dropped. */
export function fail(ctx: Refine, message: string, { path = [], code }: Fault = {}): never {
  ctx.addIssue({ code: 'custom', message, path, ...(code ? { params: { code } } : {}) });
  return undefined as never;
}

function isTokenId(value: unknown, vocabSize: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < vocabSize;
}

/** A request's prompts, as given. */
export type Prompts =
  | { kind: 'text'; texts: readonly string[] }
  | { kind: 'ids'; prompts: readonly (readonly number[])[] };

/** string, string[], token ids, or arrays of token ids. */
export function toPrompts(bounds: { vocabSize: number; maxPrompts: number }) {
  return (value: unknown, ctx: Refine): Prompts => {
    const nonEmptyTexts = (texts: readonly unknown[]): Prompts => {
      const wrong = texts.findIndex((text) => typeof text !== 'string' || text === '');
      if (wrong >= 0) return fail(ctx, `prompt ${wrong} is not a non-empty string`);
      return { kind: 'text', texts: texts as string[] };
    };
    if (typeof value === 'string') return nonEmptyTexts([value]);
    if (!Array.isArray(value) || value.length === 0) {
      return fail(ctx, 'expected a non-empty string, or a non-empty array of strings or token ids');
    }
    const idFault = (ids: readonly unknown[]) =>
      ids.findIndex((id) => !isTokenId(id, bounds.vocabSize));
    if (typeof value[0] === 'number') {
      const wrong = idFault(value);
      if (wrong < 0) return { kind: 'ids', prompts: [value] };
      return fail(ctx, `item ${wrong} is not a token id in [0, ${bounds.vocabSize})`);
    }
    if (value.length > bounds.maxPrompts) {
      return fail(ctx, `at most ${bounds.maxPrompts} prompts are allowed`);
    }
    if (typeof value[0] === 'string') return nonEmptyTexts(value);
    for (const [i, ids] of value.entries()) {
      if (!Array.isArray(ids) || ids.length === 0) {
        return fail(ctx, `prompt ${i} is not a non-empty array of token ids`);
      }
      const wrong = idFault(ids);
      if (wrong < 0) continue;
      return fail(ctx, `prompt ${i}: item ${wrong} is not a token id in [0, ${bounds.vocabSize})`);
    }
    return { kind: 'ids', prompts: value };
  };
}

/** Token id → added to its logit. */
export function toLogitBias(bounds: { vocabSize: number; maxCount: number }) {
  return (value: unknown, ctx: Refine): Map<number, number> => {
    const bias = new Map<number, number>();
    if (value === undefined || value === null) return bias;
    if (typeof value !== 'object' || Array.isArray(value)) {
      return fail(ctx, 'expected an object of token id to bias');
    }
    const entries = Object.entries(value);
    if (entries.length > bounds.maxCount) {
      return fail(ctx, `at most ${bounds.maxCount} biases are allowed`);
    }
    for (const [key, amount] of entries) {
      const id = /^\d{1,10}$/.test(key) ? Number(key) : -1;
      if (!isTokenId(id, bounds.vocabSize)) {
        return fail(ctx, `a key is not a token id in [0, ${bounds.vocabSize})`);
      }
      if (typeof amount !== 'number' || !(Math.abs(amount) <= 100)) {
        return fail(ctx, `the bias of token ${id} is not a number in [-100, 100]`);
      }
      bias.set(id, amount);
    }
    return bias;
  };
}

/** A string or several, bounded in bytes together; none may be empty. Repeated ones count once. */
export function toStopStrings({ maxBytes }: { maxBytes: number }) {
  return (value: unknown, ctx: Refine): readonly string[] => {
    if (value === undefined || value === null) return [];
    const stops: unknown = typeof value === 'string' ? [value] : value;
    if (!Array.isArray(stops)) return fail(ctx, 'expected a string or an array of strings');
    let bytes = 0;
    for (const stop of stops) {
      if (typeof stop !== 'string' || stop === '') {
        return fail(ctx, 'expected a string or an array of strings, none of them empty');
      }
      bytes += Buffer.byteLength(stop);
      if (bytes > maxBytes) return fail(ctx, `at most ${maxBytes} bytes are allowed, all together`);
    }
    return [...new Set(stops)];
  };
}

/** Token ids; absent means none. */
export function toTokenIds(bounds: { vocabSize: number; maxCount: number }) {
  return (value: unknown, ctx: Refine): readonly number[] => {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) return fail(ctx, 'expected an array of token ids');
    if (value.length > bounds.maxCount) return fail(ctx, `at most ${bounds.maxCount} are allowed`);
    const wrong = value.findIndex((id) => !isTokenId(id, bounds.vocabSize));
    if (wrong < 0) return value;
    return fail(ctx, `item ${wrong} is not a token id in [0, ${bounds.vocabSize})`);
  };
}

const MAX_TEMPLATE_ARGUMENTS = 16;
const MAX_TEMPLATE_TEXT = 1024;
/** A template may count up to it. */
const MAX_TEMPLATE_NUMBER = 1024;
const TEMPLATE_VARIABLE = /^[a-z][a-z0-9_]{0,63}$/i;

/** A chat template's variable: data only, and small, for the template runs on the event loop. */
export type TemplateArguments = Readonly<Record<string, string | number | boolean | null>>;

/** Names and values of a chat template's variables. The template's own names are refused where it is rendered. */
export function toTemplateArguments() {
  return (value: unknown, ctx: Refine): TemplateArguments => {
    if (value === undefined || value === null) return {};
    if (typeof value !== 'object' || Array.isArray(value)) return fail(ctx, 'expected an object');
    const entries = Object.entries(value);
    if (entries.length > MAX_TEMPLATE_ARGUMENTS) {
      return fail(ctx, `at most ${MAX_TEMPLATE_ARGUMENTS} variables are allowed`);
    }
    for (const [name, argument] of entries) {
      if (!TEMPLATE_VARIABLE.test(name)) return fail(ctx, 'a key is no name of a variable');
      if (isTemplateArgument(argument)) continue;
      const message =
        `expected a string of at most ${MAX_TEMPLATE_TEXT} characters, a number of at most ` +
        `${MAX_TEMPLATE_NUMBER}, a boolean or null`;
      return fail(ctx, message, { path: [name] });
    }
    return value as TemplateArguments;
  };
}

function isTemplateArgument(value: unknown): boolean {
  if (typeof value === 'string') return value.length <= MAX_TEMPLATE_TEXT;
  if (typeof value === 'number') return Math.abs(value) <= MAX_TEMPLATE_NUMBER;
  return value === null || typeof value === 'boolean';
}

/** A whole number as queries and forms write it. */
export function integerText(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message));
}
