// What is wrong with a value of a job or a row, in words for the one who wrote the file: what it must be. For every
// schema here; a schema's own message wins.
import type { z } from 'zod';

/** The schema library's name of a kind → ours. */
const KINDS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
};

/** What is counted of each kind that has a size. */
const UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' };

/** An error map; undefined: the library's own message. */
export const faultText: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      return `must be ${KINDS[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${issue.values.slice(0, -1).join(', ')} or ${String(issue.values.at(-1))}`;
    case 'too_small':
      if (issue.origin in UNITS && Number(issue.minimum) === 1) return 'is empty';
      return `must ${bound(issue.origin, issue.inclusive ? 'at least' : 'above')} ${issue.minimum}${UNITS[issue.origin] ?? ''}`;
    case 'too_big':
      return `must ${bound(issue.origin, issue.inclusive ? 'at most' : 'below')} ${issue.maximum}${UNITS[issue.origin] ?? ''}`;
    default:
      return undefined;
  }
};

function bound(origin: string, relation: string): string {
  return `${origin in UNITS ? 'have' : 'be'} ${relation}`;
}
