// Turns the issues of zod schemas into errors for the author of a file, a job or a training row.
import path from 'node:path';
import type { z } from 'zod';
import { FileError } from './errors.ts';
import { parseShallowJson } from './json-scan.ts';
import { loadIfPresent } from './regular-file.ts';

/**
 * Parses a value from a file. Throws a `FileError` whose `field` is the path of the first invalid key, after the file's name if
 * there is one.
 */
export function parseFileValue<S extends z.ZodType>(
  schema: S,
  value: unknown,
  file?: string,
): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  const key = path.join('.');
  throw new FileError(file === undefined ? key : key === '' ? file : `${file}: ${key}`, message);
}

/** Parses a JSON file. Throws a `FileError` as `parseFileValue`, or one that names the file if it is not JSON. */
export function parseJsonFile<S extends z.ZodType>(
  schema: S,
  bytes: Uint8Array,
  file: string,
): z.infer<S> {
  let value: unknown;
  try {
    value = parseShallowJson(bytes);
  } catch (cause) {
    throw new FileError(file, 'is not valid JSON', { cause });
  }
  return parseFileValue(schema, value, file);
}

/** Reads a JSON file in a folder. Undefined if it does not exist. Throws as `parseJsonFile`. */
export async function loadJsonFile<S extends z.ZodType>(
  schema: S,
  directory: string,
  { name, maxBytes }: { name: string; maxBytes: number },
): Promise<z.infer<S> | undefined> {
  const bytes = await loadIfPresent(path.join(directory, name), maxBytes);
  return bytes && parseJsonFile(schema, bytes, name);
}

/** zod's name of a type → ours. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
};

/** Type → the unit of its size, if it has one. */
const SIZE_UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' };

/** A zod error map that says what the value must be. For other issues, zod's own message is used. */
export const describeIssue: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      return `must be ${TYPE_NAMES[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${issue.values.slice(0, -1).join(', ')} or ${String(issue.values.at(-1))}`;
    case 'too_small':
      if (issue.origin in SIZE_UNITS && Number(issue.minimum) === 1) return 'is empty';
      return describeBound(issue.origin, issue.inclusive ? 'at least' : 'above', issue.minimum);
    case 'too_big':
      return describeBound(issue.origin, issue.inclusive ? 'at most' : 'below', issue.maximum);
    default:
      return undefined;
  }
};

function describeBound(type: string, relation: string, bound: number | bigint): string {
  const unit = SIZE_UNITS[type];
  return `must ${unit ? 'have' : 'be'} ${relation} ${bound}${unit ?? ''}`;
}
