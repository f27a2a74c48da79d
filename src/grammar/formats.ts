// The enforceable formats of JSON Schema, as regular expressions for all strings of a format, or for the common ones.

import { insideString } from './json-text.ts';
import { parseRegex } from './regex.ts';
import { sequence, shared, type TextPattern, text } from './text-pattern.ts';

const YEAR = '\\d{4}';
/** Years that contain 29 February. */
const LEAP_YEAR = '(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)';
const DATE = [
  `${YEAR}-(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])`,
  `${YEAR}-(0[469]|11)-(0[1-9]|[12]\\d|30)`,
  `${YEAR}-02-(0[1-9]|1\\d|2[0-8])`,
  `${LEAP_YEAR}-02-29`,
].join('|');
const HOUR = '([01]\\d|2[0-3])';
const TIME = `${HOUR}:[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]${HOUR}:[0-5]\\d)`;
const CLOCK = '(T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S))';
const DURATION = `P(\\d+W|(\\d+Y(\\d+M(\\d+D)?)?|\\d+M(\\d+D)?|\\d+D)${CLOCK}?|${CLOCK})`;
const ALNUM = '[A-Za-z0-9]';
const DASHED = '[A-Za-z0-9-]';
/**
 * Never with hyphens in both the third and the fourth position, which mark encoded labels. Four labels fit into 253 characters.
 */
const LABEL = `${ALNUM}(${DASHED}?${ALNUM}|${DASHED}(-|${ALNUM})${ALNUM}|${DASHED}(${ALNUM}${DASHED}|-${ALNUM})${DASHED}{0,55}${ALNUM})?`;
const HOST = `${LABEL}(\\.${LABEL}){0,3}`;
const ATOM = '[A-Za-z0-9_+-]{1,30}';
const BYTE = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${BYTE}(\\.${BYTE}){3}`;
const HEX = '[0-9a-fA-F]';
const GROUP = `${HEX}{1,4}`;
/** The full form, and the forms with `::` after each possible number of groups. */
const IPV6 = [
  `(${GROUP}:){7}${GROUP}`,
  ...Array.from({ length: 7 }, (_, before) => {
    const after = `(${GROUP}(:${GROUP}){0,${6 - before}})?`;
    const head = before === 0 ? '' : `${GROUP}(:${GROUP}){${before - 1}}`;
    return `${head}::${after}`;
  }),
].join('|');

const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `(${DATE})T${TIME}`,
  duration: DURATION,
  email: `${ATOM}(\\.${ATOM})?@${LABEL}(\\.${LABEL}){1,3}`,
  hostname: HOST,
  ipv4: IPV4,
  ipv6: IPV6,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  uri: `https?://${HOST}(:[1-9]\\d{0,3})?(/[A-Za-z0-9._~-]{0,60}){0,8}(\\?[A-Za-z0-9._~=&-]{0,200})?(#[A-Za-z0-9._~-]{0,60})?`,
};

/** The supported values of `format`. */
export const FORMAT_NAMES = Object.keys(FORMATS);

const patterns = new Map<string, TextPattern>();

/** Returns the pattern of a JSON string with this format. Undefined for an unknown format. */
export function stringOfFormat(format: string): TextPattern | undefined {
  const known = patterns.get(format);
  const source = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  if (known || source === undefined) return known;
  const inner = parseRegex(source, { toPattern: insideString });
  const pattern = shared(sequence(text('"'), inner, text('"')));
  patterns.set(format, pattern);
  return pattern;
}

/** Whether a text has the format. Always true for an unknown format. */
export function isOfFormat(value: string, format: string): boolean {
  const source = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  return source === undefined || new RegExp(`^(?:${source})$`, 'u').test(value);
}
